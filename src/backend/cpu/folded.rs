//! Streams handed to products as bf16 graphs hand them ([`Emit`](crate::graph::op::Emit)), here in float32.

use std::ops::Range;

use super::math;
use crate::parallel;

/// Columns of one sum.
const SLICE: usize = 64;
/// Sums of a task.
const SUMS_TASK: usize = 256;

/// `operand = x * factor` (`x` without one) and the sums of squares over slices of 64 columns, for rows of `x [.., D]`.
pub(super) fn emit(x: &[f32], factor: Option<&[f32]>, operand: &mut [f32], sums: &mut [f32]) {
    match factor {
        Some(factor) => {
            parallel::pieces(operand, factor.len(), &|row, o| {
                let x = &x[row * factor.len()..];
                o.iter_mut().zip(x).zip(factor).for_each(|((o, x), f)| *o = x * f);
            });
        }
        None => operand.copy_from_slice(x),
    }
    parallel::pieces(sums, SUMS_TASK, &|piece, sums| {
        let slices = x[piece * SUMS_TASK * SLICE..].chunks_exact(SLICE);
        sums.iter_mut().zip(slices).for_each(|(sum, slice)| *sum = math::sum_squares(slice));
    });
}

/// Sums of rows `rows` of a stream `[.., d]`.
pub(super) fn rows_sums(sums: &[f32], d: usize, rows: Range<usize>) -> &[f32] {
    let slices = d / SLICE;
    &sums[rows.start * slices..rows.end * slices]
}

/// Sums of row `row`.
pub(super) fn row_sums(sums: &[f32], d: usize, row: usize) -> &[f32] {
    rows_sums(sums, d, row..row + 1)
}

/// `out = operand / sqrt(mean x^2 + 1e-6) + shift`, of one row, the mean from its sums.
pub(super) fn norm(operand: &[f32], sums: &[f32], shift: &[f32], out: &mut [f32]) {
    let r = 1.0 / (sums.iter().sum::<f32>() / operand.len() as f32 + 1e-6).sqrt();
    for ((out, x), shift) in out.iter_mut().zip(operand).zip(shift) {
        *out = x * r + shift;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folded_norm_is_the_norm() {
        let d = 192;
        let wave = |n: usize, step: f32| (0..n).map(|i| (i as f32 * step).sin() * 2.0).collect::<Vec<f32>>();
        let (x, weight, scale, shift) = (wave(5 * d, 0.37), wave(d, 0.11), wave(d, 0.23), wave(d, 0.71));
        let factor: Vec<f32> = weight.iter().zip(&scale).map(|(w, s)| w * (1.0 + s)).collect();
        let (mut operand, mut sums) = (vec![f32::NAN; x.len()], vec![f32::NAN; 5 * d / SLICE]);
        emit(&x, Some(&factor), &mut operand, &mut sums);
        for (row, x) in x.chunks(d).enumerate() {
            let mean = x.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>() / d as f64;
            let (mut plain, mut folded) = (vec![f32::NAN; d], vec![f32::NAN; d]);
            math::norm_modulate(x, 1e-6, &weight, &scale, &shift, &mut plain);
            norm(&operand[row * d..][..d], row_sums(&sums, d, row), &shift, &mut folded);
            for i in 0..d {
                let exact = f64::from(x[i]) / (mean + 1e-6).sqrt() * f64::from(weight[i]) * (1.0 + f64::from(scale[i]))
                    + f64::from(shift[i]);
                for found in [plain[i], folded[i]] {
                    assert!((f64::from(found) - exact).abs() < 1e-5, "row {row}, column {i}: {found}, not {exact}");
                }
            }
        }
    }

    #[test]
    fn a_stream_without_a_norm_is_emitted_as_it_is() {
        let x: Vec<f32> = (0..128).map(|i| i as f32).collect();
        let (mut operand, mut sums) = (vec![f32::NAN; 128], vec![f32::NAN; 2]);
        emit(&x, None, &mut operand, &mut sums);
        assert_eq!(operand, x);
        let squares = |from: u32| (from..from + 64).map(|i| (i * i) as f32).sum::<f32>();
        assert_eq!(sums, [squares(0), squares(64)]);
    }
}
