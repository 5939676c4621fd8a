//! Bulk copies: where the bytes of a box lie in shared memory, what is outside of the tensor, and what a store leaves alone.

use pid_engine::backend::emulator::Scheduler;
use pid_engine::kernels::KernelCall;
use pid_engine::kernels::tensor_map::{Element, Swizzle, Tiled};

use super::params::PidMicroTmaParams;
use super::{distinct, hopper_drivers};
use crate::under_test::{Array, Device, emulator};

/// Shared memory of the `micro_tma` kernels.
const SHARED_BYTES: u32 = 33792;

/// A tensor, a box and where it lies. Dimensions are innermost first.
#[derive(Clone, Copy)]
pub struct Case {
    pub element: Element,
    pub swizzle: Swizzle,
    pub dims: &'static [u64],
    pub box_dims: &'static [u32],
    pub at: &'static [i32],
}

const fn case(
    element: Element,
    swizzle: Swizzle,
    dims: &'static [u64],
    box_dims: &'static [u32],
    at: &'static [i32],
) -> Case {
    Case { element, swizzle, dims, box_dims, at }
}

use Element::{Bf16, F32, U8};
use Swizzle::{Bytes128, None as Plain};

/// Inside; over each edge and corner, before and behind; wholly outside. The innermost coordinate is a multiple of 16 bytes.
const CASES_2D: [Case; 8] = [
    case(Bf16, Bytes128, &[200, 50], &[64, 16], &[64, 8]),
    case(Bf16, Bytes128, &[200, 50], &[64, 64], &[-8, 45]),
    case(Bf16, Bytes128, &[200, 50], &[64, 12], &[192, -3]),
    case(Bf16, Bytes128, &[200, 50], &[64, 8], &[504, 500]),
    case(Bf16, Plain, &[72, 33], &[72, 17], &[8, -3]),
    case(F32, Bytes128, &[40, 20], &[32, 8], &[20, 16]),
    case(U8, Bytes128, &[300, 9], &[128, 8], &[256, -2]),
    case(U8, Plain, &[300, 9], &[16, 3], &[-16, 3]),
];
const CASES_3D: [Case; 2] = [
    case(Bf16, Bytes128, &[64, 20, 5], &[64, 8, 2], &[0, 15, 3]),
    case(F32, Plain, &[24, 7, 4], &[8, 3, 2], &[20, -1, -1]),
];
const CASES_4D: [Case; 2] = [
    case(Bf16, Bytes128, &[64, 9, 7, 3], &[64, 6, 4, 1], &[0, -1, 4, 2]),
    case(Bf16, Plain, &[32, 9, 7, 3], &[16, 3, 3, 2], &[8, 7, -1, 2]),
];

impl Case {
    /// Bytes from one to the next along each dimension but the innermost: rows have 16 bytes or more behind them.
    fn strides(&self) -> Vec<u64> {
        let mut stride = (self.dims[0] * self.element.bytes()).next_multiple_of(16) + 16;
        let mut strides = vec![stride];
        for dim in &self.dims[1..self.dims.len() - 1] {
            stride *= dim;
            strides.push(stride);
        }
        strides
    }

    /// Bytes of the tensor, what lies behind its rows included.
    pub fn tensor(&self) -> Vec<u8> {
        let rank = self.dims.len();
        let bytes = self.strides()[rank - 2] * self.dims[rank - 1];
        (0..bytes).map(|i| ((i * 167 + i / 251) % 255) as u8).collect()
    }

    pub fn box_bytes(&self) -> usize {
        self.box_dims.iter().product::<u32>() as usize * self.element.bytes() as usize
    }

    /// For each byte of the box as it lies in shared memory, the byte of the tensor; `None` outside of it.
    pub fn places(&self) -> Vec<Option<usize>> {
        let element = self.element.bytes() as usize;
        let strides: Vec<usize> = [element].into_iter().chain(self.strides().iter().map(|s| *s as usize)).collect();
        let row_bytes = self.box_dims[0] as usize * element;
        let mut places = vec![None; self.box_bytes()];
        for i in 0..self.box_bytes() {
            let (row, inner) = (i / row_bytes, i % row_bytes);
            // PTX ISA, "Swizzling modes", 128B: chunk c of 16 bytes lies at c XOR (row modulo 8).
            let lies_at = match self.swizzle {
                Plain => inner,
                Bytes128 => ((inner / 16) ^ (row % 8)) * 16 + inner % 16,
            };
            let mut rest = row;
            let mut byte = Some(inner % element);
            for (dim, extent) in self.box_dims.iter().enumerate() {
                let index = if dim == 0 { inner / element } else { rest % *extent as usize };
                rest = if dim == 0 { rest } else { rest / *extent as usize };
                let position = i64::from(self.at[dim]) + index as i64;
                let inside = (0..self.dims[dim] as i64).contains(&position);
                byte = byte.filter(|_| inside).map(|byte| byte + position as usize * strides[dim]);
            }
            places[row * row_bytes + lies_at] = byte;
        }
        places
    }

