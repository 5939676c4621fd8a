//! Ops on pixels: embedding, the two modulated halves of a pixel block, and the last layer with the sampler's
//! step. `pixels` is `[B, L, P * P, C]`.

use multiversion::multiversion;

use super::gemm::{self, Factor, Shared};
use super::math;
use crate::graph::op::Tokens;
use crate::parallel;
use crate::plan::Iteration;
use crate::sampler::Sampler;
use crate::weights::Matrix;

/// Values of the picture that a task of the sampler's step moves.
const STEP_TASK: usize = 1 << 14;

/// `[row, col]` of pixel p of patch n in the picture.
fn position(tokens: Tokens, patch: usize, n: usize, p: usize) -> [usize; 2] {
    let n = n % tokens.image();
    [n / tokens.grid_cols * patch + p / patch, n % tokens.grid_cols * patch + p % patch]
}

/// `W rgb + b + [sin(u w), cos(u w), sin(v w), cos(v w)]`.
pub(super) fn pixel_embed(
    image: &[f32],
    tokens: Tokens,
    patch: usize,
    weight: &[f32],
    bias: &[f32],
    pixels: &mut [f32],
) {
    let channels = bias.len();
    let (height, width) = (tokens.grid_rows * patch, tokens.grid_cols * patch);
    let columns = sinusoids(width, channels / 4);
    let lines = sinusoids(height, channels / 4);
    let per_patch = patch * patch * channels;
    parallel::pieces(pixels, per_patch, &|n, pixels| {
        let b = n / tokens.image();
        for (p, pixel) in pixels.chunks_exact_mut(channels).enumerate() {
            let [v, u] = position(tokens, patch, n, p);
            let rgb = [0, 1, 2].map(|c| image[((b * 3 + c) * height + v) * width + u]);
            let half = channels / 2;
            let code = columns[u * half..][..half].iter().chain(&lines[v * half..][..half]);
            for ((out, w), (bias, code)) in pixel.iter_mut().zip(weight.chunks_exact(3)).zip(bias.iter().zip(code)) {
                *out = w[0] * rgb[0] + w[1] * rgb[1] + w[2] * rgb[2] + bias + code;
            }
        }
    });
}

/// `[count, 2 * quarter]`: sines, then cosines of `position * 10000^(-k / quarter)`.
fn sinusoids(count: usize, quarter: usize) -> Vec<f32> {
    let mut table = Vec::with_capacity(count * 2 * quarter);
    for position in 0..count {
        let angles = (0..quarter).map(|k| position as f64 * 10000f64.powf(-(k as f64) / quarter as f64));
        table.extend(angles.clone().map(|a| a.sin() as f32));
        table.extend(angles.map(|a| a.cos() as f32));
    }
    table
}

/// `output = rms(pixels; norm) * (1 + scale) + shift`, `[shift, scale]` per pixel from `stream W^T + b`; all
/// operands hold the same tokens.
pub(super) fn pixel_modulate(
    stream: &[f32],
    pixels: &[f32],
    weight: &Matrix<'_>,
    bias: &[f32],
    norm: &[f32],
    output: &mut [f32],
) {
    let c = norm.len();
    let units = weight.rows() / (2 * c);
    let output = Shared::new(output);
    let factor = Factor { a: stream, weight, cols_per_unit: 2 * c };
    gemm::tiles(stream.len() / weight.cols(), units, &[factor], &|tile| {
        let width = tile.units.len() * 2 * c;
        let bias = &bias[tile.units.start * 2 * c..][..width];
        for (r, row) in tile.rows.clone().zip(tile.values[0].chunks_exact_mut(width)) {
            let at = (r * units + tile.units.start) * c;
            let len = tile.units.len() * c;
            // SAFETY: tiles cover disjoint tokens and pixels.
            let output = unsafe { output.slice(at, len) };
            modulate_row(row, bias, &pixels[at..at + len], norm, output);
        }
    });
}

/// The width of a pixel in every released network: known to the compiler, the loops below unroll.
const USUAL_CHANNELS: usize = 16;
/// The pixel MLP's hidden width there.
const USUAL_MLP: usize = 64;

