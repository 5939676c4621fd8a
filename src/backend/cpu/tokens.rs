//! Ops on the token streams: embeddings, projections, feed-forward, gates.

use super::folded;
use super::gemm::{self, Factor, ROW_BLOCK, Shared};
use super::math;
use super::rotary::RotaryTable;
use crate::graph::op::{Activation, NormKind, Tokens};
use crate::parallel;
use crate::weights::Matrix;

/// `out = a W^T + b` on rows of `[.., K]`.
pub(super) fn linear(a: &[f32], weight: &Matrix<'_>, bias: &[f32], out: &mut [f32]) {
    let (n, rows) = (weight.rows(), a.len() / weight.cols());
    let out = Shared::new(out);
    gemm::tiles(rows, n, &[Factor { a, weight, cols_per_unit: 1 }], &|tile| {
        let width = tile.units.len();
        for (r, row) in tile.rows.clone().zip(tile.values[0].chunks_exact(width)) {
            // SAFETY: tiles cover disjoint rows and columns.
            let out = unsafe { out.slice(r * n + tile.units.start, width) };
            for ((o, v), b) in out.iter_mut().zip(row).zip(&bias[tile.units.clone()]) {
                *o = v + b;
            }
        }
    });
}

/// `rms(input W^T + b; norm) + position[t]`.
pub(super) fn embed_rows(
    input: &[f32],
    weight: &Matrix<'_>,
    bias: &[f32],
    norm: &[f32],
    position: &[f32],
    text: usize,
    out: &mut [f32],
) {
    linear(input, weight, bias, out);
    let d = weight.rows();
    parallel::pieces(out, d, &|row, y| {
        let r = math::inverse_rms(y);
        let position = &position[row % text * d..][..d];
        for ((y, w), p) in y.iter_mut().zip(norm).zip(position) {
            *y = *y * r * w + p;
        }
    });
}

/// A norm with its vectors, `[D]` each.
#[derive(Clone, Copy)]
pub(super) struct Modulated<'a> {
    pub kind: NormKind,
    pub eps: f32,
    pub weight: &'a [f32],
    pub bias: Option<&'a [f32]>,
    pub shift: &'a [f32],
    pub scale: &'a [f32],
    /// Where the rows are an [`Emit`](crate::graph::op::Emit)'s operand: the stream's sums of squares, `[rows, D / 64]`.
    pub sums: Option<&'a [f32]>,
}

impl Modulated<'_> {
    /// `(norm(x) * weight + bias) * (1 + scale) + shift` of rows `x [.., D]`, the first of which is row `first`.
    fn apply(&self, first: usize, x: &[f32], out: &mut [f32]) {
        let d = self.weight.len();
        parallel::pieces(out, d, &|row, out| {
            let x = &x[row * d..][..d];
            match (self.kind, self.sums) {
                (_, Some(sums)) => folded::norm(x, folded::row_sums(sums, d, first + row), self.shift, out),
                (NormKind::Rms, None) => math::norm_modulate(x, self.eps, self.weight, self.scale, self.shift, out),
                (NormKind::Layer, None) => {
                    math::layer_norm(x, self.eps, self.weight, out);
                    if let Some(bias) = self.bias {
                        out.iter_mut().zip(bias).for_each(|(y, b)| *y += b);
                    }
                    let modulation = self.scale.iter().zip(self.shift);
                    out.iter_mut().zip(modulation).for_each(|(y, (scale, shift))| *y = *y * (1.0 + scale) + shift);
                }
            }
        });
    }
}

/// Runs `f(first row, rows of x)` over blocks of at most [`ROW_BLOCK`] rows, normalised first when asked.
fn blocks(x: &[f32], width: usize, norm: Option<&Modulated<'_>>, mut f: impl FnMut(usize, &[f32])) {
    let mut normed = Vec::new();
    for (block, x) in x.chunks(ROW_BLOCK * width).enumerate() {
        match norm {
            Some(norm) => {
                normed.resize(x.len(), 0.0);
                norm.apply(block * ROW_BLOCK, x, &mut normed);
                f(block * ROW_BLOCK, &normed);
            }
            None => f(block * ROW_BLOCK, x),
        }
    }
}

