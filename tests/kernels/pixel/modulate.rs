//! `gemm_pixel_modulate`: `output = rms(pixels; norm) (1 + scale) + shift`, `[shift, scale] = A W^T + bias` per pixel.

use half::bf16;
use pid_engine::kernels::params::PidPixelModulateParams;
use pid_engine::kernels::{OpCall, RowsOfA};

use super::kernels_on;
use super::operands::{CHANNELS, Factor, Rows, pixel, rms};
use crate::faults::{assert_caught, faults_of};
use crate::under_test::{Device, devices, entry, one_device};
use crate::values::{Random, Rounding, bits, check, from_bits};

const KERNEL: &str = "gemm_pixel_modulate";

struct Case {
    rows: Rows,
    /// Pixels of a row.
    per_row: usize,
    modulation: Factor,
    pixels: Vec<bf16>,
    norm: Vec<f32>,
    /// Covered rows alone.
    exact: Vec<f64>,
    plain: Vec<f64>,
}

impl Case {
    fn new(rows: Rows, per_row: usize, k: usize) -> Self {
        let mut random = Random::new((rows.count * per_row + k) as u64);
        let modulation = Factor::random(rows.total, per_row * 2 * CHANNELS, k, &mut random);
        let pixels = random.bf16s(rows.total * per_row * CHANNELS, 1.0);
        let norm = random.floats(CHANNELS, 1.0);
        let mut case = Self { rows, per_row, modulation, pixels, norm, exact: Vec::new(), plain: Vec::new() };
        case.exact = case.reference(Rounding::Exact);
        case.plain = case.reference(Rounding::Plain);
        case
    }

    fn reference(&self, rounding: Rounding) -> Vec<f64> {
        let mut out = Vec::new();
        for row in self.rows.first..self.rows.first + self.rows.count {
            for p in 0..self.per_row {
                let x = rms(&pixel(&self.pixels, row * self.per_row + p), &self.norm);
                let shift = self.modulation.slot(row, p * 2 * CHANNELS);
                let scale = self.modulation.slot(row, p * 2 * CHANNELS + CHANNELS);
                out.extend((0..CHANNELS).map(|i| rounding.bf16(x[i] * (1.0 + scale[i]) + shift[i])));
            }
        }
        out
    }

    /// The whole output's bits after a launch.
    fn run(&self, device: &Device, kernel: &'static str) -> Result<Vec<u16>, String> {
        let on = self.modulation.upload(device, kernel);
        let (pixels, norm) = (device.input(&bits(&self.pixels)), device.input(&self.norm));
        let output = device.output::<u16>(self.pixels.len());
        let gemm = self.modulation.gemm(&on, self.rows);
        let params = PidPixelModulateParams { gemm, pixels: pixels.ptr(), output: output.mut_ptr(), norm: norm.ptr() };
        device.call(kernel, &OpCall::product(entry(kernel).op, RowsOfA::Stream, &params))?;
        output.read()
    }

    fn test(&self, device: &Device, kernel: &'static str) -> Result<(), String> {
        let what = format!("{}: {kernel} {:?} x {} x {}", device.name, self.rows, self.per_row, self.modulation.k);
        let mut covered = Vec::new();
        for (row, values) in self.run(device, kernel)?.chunks_exact(self.per_row * CHANNELS).enumerate() {
            if self.rows.covers(row) {
                covered.extend_from_slice(values);
            } else if values.iter().any(|x| *x != u16::MAX) {
                return Err(format!("{what}: row {row} was written"));
            }
        }
        check(&what, &from_bits(&covered), &self.exact, &self.plain, device.sum_error(self.modulation.k))
    }
}

/// Asserts that the kernel and its forms for sm_90a are right on `devices`.
fn assert_right(case: &Case, devices: &[Device]) {
    for device in devices {
        for kernel in kernels_on(device, KERNEL) {
            case.test(device, kernel).unwrap();
        }
    }
}

#[test]
fn any_size() {
    // An even number of pixels: a warp's columns are two.
    for (rows, per_row, k) in [(1, 2, 8), (127, 4, 32), (128, 2, 40), (129, 6, 96), (131, 10, 136), (37, 4, 64)] {
        assert_right(&Case::new(Rows::inside(rows), per_row, k), &devices());
    }
}

/// More tiles than blocks, and more slices than a ring has slots.
#[test]
fn several_tiles_a_block() {
    for (rows, per_row, k) in [(300, 10, 520), (515, 6, 328)] {
        assert_right(&Case::new(Rows::inside(rows), per_row, k), &devices());
    }
}

#[test]
fn the_network_s_width() {
    // A quarter of a patch's pixels: more column tiles of the same.
    assert_right(&Case::new(Rows::inside(5), 64, 1536), &one_device());
}

#[test]
fn two_runs_are_equal() {
    let case = Case::new(Rows::inside(131), 6, 136);
    for kernel in kernels_on(&devices()[0], KERNEL) {
        let runs: Vec<_> = devices().iter().map(|device| case.run(device, kernel).unwrap()).collect();
        assert!(runs.iter().all(|run| *run == runs[0]), "{kernel}");
    }
}

#[test]
fn faults_are_caught() {
    let case = Case::new(Rows::inside(131), 6, 328);
    assert_caught(&faults_of("gemm_pixel_modulate"), |device, kernel| case.test(device, kernel));
}
