//! Operands of an attention and its result, computed plainly.

use half::bf16;
use pid_engine::kernels::OpCall;
use pid_engine::kernels::params::PidAttentionParams;

use crate::under_test::{Device, entry};
use crate::values::{Random, Rounding, bits, check, from_bits};

#[derive(Clone, Copy, Debug)]
pub struct Shape {
    pub batch: usize,
    pub heads: usize,
    pub tokens: usize,
    pub query_start: usize,
    pub head_dim: usize,
}

/// What the scores look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Logits {
    /// Near zero: a key that is there by mistake weighs as much as any.
    Small,
    /// Of either sign, up to some tens.
    Usual,
    /// Thousands: most weights underflow.
    Wide,
    /// All about -2000.
    Low,
    /// Growing from key to key: the maximum moves in every tile.
    Rising,
    /// About +98 and -98 by turns: the ends of what the bounded form takes.
    Edges,
}

/// q, k, v, `[B, heads, N, d]` each.
fn operands(shape: Shape, logits: Logits) -> [Vec<bf16>; 3] {
    let Shape { batch, heads, tokens, head_dim: d, .. } = shape;
    let len = batch * heads * tokens * d;
    let mut random = Random::new((tokens * d + shape.query_start) as u64 ^ ((logits as u64) << 32));
    let scale = match logits {
        Logits::Small | Logits::Edges => 0.02,
        Logits::Usual => 0.6,
        Logits::Wide => 300.0,
        Logits::Low | Logits::Rising => 1.0,
    };
    let (mut q, mut k) = (random.bf16s(len, scale), random.bf16s(len, 1.0));
    // The first column shifts all scores.
    for i in 0..len / d {
        let token = i % tokens;
        let (query, key) = match logits {
            Logits::Low => (-2000.0, 1.0),
            Logits::Rising => (1.0, token as f32 / 8.0),
            Logits::Edges => (if token.is_multiple_of(2) { 98.0 } else { -98.0 }, 1.0),
            Logits::Small | Logits::Usual | Logits::Wide => continue,
        };
        (q[i * d], k[i * d]) = (bf16::from_f32(query), bf16::from_f32(key));
    }
    [q, k, random.bf16s(len, 1.0)]
}

/// What weights are relative to: a maximum that follows the true one by tiles of 64 keys, at a distance of up to 8; or
/// nothing. It decides how bf16 rounds them.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Online,
    Bounded,
}

/// One query's row of the output: values `v [N, d]`, weighted by its scores.
fn weighted(scores: &[f64], v: &[f64], form: Form, rounding: Rounding) -> Vec<f64> {
    const TILE: usize = 64;
    const DISTANCE: f64 = 8.0;
    let d = v.len() / scores.len();
    let mut maximum = if form == Form::Online { f64::NEG_INFINITY } else { 0.0 };
    let (mut sum, mut acc) = (0.0, vec![0.0; d]);
    for (scores, v) in scores.chunks(TILE).zip(v.chunks(TILE * d)) {
        let scores: Vec<f64> = scores.iter().map(|s| rounding.f32(*s)).collect();
        let largest = scores.iter().fold(f64::NEG_INFINITY, |m, s| m.max(*s));
        if form == Form::Online && largest > maximum + DISTANCE {
            let factor = (maximum - largest).exp2();
            maximum = largest;
            sum *= factor;
            acc.iter_mut().for_each(|a| *a *= factor);
        }
        for (score, v) in scores.iter().zip(v.chunks_exact(d)) {
            let weight = rounding.f32((score - maximum).exp2());
            sum += weight;
            let weight = rounding.bf16(weight);
            acc.iter_mut().zip(v).for_each(|(a, v)| *a += weight * v);
        }
    }
    acc.iter().map(|a| rounding.bf16(a / sum)).collect()
}

pub struct Case {
    shape: Shape,
    logits: Logits,
    q: Vec<bf16>,
    k: Vec<bf16>,
    v: Vec<bf16>,
    /// Largest distance of a score from zero.
    pub largest_score: f64,
    /// Rows of the queries from `query_start` on, `[B, N - query_start, heads * d]`: without rounding, and as each form
    /// rounds.
    exact: Vec<f64>,
    online: Vec<f64>,
    bounded: Vec<f64>,
}

impl Case {
    pub fn new(shape: Shape, logits: Logits) -> Self {
        let [q, k, v] = operands(shape, logits);
        let none = Vec::new;
        let mut case =
            Self { shape, logits, q, k, v, largest_score: 0.0, exact: none(), online: none(), bounded: none() };
        let Shape { batch, heads, tokens, query_start, head_dim: d } = shape;
        let wide = |x: &[bf16]| x.iter().map(|x| f64::from(*x)).collect::<Vec<f64>>();
        let [q, k, v] = [wide(&case.q), wide(&case.k), wide(&case.v)];
        for b in 0..batch {
            for i in query_start..tokens {
                for h in 0..heads {
                    let head = (b * heads + h) * tokens * d..(b * heads + h + 1) * tokens * d;
                    let (k, v) = (&k[head.clone()], &v[head.clone()]);
                    let q = &q[head.start + i * d..][..d];
                    let dot = |k: &[f64]| q.iter().zip(k).map(|(q, k)| q * k).sum::<f64>();
                    let scores: Vec<f64> = k.chunks_exact(d).map(dot).collect();
                    case.largest_score = scores.iter().fold(case.largest_score, |m, s| m.max(s.abs()));
                    case.exact.extend(weighted(&scores, v, Form::Online, Rounding::Exact));
                    case.online.extend(weighted(&scores, v, Form::Online, Rounding::Plain));
                    case.bounded.extend(weighted(&scores, v, Form::Bounded, Rounding::Plain));
                }
            }
        }
        case
    }

    /// The output's bits after a launch.
    pub fn run(&self, device: &Device, kernel: &'static str) -> Result<Vec<u16>, String> {
        let Shape { batch, heads, tokens, query_start, head_dim } = self.shape;
        let [q, k, v] = [&self.q, &self.k, &self.v].map(|x| device.input(&bits(x)));
        let output = device.output::<u16>(batch * tokens * heads * head_dim);
        let params = PidAttentionParams {
            q: q.ptr(),
            k: k.ptr(),
            v: v.ptr(),
            output: output.mut_ptr(),
            batch: batch as u32,
            heads: heads as u32,
            tokens: tokens as u32,
            query_start: query_start as u32,
        };
        device.call(kernel, &OpCall::attention(entry(kernel).op, &params))?;
        output.read()
    }

    /// Runs and compares; queries before the first must be left alone.
    pub fn test(&self, device: &Device, kernel: &'static str) -> Result<(), String> {
        let Shape { tokens, query_start, heads, head_dim, .. } = self.shape;
        let is_bounded = entry(kernel).op.starts_with("attention_bounded");
        assert!(!is_bounded || self.largest_score <= 100.0, "{} is out of bounds", self.largest_score);
        let all = self.run(device, kernel)?;
        let what = format!("{}: {kernel} {:?} {:?}", device.name, self.shape, self.logits);
        let mut computed = Vec::new();
        for sample in all.chunks_exact(tokens * heads * head_dim) {
            let (left_alone, rows) = sample.split_at(query_start * heads * head_dim);
            if let Some(i) = left_alone.iter().position(|x| *x != u16::MAX) {
                return Err(format!("{what}: element {i}, before the first query, was written"));
            }
            computed.extend_from_slice(rows);
        }
        let plain = if is_bounded { &self.bounded } else { &self.online };
        check(&what, &from_bits(&computed), &self.exact, plain, device.sum_error(tokens))
    }
}
