//! Attention, block by block: the N x N matrix never exists.

use gemm_common::Parallelism;

use super::gemm::{Shared, multiply_nt, with_scratch};
use super::math;
use crate::graph::op::{Attention, Mask};
use crate::parallel;
use crate::product::{Accumulate, Strided, multiply};

/// Queries of a task.
const QUERY_BLOCK: usize = 256;
/// Keys seen at a time.
const KEY_BLOCK: usize = 512;

/// One sample of `op`, of whose tokens the first `keys` (1 to N) are seen: `q [heads, N, d]`, `k, v [kv_heads, N, d]`,
/// `out [N, heads * d]`.
pub(super) fn attention(q: &[f32], k: &[f32], v: &[f32], out: &mut [f32], op: &Attention, keys: usize) {
    let &Attention { heads, kv_heads, head_dim: d, query_start, mask, .. } = op;
    let tokens = op.tokens.joint();
    let blocks = (tokens - query_start).div_ceil(QUERY_BLOCK);
    let out = Shared::new(out);
    parallel::tasks(heads * blocks, &|task| {
        let (h, block) = (task / blocks, task % blocks);
        let start = query_start + block * QUERY_BLOCK;
        let queries = QUERY_BLOCK.min(tokens - start);
        let q = &q[(h * tokens + start) * d..][..queries * d];
        let keys = match mask {
            Mask::None => keys,
            Mask::Causal => keys.min(start + queries),
        };
        let [k, v] = [k, v].map(|x| &x[h / (heads / kv_heads) * tokens * d..][..keys * d]);
        with_scratch(queries * (KEY_BLOCK + d + 3), |scratch| {
            let (scores, rest) = scratch.split_at_mut(queries * KEY_BLOCK);
            let (acc, rest) = rest.split_at_mut(queries * d);
            let (max, rest) = rest.split_at_mut(queries);
            let (sum, rescale) = rest.split_at_mut(queries);
            let mut running = Running { acc, max, sum, rescale };
            running.over_keys(op, start, q, [k, v], scores);
            for i in 0..queries {
                // SAFETY: one task owns these queries of this head.
                let out = unsafe { out.slice(((start + i) * heads + h) * d, d) };
                for (o, column) in out.iter_mut().zip(running.acc.chunks_exact(queries)) {
                    *o = column[i] / running.sum[i];
                }
            }
        });
    });
}

/// Softmax-weighted sums of one block of queries, unnormalised, relative to a running maximum. Queries lie along
/// the contiguous axis everywhere, so that softmax needs no sums across a vector and the second product reads
/// the weights where they are.
struct Running<'a> {
    /// `[d, queries]`.
    acc: &'a mut [f32],
    /// Largest score so far, `[queries]`.
    max: &'a mut [f32],
    /// Sum of exponentials, `[queries]`.
    sum: &'a mut [f32],
    /// What the last block's rise of the maximum multiplies earlier terms by, `[queries]`.
    rescale: &'a mut [f32],
}

impl Running<'_> {
    /// Sees all keys that the mask lets it, block by block; token `start` is the first query's, `scores` is scratch of
    /// `queries * KEY_BLOCK`.
    fn over_keys(&mut self, op: &Attention, start: usize, q: &[f32], [k, v]: [&[f32]; 2], scores: &mut [f32]) {
        let queries = self.max.len();
        let d = op.head_dim;
        self.acc.fill(0.0);
        self.max.fill(f32::NEG_INFINITY);
        self.sum.fill(0.0);
        let scale = 1.0 / (d as f32).sqrt();
        for (block, (k, v)) in k.chunks(KEY_BLOCK * d).zip(v.chunks(KEY_BLOCK * d)).enumerate() {
            let keys = k.len() / d;
            let scores = &mut scores[..keys * queries];
            multiply_nt(k, q, scores, [keys, queries, d]);
            if let Some(cap) = op.soft_cap {
                let cap = cap as f32 / scale;
                scores.iter_mut().for_each(|s| *s = cap * (*s / cap).tanh());
            }
            if op.mask == Mask::Causal {
                // Key 0 is seen by all, so that every maximum is finite after the first block.
                for (row, key) in scores.chunks_exact_mut(queries).zip(block * KEY_BLOCK..) {
                    let hidden = key.saturating_sub(start).min(queries);
                    row[..hidden].fill(f32::NEG_INFINITY);
                }
            }
            math::softmax_block(scores, scale, self.max, self.sum, self.rescale);
            for row in self.acc.chunks_exact_mut(queries) {
                row.iter_mut().zip(&*self.rescale).for_each(|(a, r)| *a *= r);
            }
            let lhs = Strided { data: v, row: 1, col: d };
            let rhs = Strided { data: scores, row: queries, col: 1 };
            multiply(lhs, rhs, self.acc, [d, queries, keys], Accumulate::Yes, Parallelism::None);
        }
    }
}