    pub fn params(
        &self,
        device: &Device,
        tensor: &Array<u8>,
        input: *const u32,
        output: *mut u32,
    ) -> PidMicroTmaParams {
        let map = device.tensor_map(&Tiled {
            element: self.element,
            address: tensor.ptr() as u64,
            dims: self.dims,
            strides: &self.strides(),
            box_dims: self.box_dims,
            swizzle: self.swizzle,
        });
        let mut coordinates = [0; 4];
        coordinates[..self.at.len()].copy_from_slice(self.at);
        PidMicroTmaParams { map, input, output, coordinates, box_bytes: self.box_bytes() as u32, reserved: [0; 23] }
    }
}

/// Loads the box and compares it with the tensor's bytes, zeros outside.
pub fn load(device: &Device, kernel: &'static str, shared_bytes: u32, case: &Case) -> Result<(), String> {
    let bytes = case.tensor();
    let (tensor, output) = (device.input(&bytes), device.output::<u32>(case.box_bytes() / 4));
    let params = case.params(device, &tensor, std::ptr::null(), output.mut_ptr());
    device.run(&[KernelCall::new(kernel, [1, 1, 1], 128, shared_bytes, &params)])?;
    let expected: Vec<u8> = case.places().into_iter().map(|place| place.map_or(0, |at| bytes[at])).collect();
    compare(kernel, bytemuck::cast_slice(&output.read()?), &expected)
}

/// Stores a box and compares the tensor: the box's bytes inside, nothing else changed.
pub fn store(device: &Device, kernel: &'static str, shared_bytes: u32, case: &Case) -> Result<(), String> {
    let mut expected = case.tensor();
    let tensor = device.input(&expected);
    let words = distinct(case.box_bytes() as u32 / 4);
    let input = device.input(&words);
    let params = case.params(device, &tensor, input.ptr(), std::ptr::null_mut());
    device.run(&[KernelCall::new(kernel, [1, 1, 1], 128, shared_bytes, &params)])?;
    let source: &[u8] = bytemuck::cast_slice(&words);
    for (from, to) in case.places().into_iter().enumerate() {
        if let Some(to) = to {
            expected[to] = source[from];
        }
    }
    compare(kernel, &tensor.read()?, &expected)
}

pub fn compare(kernel: &str, got: &[u8], expected: &[u8]) -> Result<(), String> {
    match (0..expected.len()).find(|&i| got[i] != expected[i]) {
        Some(i) => Err(format!("{kernel}: byte {i} is {:#x}, expected {:#x}", got[i], expected[i])),
        None => Ok(()),
    }
}

type Copy = fn(&Device, &'static str, u32, &Case) -> Result<(), String>;

fn on_all(copy: Copy, kernel: &'static str, cases: &[Case]) {
    for device in hopper_drivers() {
        for (i, case) in cases.iter().enumerate() {
            copy(&device, kernel, SHARED_BYTES, case).unwrap_or_else(|e| panic!("{}: case {i}: {e}", device.name));
        }
    }
}

#[test]
fn loads() {
    on_all(load, "micro_tma_load_2d", &CASES_2D);
    on_all(load, "micro_tma_load_3d", &CASES_3D);
    on_all(load, "micro_tma_load_4d", &CASES_4D);
}

#[test]
fn stores() {
    // A GPU takes no coordinate below zero there.
    let inside = |cases: &[Case]| -> Vec<Case> {
        cases.iter().filter(|case| case.at.iter().all(|at| *at >= 0)).copied().collect()
    };
    on_all(store, "micro_tma_store_2d", &inside(&CASES_2D));
    on_all(store, "micro_tma_store_read", &inside(&CASES_2D));
    on_all(store, "micro_tma_store_3d", &inside(&CASES_3D));
}

#[test]
fn message_of_an_innermost_coordinate_off_16_bytes() {
    let case = case(Bf16, Bytes128, &[200, 50], &[64, 16], &[-5, 8]);
    let device = emulator(Scheduler::Fifo);
    for (copy, kernel) in [(load as Copy, "micro_tma_load_2d"), (store, "micro_tma_store_2d")] {
        let error = copy(&device, kernel, SHARED_BYTES, &case).unwrap_err();
        assert!(error.contains("innermost coordinate -5 is -10 bytes, no multiple of 16"), "{error}");
    }
}

#[test]
fn message_of_a_store_below_zero() {
    let case = case(Bf16, Bytes128, &[200, 50], &[64, 16], &[64, -1]);
    let error = store(&emulator(Scheduler::Fifo), "micro_tma_store_2d", SHARED_BYTES, &case).unwrap_err();
    assert!(error.contains("coordinate 1 is -1, below zero"), "{error}");
}

#[test]
fn bulk_load() {
    for device in hopper_drivers() {
        let words = distinct(512);
        let (input, output) = (device.input(&words), device.output::<u32>(512));
        let tensor = device.input(&CASES_2D[0].tensor());
        let params = CASES_2D[0].params(&device, &tensor, input.ptr(), output.mut_ptr());
        let params = PidMicroTmaParams { box_bytes: 2048, ..params };
        device.run(&[KernelCall::new("micro_bulk_load", [1, 1, 1], 128, SHARED_BYTES, &params)]).unwrap();
        assert_eq!(output.read().unwrap(), words, "{}", device.name);
    }
}
