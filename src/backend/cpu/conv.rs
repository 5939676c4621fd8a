//! The adapter's convolutions and group norms, on tokens in raster order (channels last).

use gemm_common::Parallelism;
use rayon::prelude::*;

use super::gemm::{Shared, with_scratch};
use super::math;
use crate::graph::op::{ConvInput, Padding, Tokens};
use crate::parallel;
use crate::product::{Accumulate, Strided, multiply};
use crate::weights::Matrix;

/// Output channels of a task.
const CHANNEL_PANEL: usize = 64;
/// Padded pixels of a task.
const PIXELS_AT_ONCE: usize = 1024;

/// What follows the product.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Then {
    Nothing,
    Silu,
    Accumulate,
}

/// A convolution's weights and what follows the product.
pub(super) struct Kernel<'a> {
    /// `[O, 9 * C]`, tap-major.
    pub weight: &'a Matrix<'a>,
    /// `[O]`.
    pub bias: &'a [f32],
    pub padding: Padding,
    pub stride: usize,
    /// Border before the first row and column.
    pub before: usize,
    pub then: Then,
}

/// 3x3 convolution of `input` (see [`ConvInput`]) to `output [B, Hs * Ws, O]`.
pub(super) fn conv3x3(source: ConvInput, tokens: Tokens, input: &[f32], kernel: &Kernel<'_>, output: &mut [f32]) {
    let per_sample = input.len() / tokens.batch;
    let outputs = output.chunks_exact_mut(tokens.image() * kernel.weight.rows());
    for (input, output) in input.chunks_exact(per_sample).zip(outputs) {
        let padded = pad(source, tokens, kernel, input);
        sample(&padded, tokens, kernel, output);
    }
}

/// One sample: nine accumulating products over the padded picture seen as a flat list of pixels. Shifting that
/// list by `ky * (Ws + 2) + kx` aligns tap (ky, kx) with every output at once; the two extra columns of each
/// line yield values that nobody reads. With a stride each line of outputs is such a list of its own, of every other pixel.
fn sample(padded: &[f32], tokens: Tokens, kernel: &Kernel<'_>, output: &mut [f32]) {
    let (channels, out_channels) = (kernel.weight.cols() / 9, kernel.weight.rows());
    let (rows, cols) = (tokens.grid_rows, tokens.grid_cols);
    let stride = kernel.stride;
    let pitch = padded_length(cols, stride);
    let (lists, per_list) = if stride == 1 { (1, rows * pitch - 2) } else { (rows, cols) };
    let panels = out_channels.div_ceil(CHANNEL_PANEL);
    let blocks = per_list.div_ceil(PIXELS_AT_ONCE);
    let output = Shared::new(output);
    parallel::tasks(panels * lists * blocks, &|task| {
        let (panel, list, block) = (task / (lists * blocks), task / blocks % lists, task % blocks);
        let outs = panel * CHANNEL_PANEL..((panel + 1) * CHANNEL_PANEL).min(out_channels);
        let pixels = block * PIXELS_AT_ONCE..((block + 1) * PIXELS_AT_ONCE).min(per_list);
        let taps = outs.len() * kernel.weight.cols();
        with_scratch(taps + pixels.len() * outs.len(), |scratch| {
            let (weights, tile) = scratch.split_at_mut(taps);
            kernel.weight.widen_rows(outs.clone(), weights);
            for tap in 0..9 {
                let start = ((list * pitch + pixels.start) * stride + tap / 3 * pitch + tap % 3) * channels;
                let lhs = Strided { data: &padded[start..], row: stride * channels, col: 1 };
                let rhs = Strided { data: &weights[tap * channels..], row: 1, col: kernel.weight.cols() };
                let accumulate = if tap == 0 { Accumulate::No } else { Accumulate::Yes };
                let sizes = [pixels.len(), outs.len(), channels];
                multiply(lhs, rhs, tile, sizes, accumulate, Parallelism::None);
            }
            for (pixel, values) in pixels.zip(tile.chunks_exact(outs.len())) {
                let (y, x) = (list + pixel / pitch, pixel % pitch);
                if x < cols {
                    // SAFETY: one task owns these channels of these pixels.
                    let out = unsafe { output.slice((y * cols + x) * out_channels + outs.start, outs.len()) };
                    finish(out, values, &kernel.bias[outs.clone()], kernel.then);
                }
            }
        });
    });
}

fn finish(out: &mut [f32], values: &[f32], bias: &[f32], then: Then) {
    for ((o, v), b) in out.iter_mut().zip(values).zip(bias) {
        let value = v + b;
        *o = match then {
            Then::Nothing => value,
            Then::Silu => math::silu(value),
            Then::Accumulate => *o + value,
        };
    }
}