/// What [`qkv_project`] needs of one segment's stream.
pub(super) struct QkvWeights<'a> {
    pub weight: &'a Matrix<'a>,
    pub norm: Option<Modulated<'a>>,
    pub q_norm: &'a [f32],
    pub k_norm: &'a [f32],
    pub rotary: &'a RotaryTable,
}

/// Sizes of an attention.
#[derive(Clone, Copy)]
pub(super) struct Heads {
    pub heads: usize,
    /// Of k and v.
    pub kv_heads: usize,
    pub head_dim: usize,
    /// `N`.
    pub joint: usize,
}

/// Projects one sample's part of one stream, `x [rows, K]`, to `q [heads, N, head_dim]`, `k, v [kv_heads, ..]` of that
/// sample, tokens `first ..`.
pub(super) fn qkv_project(x: &[f32], weights: &QkvWeights<'_>, heads: Heads, first: usize, qkv: [&mut [f32]; 3]) {
    let d = heads.head_dim;
    let out = qkv.map(Shared::new);
    blocks(x, weights.weight.cols(), weights.norm.as_ref(), |start, x| {
        let factor = Factor { a: x, weight: weights.weight, cols_per_unit: d };
        gemm::tiles(x.len() / weights.weight.cols(), heads.heads + 2 * heads.kv_heads, &[factor], &|tile| {
            let width = tile.units.len() * d;
            for (r, row) in tile.rows.clone().zip(tile.values[0].chunks_exact_mut(width)) {
                let position = start + r;
                for (unit, head) in tile.units.clone().zip(row.chunks_exact_mut(d)) {
                    let (which, h) = match unit.checked_sub(heads.heads) {
                        None => (0, unit),
                        Some(unit) => (1 + unit / heads.kv_heads, unit % heads.kv_heads),
                    };
                    let norm = [Some(weights.q_norm), Some(weights.k_norm), None][which];
                    if let Some(norm) = norm {
                        let r = math::inverse_rms(head);
                        head.iter_mut().zip(norm).for_each(|(v, w)| *v *= r * w);
                        weights.rotary.rotate(head, position);
                    }
                    // SAFETY: one tile owns this token's head.
                    let out = unsafe { out[which].slice((h * heads.joint + first + position) * d, d) };
                    out.copy_from_slice(head);
                }
            }
        });
    });
}

/// `out = f(w1 z) * (w3 z)`, `z` the normalised `x [rows, D]`; weight rows interleaved.
pub(super) fn glu(x: &[f32], norm: &Modulated<'_>, weight: &Matrix<'_>, activation: Activation, out: &mut [f32]) {
    let gate = match activation {
        Activation::Silu => math::swiglu,
        Activation::GeluTanh => math::geglu,
    };
    let inner = weight.rows() / 2;
    let out = Shared::new(out);
    blocks(x, weight.cols(), Some(norm), |start, x| {
        let factor = Factor { a: x, weight, cols_per_unit: 2 };
        gemm::tiles(x.len() / weight.cols(), inner, &[factor], &|tile| {
            let width = tile.units.len();
            for (r, row) in tile.rows.clone().zip(tile.values[0].chunks_exact(2 * width)) {
                // SAFETY: tiles cover disjoint rows and columns.
                let out = unsafe { out.slice((start + r) * inner + tile.units.start, width) };
                gate(row, out);
            }
        });
    });
}

