//! Attention, block by block: the N x N matrix never exists.

use rayon::prelude::*;

use super::gemm::{Accumulate, Shared, Strided, multiply, multiply_nt, with_scratch};
use super::math;
use ::gemm::Parallelism;

/// Queries of a task.
const QUERY_BLOCK: usize = 256;
/// Keys seen at a time.
const KEY_BLOCK: usize = 512;

/// `out[n, h] = softmax(q k^T / sqrt(d)) v` for one sample: `q, k, v [heads, N, d]`, `out [N, heads * d]`;
/// queries before `query_start` are left alone.
pub(super) fn attention(
    q: &[f32],
    k: &[f32],
    v: &[f32],
    out: &mut [f32],
    [heads, tokens, d]: [usize; 3],
    query_start: usize,
) {
    let blocks = (tokens - query_start).div_ceil(QUERY_BLOCK);
    let out = Shared::new(out);
    (0..heads * blocks).into_par_iter().for_each(|task| {
        let (h, block) = (task / blocks, task % blocks);
        let start = query_start + block * QUERY_BLOCK;
        let queries = QUERY_BLOCK.min(tokens - start);
        let head = h * tokens * d..(h + 1) * tokens * d;
        let q = &q[head.start + start * d..][..queries * d];
        let (k, v) = (&k[head.clone()], &v[head]);
        with_scratch(queries * (KEY_BLOCK + d + 2), |scratch| {
            let (scores, rest) = scratch.split_at_mut(queries * KEY_BLOCK);
            let (acc, rest) = rest.split_at_mut(queries * d);
            let (max, sum) = rest.split_at_mut(queries);
            let mut running = Running { acc, max, sum };
            running.over_keys(q, k, v, scores);
            let Running { acc, sum, .. } = running;
            for (i, (row, sum)) in acc.chunks_exact(d).zip(sum).enumerate() {
                // SAFETY: one task owns these queries of this head.
                let out = unsafe { out.slice(((start + i) * heads + h) * d, d) };
                for (o, a) in out.iter_mut().zip(row) {
                    *o = a / *sum;
                }
            }
        });
    });
}

/// Softmax-weighted sums of one block of queries, unnormalised, relative to a running maximum.
struct Running<'a> {
    /// `[queries, d]`.
    acc: &'a mut [f32],
    /// Largest scaled score so far, `[queries]`.
    max: &'a mut [f32],
    /// Sum of exponentials, `[queries]`.
    sum: &'a mut [f32],
}

impl Running<'_> {
    /// Sees all keys, block by block; `scores` is scratch of `queries * KEY_BLOCK`.
    fn over_keys(&mut self, q: &[f32], k: &[f32], v: &[f32], scores: &mut [f32]) {
        let queries = self.max.len();
        let d = q.len() / queries;
        self.acc.fill(0.0);
        self.max.fill(f32::NEG_INFINITY);
        self.sum.fill(0.0);
        for (k, v) in k.chunks(KEY_BLOCK * d).zip(v.chunks(KEY_BLOCK * d)) {
            let keys = k.len() / d;
            let scores = &mut scores[..queries * keys];
            multiply_nt(q, k, scores, [queries, keys, d]);
            self.weigh(scores, 1.0 / (d as f32).sqrt());
            let lhs = Strided { data: scores, row: keys, col: 1 };
            let rhs = Strided { data: v, row: d, col: 1 };
            multiply(lhs, rhs, self.acc, [queries, d, keys], Accumulate::Yes, Parallelism::None);
        }
    }

    /// Turns scores into exponentials, and rescales what came before where the maximum rose.
    fn weigh(&mut self, scores: &mut [f32], scale: f32) {
        let queries = self.max.len();
        let (keys, d) = (scores.len() / queries, self.acc.len() / queries);
        let rows = scores.chunks_exact_mut(keys).zip(self.acc.chunks_exact_mut(d));
        for ((row, acc), (max, sum)) in rows.zip(self.max.iter_mut().zip(self.sum.iter_mut())) {
            let new_max = max.max(math::max(row) * scale);
            let rescale = (*max - new_max).exp();
            *max = new_max;
            *sum = *sum * rescale + math::exp_sum(row, scale, new_max);
            if rescale != 1.0 {
                acc.iter_mut().for_each(|a| *a *= rescale);
            }
        }
    }
}