/// Rows or columns under the taps of `outputs`.
const fn padded_length(outputs: usize, stride: usize) -> usize {
    (outputs - 1) * stride + 3
}

/// What lies under the taps, `[padded rows, padded columns, C]`, with the border filled.
fn pad(source: ConvInput, tokens: Tokens, kernel: &Kernel<'_>, input: &[f32]) -> Vec<f32> {
    let &Kernel { padding, stride, before, .. } = kernel;
    let [lines, pitch] = [tokens.grid_rows, tokens.grid_cols].map(|n| padded_length(n, stride));
    let tokens = tokens.before_stride(stride);
    let (rows, cols) = (tokens.grid_rows, tokens.grid_cols);
    let channels = match source {
        ConvInput::Tokens { channels } => channels,
        ConvInput::Image { channels, unpatchify, .. } => channels / (unpatchify * unpatchify),
    };
    let mut padded = vec![0.0; lines * pitch * channels];
    parallel::pieces(&mut padded, pitch * channels, &|y, line| {
        for (x, pixel) in line.chunks_exact_mut(channels).enumerate() {
            let inside = (before..before + rows).contains(&y) && (before..before + cols).contains(&x);
            if inside || padding == Padding::Replicate {
                let at = (y.saturating_sub(before).min(rows - 1), x.saturating_sub(before).min(cols - 1));
                read_pixel(source, tokens, input, at, pixel);
            }
        }
    });
    padded
}

/// Channels of grid position `(row, col)`.
fn read_pixel(source: ConvInput, tokens: Tokens, input: &[f32], (row, col): (usize, usize), out: &mut [f32]) {
    match source {
        ConvInput::Tokens { channels } => {
            out.copy_from_slice(&input[(row * tokens.grid_cols + col) * channels..][..channels]);
        }
        ConvInput::Image { height, width, unpatchify: f, .. } => {
            // Nearest upsampling of the unpatchified latent [C / f^2, f h, f w].
            let y = row * (height * f) / tokens.grid_rows;
            let x = col * (width * f) / tokens.grid_cols;
            for (c, out) in out.iter_mut().enumerate() {
                let channel = (c * f + y % f) * f + x % f;
                *out = input[(channel * height + y / f) * width + x / f];
            }
        }
    }
}

/// `x = silu(group_norm(x) * weight + bias)` per sample, from `input` or in place.
pub(super) fn group_norm_silu(
    input: Option<&[f32]>,
    output: &mut [f32],
    tokens: usize,
    groups: usize,
    weight: &[f32],
    bias: &[f32],
) {
    let channels = weight.len();
    let per_sample = tokens * channels;
    for (b, output) in output.chunks_exact_mut(per_sample).enumerate() {
        if let Some(input) = input {
            output.copy_from_slice(&input[b * per_sample..][..per_sample]);
        }
        let (scale, shift) = scale_shift(output, groups, weight, bias);
        parallel::pieces(output, channels, &|_, row| math::scale_shift_silu(row, &scale, &shift));
    }
}

/// Group norm as one scale and shift per channel; statistics in float64.
fn scale_shift(x: &[f32], groups: usize, weight: &[f32], bias: &[f32]) -> (Vec<f32>, Vec<f32>) {
    let channels = weight.len();
    let width = channels / groups;
    let zero = || vec![[0.0f64; 2]; groups];
    let sums = x
        .par_chunks(channels * 64)
        .map(|rows| {
            let mut sums = zero();
            for (i, part) in rows.chunks_exact(width).enumerate() {
                let sum = &mut sums[i % groups];
                sum[0] += part.iter().map(|v| f64::from(*v)).sum::<f64>();
                sum[1] += part.iter().map(|v| f64::from(*v) * f64::from(*v)).sum::<f64>();
            }
            sums
        })
        .collect::<Vec<_>>();
    let mut total = zero();
    for sums in sums {
        for (t, s) in total.iter_mut().zip(sums) {
            t[0] += s[0];
            t[1] += s[1];
        }
    }
    let count = (x.len() / groups) as f64;
    let (mut scale, mut shift) = (Vec::with_capacity(channels), Vec::with_capacity(channels));
    for (c, (w, b)) in weight.iter().zip(bias).enumerate() {
        let [sum, squares] = total[c / width];
        let mean = sum / count;
        let inverse = 1.0 / (squares / count - mean * mean + 1e-5).sqrt();
        scale.push((inverse * f64::from(*w)) as f32);
        shift.push((f64::from(*b) - mean * inverse * f64::from(*w)) as f32);
    }
    (scale, shift)
}
