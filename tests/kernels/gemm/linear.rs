//! `gemm_linear`: `output = A W^T + bias`.

use pid_engine::kernels::launch;
use pid_engine::kernels::params::PidLinearParams;

use super::operands::{Operands, one_group, plain_rows};
use crate::device::{Device, devices};
use crate::faults::assert_caught;
use crate::values::{Random, Rounding, SUM_ERROR, check, from_bits};

pub const FAULTS: &[&str] = &[
    "gemm_linear_no_copy_wait",
    "gemm_linear_no_slot_barrier",
    "gemm_linear_no_row_guard",
    "gemm_linear_no_inner_guard",
    "gemm_linear_no_column_guard",
    "gemm_linear_no_store_guard",
];

fn reference(o: &Operands, rounding: Rounding) -> Vec<f64> {
    let value = |i: usize| rounding.bf16(o.dot(i / o.n, i % o.n) + f64::from(o.bias[i % o.n]));
    (0..o.rows * o.n).map(value).collect()
}

fn test(device: &Device, kernel: &'static str, [rows, n, k]: [usize; 3]) -> Result<(), String> {
    let operands = Operands::random(rows, n, k, &mut Random::new((rows + n + k) as u64));
    let on = operands.upload(device);
    let output = device.output::<u16>(rows * n);
    let gemm = one_group(on.group(plain_rows(rows, rows)), n, k);
    device.run(&[launch::gemm(kernel, &gemm, &PidLinearParams { gemm, output: output.mut_ptr() })])?;
    let (exact, plain) = (reference(&operands, Rounding::Exact), reference(&operands, Rounding::Plain));
    check(&format!("{kernel} {rows} x {n} x {k}"), &from_bits(&output.read()?), &exact, &plain, SUM_ERROR)
}

#[test]
fn any_size() {
    let sizes = [[1, 1, 8], [127, 128, 32], [128, 127, 40], [129, 129, 96], [131, 257, 136], [300, 16, 1536]];
    for device in devices() {
        for size in sizes {
            test(&device, "gemm_linear", size).unwrap_or_else(|e| panic!("{}: {e}", device.name));
        }
    }
}

#[test]
fn faults_are_caught() {
    assert_caught(FAULTS, |device, kernel| test(device, kernel, [131, 129, 136]));
}