#[multiversion(targets("x86_64+avx512f+avx512dq+avx512vl+fma", "x86_64+avx2+fma"))]
fn modulate_row(modulation: &[f32], bias: &[f32], pixels: &[f32], norm: &[f32], output: &mut [f32]) {
    match norm.len() {
        USUAL_CHANNELS => modulate_pixels(USUAL_CHANNELS, modulation, bias, pixels, norm, output),
        c => modulate_pixels(c, modulation, bias, pixels, norm, output),
    }
}

#[inline(always)]
fn modulate_pixels(c: usize, modulation: &[f32], bias: &[f32], pixels: &[f32], norm: &[f32], output: &mut [f32]) {
    let norm = &norm[..c];
    let modulation = modulation.chunks_exact(2 * c).zip(bias.chunks_exact(2 * c));
    for ((out, x), (m, b)) in output.chunks_exact_mut(c).zip(pixels.chunks_exact(c)).zip(modulation) {
        let r = math::inverse_rms(x);
        for i in 0..c {
            out[i] = x[i] * r * norm[i] * (1.0 + m[c + i] + b[c + i]) + m[i] + b[i];
        }
    }
}

/// Weights of [`pixel_update`].
pub(super) struct UpdateWeights<'a> {
    pub modulation: &'a Matrix<'a>,
    pub modulation_bias: &'a [f32],
    pub expand: &'a Matrix<'a>,
    pub expand_bias: &'a [f32],
    pub norm: &'a [f32],
    pub mlp: PixelMlp,
}

/// The two linears between which GELU stands, transposed to `[in, out]`.
pub(super) struct PixelMlp {
    fc1: Vec<f32>,
    bias1: Vec<f32>,
    fc2: Vec<f32>,
    bias2: Vec<f32>,
}

impl PixelMlp {
    /// From `fc1 [M, C]` and `fc2 [C, M]` as stored.
    pub(super) fn new(fc1: &[f32], bias1: Vec<f32>, fc2: &[f32], bias2: Vec<f32>) -> Self {
        Self { fc1: transpose(fc1, bias1.len()), fc2: transpose(fc2, bias2.len()), bias1, bias2 }
    }
}

fn transpose(matrix: &[f32], rows: usize) -> Vec<f32> {
    let cols = matrix.len() / rows;
    (0..matrix.len()).map(|i| matrix[i % rows * cols + i / rows]).collect()
}

/// Residual of the attention, then of the MLP, both gated per pixel.
pub(super) fn pixel_update(stream: &[f32], attention: &[f32], weights: &UpdateWeights<'_>, pixels: &mut [f32]) {
    let c = weights.norm.len();
    let units = weights.expand.rows() / c;
    let pixels = Shared::new(pixels);
    let factors = [
        Factor { a: stream, weight: weights.modulation, cols_per_unit: 4 * c },
        Factor { a: attention, weight: weights.expand, cols_per_unit: c },
    ];
    gemm::tiles(stream.len() / weights.modulation.cols(), units, &factors, &|tile| {
        let count = tile.units.len();
        let [modulation, expanded] = tile.values else { return };
        let rows = modulation.chunks_exact(count * 4 * c).zip(expanded.chunks_exact(count * c));
        for (r, (modulation, expanded)) in tile.rows.clone().zip(rows) {
            // SAFETY: tiles cover disjoint tokens and pixels.
            let pixels = unsafe { pixels.slice((r * units + tile.units.start) * c, count * c) };
            update_row(modulation, expanded, weights, tile.units.start, pixels);
        }
    });
}

/// Pixels `first ..` of one token.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl+fma", "x86_64+avx2+fma"))]
fn update_row(modulation: &[f32], expanded: &[f32], weights: &UpdateWeights<'_>, first: usize, pixels: &mut [f32]) {
    match (weights.norm.len(), weights.mlp.bias1.len()) {
        (USUAL_CHANNELS, USUAL_MLP) => {
            let (mut z, mut hidden) = ([0.0; USUAL_CHANNELS], [0.0; USUAL_MLP]);
            update_pixels(modulation, expanded, weights, first, pixels, &mut z, &mut hidden);
        }
        (c, mlp) => {
            update_pixels(modulation, expanded, weights, first, pixels, &mut vec![0.0; c], &mut vec![0.0; mlp]);
        }
    }
}

