//! wgmma m64nNk16 through real descriptors: operands in shared memory, with the 128-byte swizzle and without, or in
//! registers; B K-major and MN-major.

use pid_engine::kernels::KernelCall;

use super::params::PidMicroWgmmaParams;
use super::{Words, bf16_bits, hopper_drivers, small};
use crate::under_test::Device;

/// All that `tools/generate-wgmma` makes.
const SIZES: [usize; 12] = [8, 16, 32, 64, 72, 80, 96, 128, 144, 192, 216, 256];
const KINDS: [&str; 6] = ["shared_k", "shared_mn", "registers_k", "registers_mn", "plain_k", "plain_mn"];
/// Inner size.
const K: usize = 64;

fn a(row: usize, k: usize) -> i32 {
    small(row * K + k, 3)
}
fn b(col: usize, k: usize) -> i32 {
    small(col * K + k, 11)
}

/// Row and column of accumulator register `r` of a thread: PTX ISA, "Register Fragments for wgmma.mma_async.m64nNk16",
/// matrix D. Each warp has 16 rows; four threads a row, two columns each, 8 columns for every four registers.
fn accumulator(thread: usize, r: usize) -> (usize, usize) {
    let (warp, lane) = (thread / 32, thread % 32);
    // d0, d1: row lane / 4; d2, d3: 8 further down; then again, 8 columns to the right.
    const ROW: [usize; 4] = [0, 0, 8, 8];
    const COL: [usize; 4] = [0, 1, 0, 1];
    (16 * warp + lane / 4 + ROW[r % 4], 8 * (r / 4) + lane % 4 * 2 + COL[r % 4])
}

/// Whether the accumulators by thread are `scale A B^T + c`.
fn compare(kernel: &str, n: usize, got: &[f32], scale: i32, c: impl Fn(usize) -> i32) -> Result<(), String> {
    for (i, got) in got.iter().enumerate() {
        let (row, col) = accumulator(i / (n / 2), i % (n / 2));
        let expected = scale * (0..K).map(|k| a(row, k) * b(col, k)).sum::<i32>() + c(i);
        if got.to_bits() != (expected as f32).to_bits() {
            return Err(format!("{kernel}: element ({row}, {col}) is {got}, expected {expected}"));
        }
    }
    Ok(())
}

fn product(device: &Device, kernel: &'static str, n: usize, accumulate: bool) -> Result<(), String> {
    let a_bits: Vec<u16> = (0..64 * K).map(|i| bf16_bits(a(i / K, i % K))).collect();
    let b_bits: Vec<u16> = (0..n * K).map(|i| bf16_bits(b(i / K, i % K))).collect();
    let start = |i: usize| if accumulate { (i % 97) as i32 } else { 0 };
    // NaN where it must not be read.
    let c: Vec<f32> = (0..64 * n).map(|i| if accumulate { start(i) as f32 } else { f32::NAN }).collect();
    let (a, b, c) = (device.input(&a_bits), device.input(&b_bits), device.input(&c));
    let d = device.output::<f32>(64 * n);
    let accumulate = u32::from(accumulate);
    let params = PidMicroWgmmaParams { a: a.ptr(), b: b.ptr(), c: c.ptr(), d: d.mut_ptr(), accumulate, reserved: 0 };
    let shared_bytes = 8192 + n.div_ceil(64) as u32 * 8192;
    device.run(&[KernelCall::new(kernel, [1, 1, 1], 128, shared_bytes, &params)])?;
    compare(kernel, n, &d.read()?, 1, start)
}

#[test]
fn every_size_and_layout() {
    for (kind, n) in KINDS.iter().flat_map(|kind| SIZES.map(|n| (kind, n))) {
        // A launch names its kernel by a static string.
        let kernel: &'static str = format!("micro_wgmma_{kind}_n{n}").leak();
        for device in hopper_drivers() {
            for accumulate in [false, true] {
                product(&device, kernel, n, accumulate).unwrap_or_else(|e| panic!("{}: {e}", device.name));
            }
        }
    }
}

/// PTX ISA, "Matrix descriptor format": start / 16 in bits 0-13, leading / 16 in 16-29, stride / 16 in 32-45, swizzle in
/// 62-63 (1: 128 bytes). The kernel's operand starts 64 bytes in, leading 128, stride 1024.
#[test]
fn descriptor() {
    let bits = (64 / 16) | ((128 / 16) << 16) | ((1024u64 / 16) << 32) | (1u64 << 62);
    Words::new("micro_wgmma_descriptor", 32, 1024).assert(&[0], &[bits as u32, (bits >> 32) as u32]);
}

/// `micro_wgmma_pair`: A and B come as they lie in shared memory.
pub fn pair(device: &Device, kernel: &'static str) -> Result<(), String> {
    let swizzled = |value: fn(usize, usize) -> i32| {
        let mut bits = vec![0u16; 64 * K];
        for (row, k) in (0..64).flat_map(|row| (0..K).map(move |k| (row, k))) {
            bits[row * K + ((k / 8) ^ (row % 8)) * 8 + k % 8] = bf16_bits(value(row, k));
        }
        bits
    };
    let (a, b, d) = (device.input(&swizzled(a)), device.input(&swizzled(b)), device.output::<f32>(64 * 64));
    let params =
        PidMicroWgmmaParams { a: a.ptr(), b: b.ptr(), c: std::ptr::null(), d: d.mut_ptr(), accumulate: 0, reserved: 0 };
    device.run(&[KernelCall::new(kernel, [1, 1, 1], 128, 16384, &params)])?;
    compare(kernel, 64, &d.read()?, 2, |_| 0)
}
