//! Attention, block by block: the N x N matrix never exists.

use rayon::prelude::*;

use super::gemm::{self, Accumulate, Shared, Strided, with_scratch};
use super::math;
use ::gemm::Parallelism;
use gemm::multiply;

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
            query_block(q, k, v, d, scores, acc, max, sum);
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

/// Unnormalised output `acc [queries, d]` and row sums of one block of queries over all keys, with a running
/// maximum.
#[allow(clippy::too_many_arguments)]
fn query_block(
    q: &[f32],
    k: &[f32],
    v: &[f32],
    d: usize,
    scores: &mut [f32],
    acc: &mut [f32],
    max: &mut [f32],
    sum: &mut [f32],
) {
    let queries = q.len() / d;
    let scale = 1.0 / (d as f32).sqrt();
    acc.fill(0.0);
    max.fill(f32::NEG_INFINITY);
    sum.fill(0.0);
    for (k, v) in k.chunks(KEY_BLOCK * d).zip(v.chunks(KEY_BLOCK * d)) {
        let keys = k.len() / d;
        let scores = &mut scores[..queries * keys];
        gemm::multiply_nt(q, k, scores, [queries, keys, d]);
        let rows = scores.chunks_exact_mut(keys).zip(acc.chunks_exact_mut(d));
        for ((row, acc), (max, sum)) in rows.zip(max.iter_mut().zip(sum.iter_mut())) {
            let new_max = max.max(math::max(row) * scale);
            let rescale = (*max - new_max).exp();
            *max = new_max;
            *sum = *sum * rescale + math::exp_sum(row, scale, new_max);
            if rescale != 1.0 {
                acc.iter_mut().for_each(|a| *a *= rescale);
            }
        }
        let lhs = Strided { data: scores, row: keys, col: 1 };
        let rhs = Strided { data: v, row: d, col: 1 };
        multiply(lhs, rhs, acc, [queries, d, keys], Accumulate::Yes, Parallelism::None);
    }
}
