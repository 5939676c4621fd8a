//! Every intrinsic of `kernels/intrinsics`, once, by a kernel of its own in `kernels/tests`. Kernels and emulator share one
//! reading of the PTX manual, so what is expected is written down here from the manual's tables ("Matrix fragments for
//! mma.m16n8k16", "Register Fragments for wgmma.mma_async", "Swizzling modes", "cvt"), and compared bit by bit: the same
//! tests on a GPU decide who is right. Inputs of products are small whole numbers, whose sums are exact in any order.

mod barriers;
mod basic;
mod cluster;
mod coverage;
mod exp2;
mod faults;
mod fragments;
mod params;
mod pipeline;
mod tma;
mod wgmma;

use pid_engine::backend::emulator::Scheduler;
use pid_engine::kernels::KernelCall;
use pid_engine::kernels::capabilities::Capability;

use crate::under_test::{Device, devices, emulator};
use params::PidMicroParams;

/// What every test here runs on.
pub fn drivers() -> Vec<Device> {
    [emulator(Scheduler::Fifo)].into_iter().chain(devices()).collect()
}

/// What those instructions are to capabilities.
pub const HOPPER: [Capability; 3] = [Capability::Wgmma, Capability::BulkCopies, Capability::Multicast];

/// Those of [`drivers`] that have the instructions of Hopper.
pub fn hopper_drivers() -> Vec<Device> {
    let (able, others): (Vec<_>, Vec<_>) = drivers().into_iter().partition(|device| device.have(&HOPPER));
    others.iter().for_each(|device| println!("skipped: {}: not of compute capability 9.0", device.name));
    able
}

/// A kernel of one block that takes words and gives words.
struct Words {
    kernel: &'static str,
    threads: u32,
    shared_bytes: u32,
}

impl Words {
    fn new(kernel: &'static str, threads: u32, shared_bytes: u32) -> Self {
        Self { kernel, threads, shared_bytes }
    }

    /// What it makes of `input` on one device, `len` words.
    fn run(&self, device: &Device, input: &[u32], len: usize) -> Result<Vec<u32>, String> {
        let (input, output) = (device.input(input), device.output::<u32>(len));
        self.run_on(device, &PidMicroParams { input: input.ptr(), output: output.mut_ptr() })?;
        output.read()
    }

    fn run_on(&self, device: &Device, params: &PidMicroParams) -> Result<(), String> {
        device.run(&[KernelCall::new(self.kernel, [1, 1, 1], self.threads, self.shared_bytes, params)])
    }

    /// Asserts that it makes `expected` of `input` on every device.
    fn assert(&self, input: &[u32], expected: &[u32]) {
        for device in drivers() {
            let got = self.run(&device, input, expected.len());
            let got = got.unwrap_or_else(|e| panic!("{}: {}: {e}", self.kernel, device.name));
            if let Some(i) = (0..got.len()).find(|&i| got[i] != expected[i]) {
                panic!("{}: {}: word {i} is {:#x}, expected {:#x}", self.kernel, device.name, got[i], expected[i]);
            }
        }
    }
}

/// Words that differ from each other.
fn distinct(len: u32) -> Vec<u32> {
    (0..len).map(|i| i.wrapping_mul(2_654_435_761).wrapping_add(12_345)).collect()
}

/// A whole number from -2 to 2, by place.
fn small(place: usize, salt: u32) -> i32 {
    let mixed = ((place as u32).wrapping_mul(2_654_435_761) >> 13).wrapping_mul(salt) >> 7;
    (mixed % 5) as i32 - 2
}

/// Bits of bf16 for whole numbers that it holds.
fn bf16_bits(value: i32) -> u16 {
    half::bf16::from_f32(value as f32).to_bits()
}