/// `z [C]` and `hidden [M]` are scratch whose lengths are the sizes.
#[inline(always)]
fn update_pixels(
    modulation: &[f32],
    expanded: &[f32],
    weights: &UpdateWeights<'_>,
    first: usize,
    pixels: &mut [f32],
    z: &mut [f32],
    hidden: &mut [f32],
) {
    let c = z.len();
    let mlp = &weights.mlp;
    let norm = &weights.norm[..c];
    let bias = weights.modulation_bias[first * 4 * c..].chunks_exact(4 * c);
    let expand_bias = weights.expand_bias[first * c..].chunks_exact(c);
    let operands = modulation.chunks_exact(4 * c).zip(bias).zip(expanded.chunks_exact(c).zip(expand_bias));
    for (x, ((m, b), (e, eb))) in pixels.chunks_exact_mut(c).zip(operands) {
        for i in 0..c {
            x[i] += (m[i] + b[i]) * (e[i] + eb[i]);
        }
        let r = math::inverse_rms(x);
        for i in 0..c {
            z[i] = x[i] * r * norm[i] * (1.0 + m[2 * c + i] + b[2 * c + i]) + m[c + i] + b[c + i];
        }
        hidden.copy_from_slice(&mlp.bias1);
        for (z, row) in z.iter().zip(mlp.fc1.chunks_exact(hidden.len())) {
            for (h, w) in hidden.iter_mut().zip(row) {
                *h += z * w;
            }
        }
        for h in hidden.iter_mut() {
            *h = math::gelu(*h);
        }
        z.copy_from_slice(&mlp.bias2);
        for (h, row) in hidden.iter().zip(mlp.fc2.chunks_exact(c)) {
            for (o, w) in z.iter_mut().zip(row) {
                *o += h * w;
            }
        }
        for i in 0..c {
            x[i] += (m[3 * c + i] + b[3 * c + i]) * z[i];
        }
    }
}

/// `v = linear(rms(pixels; norm))` on the picture's grid, `[B, 3, H, W]`.
pub(super) fn velocity(
    pixels: &[f32],
    tokens: Tokens,
    patch: usize,
    norm: &[f32],
    weight: &[f32],
    bias: &[f32],
) -> Vec<f32> {
    let c = norm.len();
    let (height, width) = (tokens.grid_rows * patch, tokens.grid_cols * patch);
    let mut out = vec![0.0; tokens.batch * 3 * height * width];
    let shared = Shared::new(&mut out);
    let per_patch = patch * patch * c;
    parallel::tasks(pixels.len() / per_patch, &|n| {
        let (b, pixels) = (n / tokens.image(), &pixels[n * per_patch..][..per_patch]);
        let mut normed = vec![0.0f32; c];
        for (p, x) in pixels.chunks_exact(c).enumerate() {
            let r = math::inverse_rms(x);
            normed.iter_mut().zip(x).zip(norm).for_each(|((z, x), w)| *z = x * r * w);
            let [v, u] = position(tokens, patch, n, p);
            for (channel, (w, bias)) in weight.chunks_exact(c).zip(bias).enumerate() {
                let value = bias + w.iter().zip(&normed).map(|(w, z)| w * z).sum::<f32>();
                // SAFETY: one task owns this patch, and each of its pixels is written once per channel.
                unsafe { shared.slice(((b * 3 + channel) * height + v) * width + u, 1)[0] = value };
            }
        }
    });
    out
}

/// The sampler's step on every element, in float64 as in the public code.
pub(super) fn sample_step(image: &mut [f32], velocity: &[f32], noise: &[f32], iteration: &Iteration<'_>) {
    let (t, next) = (iteration.step.t, iteration.step.t_next);
    let sampler = iteration.sampler;
    parallel::pieces(image, STEP_TASK, &|piece, image| {
        let operands = velocity[piece * STEP_TASK..].iter().zip(&noise[piece * STEP_TASK..]);
        for (x, (v, n)) in image.iter_mut().zip(operands) {
            let (start, v, n) = (f64::from(*x), f64::from(*v), f64::from(*n));
            let denoised = start - t * v;
            let moved = match sampler {
                _ if next == 0.0 => denoised,
                Sampler::Sde => (1.0 - next) * denoised + next * n,
                Sampler::Ode => start + (next - t) * v,
            };
            *x = moved as f32;
        }
    });
}