/// `residual += gate * (x W^T + b)`, `x [rows, K]`, `residual [rows, D]`.
pub(super) fn gated_residual(x: &[f32], weight: &Matrix<'_>, bias: Option<&[f32]>, gate: &[f32], residual: &mut [f32]) {
    let (d, rows) = (weight.rows(), x.len() / weight.cols());
    let residual = Shared::new(residual);
    gemm::tiles(rows, d, &[Factor { a: x, weight, cols_per_unit: 1 }], &|tile| {
        let width = tile.units.len();
        let gate = &gate[tile.units.clone()];
        for (r, row) in tile.rows.clone().zip(tile.values[0].chunks_exact_mut(width)) {
            if let Some(bias) = bias {
                row.iter_mut().zip(&bias[tile.units.clone()]).for_each(|(v, b)| *v += b);
            }
            // SAFETY: tiles cover disjoint rows and columns.
            let out = unsafe { residual.slice(r * d + tile.units.start, width) };
            for ((o, v), g) in out.iter_mut().zip(row).zip(gate) {
                *o += g * *v;
            }
        }
    });
}

/// What a gate reads besides the stream, one sample's rows each.
#[derive(Clone, Copy)]
pub(super) struct GateInputs<'a> {
    pub features: &'a [f32],
    /// `[rows, G]`.
    pub half: &'a [f32],
    /// What the product of a gate per channel reads in place of the stream, where kernels have left it.
    pub operand: Option<&'a [f32]>,
}

/// `stream += sigmoid(stream W^T + half - bias) * features` on one sample's rows.
pub(super) fn feature_gate(stream: &mut [f32], inputs: GateInputs<'_>, weight: &Matrix<'_>, bias: f32) {
    let GateInputs { features, half, operand } = inputs;
    let (g, d) = (weight.rows(), weight.cols());
    if g == 1 {
        let weight = weight.to_vector();
        parallel::pieces(stream, d, &|row, s| {
            let (f, half) = (&features[row * d..][..d], half[row]);
            let logit: f64 = s.iter().zip(&weight).map(|(s, w)| f64::from(*s) * f64::from(*w)).sum();
            let gate = math::sigmoid(logit as f32 + half - bias);
            s.iter_mut().zip(f).for_each(|(s, f)| *s += gate * f);
        });
        return;
    }
    let block = ROW_BLOCK * d;
    let parts = stream.chunks_mut(block).zip(features.chunks(block)).zip(half.chunks(ROW_BLOCK * g));
    for (index, ((stream, features), half)) in parts.enumerate() {
        // Every column of the product reads whole rows, so the rows must outlive their update.
        let before = match operand {
            Some(operand) => operand[index * block..][..stream.len()].to_vec(),
            None => stream.to_vec(),
        };
        let out = Shared::new(stream);
        gemm::tiles(before.len() / d, g, &[Factor { a: &before, weight, cols_per_unit: 1 }], &|tile| {
            let width = tile.units.len();
            for (r, row) in tile.rows.clone().zip(tile.values[0].chunks_exact(width)) {
                let at = r * d + tile.units.start;
                // SAFETY: tiles cover disjoint rows and columns.
                let out = unsafe { out.slice(at, width) };
                math::gate_add(out, row, &half[at..at + width], bias, &features[at..at + width]);
            }
        });
    }
}

/// `stream = silu(vector + stream)`.
pub(super) fn add_silu(stream: &mut [f32], vector: &[f32]) {
    parallel::pieces(stream, vector.len(), &|_, row| math::add_silu(row, vector));
}

/// Patches of `image [B, 3, H, W]` through a linear: `[B, L, D]`.
pub(super) fn patch_embed(
    image: &[f32],
    tokens: Tokens,
    patch: usize,
    weight: &Matrix<'_>,
    bias: &[f32],
    out: &mut [f32],
) {
    let values = weight.cols();
    let (height, width) = (tokens.grid_rows * patch, tokens.grid_cols * patch);
    let mut rows = vec![0.0; tokens.batch * tokens.image() * values];
    parallel::pieces(&mut rows, values, &|n, row| {
        let (b, n) = (n / tokens.image(), n % tokens.image());
        let (i, j) = (n / tokens.grid_cols, n % tokens.grid_cols);
        for (line, row) in row.chunks_exact_mut(patch).enumerate() {
            let (c, y) = (line / patch, line % patch);
            let start = ((b * 3 + c) * height + i * patch + y) * width + j * patch;
            row.copy_from_slice(&image[start..start + patch]);
        }
    });
    linear(&rows, weight, bias, out);
}
