//! Attention, block by block: the N x N matrix never exists.

use gemm_common::Parallelism;

use super::gemm::{Shared, multiply_nt, with_scratch};
use super::math;
use crate::parallel;
use crate::product::{Accumulate, Strided, multiply};

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
    parallel::tasks(heads * blocks, &|task| {
        let (h, block) = (task / blocks, task % blocks);
        let start = query_start + block * QUERY_BLOCK;
        let queries = QUERY_BLOCK.min(tokens - start);
        let head = h * tokens * d..(h + 1) * tokens * d;
        let q = &q[head.start + start * d..][..queries * d];
        let (k, v) = (&k[head.clone()], &v[head]);
        with_scratch(queries * (KEY_BLOCK + d + 3), |scratch| {
            let (scores, rest) = scratch.split_at_mut(queries * KEY_BLOCK);
            let (acc, rest) = rest.split_at_mut(queries * d);
            let (max, rest) = rest.split_at_mut(queries);
            let (sum, rescale) = rest.split_at_mut(queries);
            let mut running = Running { acc, max, sum, rescale };
            running.over_keys(q, k, v, scores);
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
    /// Sees all keys, block by block; `scores` is scratch of `queries * KEY_BLOCK`.
    fn over_keys(&mut self, q: &[f32], k: &[f32], v: &[f32], scores: &mut [f32]) {
        let queries = self.max.len();
        let d = q.len() / queries;
        self.acc.fill(0.0);
        self.max.fill(f32::NEG_INFINITY);
        self.sum.fill(0.0);
        for (k, v) in k.chunks(KEY_BLOCK * d).zip(v.chunks(KEY_BLOCK * d)) {
            let keys = k.len() / d;
            let scores = &mut scores[..keys * queries];
            multiply_nt(k, q, scores, [keys, queries, d]);
            math::softmax_block(scores, 1.0 / (d as f32).sqrt(), self.max, self.sum, self.rescale);
            for row in self.acc.chunks_exact_mut(queries) {
                row.iter_mut().zip(&*self.rescale).for_each(|(a, r)| *a *= r);
            }
            let lhs = Strided { data: v, row: 1, col: d };
            let rhs = Strided { data: scores, row: queries, col: 1 };
            multiply(lhs, rhs, self.acc, [d, queries, keys], Accumulate::Yes, Parallelism::None);
        }
    }
}
