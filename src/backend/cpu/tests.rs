//! Every op against its definition, written once more in float64 and as plainly as possible.

use std::sync::Arc;

use super::attention::attention;
use super::conv::{Kernel, Then, conv3x3, group_norm_silu};
use super::pixel::{self, PixelMlp, UpdateWeights};
use super::rotary::RotaryTable;
use super::tokens::{self, GateInputs, Heads, Modulated, QkvWeights};
use crate::graph::TensorId;
use crate::graph::op::{Activation, Attention, ConvInput, Mask, NormKind, Padding, Rotary, Tokens};
use crate::weights::{DType, TensorView};
use crate::weights::{Matrix, TensorSource, WeightStore};
use crate::weights::{Recipe, Weight};

/// Values in [-1, 1), with an outlier now and then.
fn values(count: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let next = |i: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let x = (state >> 40) as f32 / 8_388_608.0 - 1.0;
        if i % 97 == 13 { 4.0 * x } else { x }
    };
    (0..count).map(next).collect()
}

/// One float32 tensor called `w`.
#[derive(Debug)]
struct One {
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

impl TensorSource for One {
    fn tensor(&self, name: &str) -> Option<TensorView<'_>> {
        (name == "w").then_some(TensorView::plain(DType::F32, &self.shape, &self.bytes))
    }
}

/// Runs `f` on the matrix that `recipe` makes of `data`.
fn with_matrix<R>(data: &[f32], weight: Weight, f: impl FnOnce(&Matrix<'_>) -> R) -> R {
    let bytes = data.iter().flat_map(|v| v.to_le_bytes()).collect();
    let store = WeightStore::new(Arc::new(One { shape: vec![data.len()], bytes }));
    f(&store.matrix(&weight).unwrap())
}

fn stored(rows: usize, cols: usize) -> Weight {
    Weight::new(rows, cols, Recipe::Stored("w".into()))
}

fn close(found: &[f32], expected: &[f64], bound: f64) {
    assert_eq!(found.len(), expected.len());
    let scale = expected.iter().map(|e| e.abs()).fold(1e-3, f64::max);
    for (i, (f, e)) in found.iter().zip(expected).enumerate() {
        let error = (f64::from(*f) - e).abs();
        assert!(error <= bound * scale, "element {i}: {f}, expected {e}, off by {error:.1e} of {scale:.1e}");
    }
}

fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
}

fn product(a: &[f32], w: &[f32], k: usize) -> Vec<f64> {
    a.chunks(k).flat_map(|a| w.chunks(k).map(move |w| dot(a, w))).collect()
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

fn rms(x: &[f64], weight: &[f32]) -> Vec<f64> {
    let mean = x.iter().map(|v| v * v).sum::<f64>() / x.len() as f64;
    x.iter().zip(weight).map(|(v, w)| v / (mean + 1e-6).sqrt() * f64::from(*w)).collect()
}

fn wide(x: &[f32]) -> Vec<f64> {
    x.iter().map(|v| f64::from(*v)).collect()
}

/// Sizes around the blocks of rows (1024) and panels (128 columns), and odd ones.
const SIZES: [[usize; 3]; 6] = [[1, 1, 1], [3, 127, 17], [5, 129, 64], [1023, 4, 8], [1025, 131, 9], [2049, 3, 5]];

#[test]
fn linear_and_gated_residual() {
    for [m, n, k] in SIZES {
        let (a, w, bias, gate) = (values(m * k, 1), values(n * k, 2), values(n, 3), values(n, 4));
        let plain = product(&a, &w, k);
        let expected: Vec<f64> = plain.iter().enumerate().map(|(i, v)| v + f64::from(bias[i % n])).collect();
        let mut out = vec![f32::NAN; m * n];
        with_matrix(&w, stored(n, k), |w| tokens::linear(&a, w, &bias, &mut out));
        close(&out, &expected, 1e-6);
        let mut residual = values(m * n, 5);
        let expected: Vec<f64> =
            (0..m * n).map(|i| f64::from(residual[i]) + f64::from(gate[i % n]) * expected[i]).collect();
        with_matrix(&w, stored(n, k), |w| tokens::gated_residual(&a, w, Some(&bias), &gate, &mut residual));
        close(&residual, &expected, 1e-6);
    }
}

#[test]
fn gated_units_of_interleaved_rows() {
    gated_units(NormKind::Rms, 1e-6, false);
}

#[test]
fn gated_units_of_other_norms() {
    gated_units(NormKind::Rms, 0.1, false);
    gated_units(NormKind::Layer, 1e-6, true);
    gated_units(NormKind::Layer, 0.1, false);
}

fn gated_units(kind: NormKind, eps: f64, has_bias: bool) {
    let (m, inner, k) = (1030, 37, 12);
    let (x, w) = (values(m * k, 1), values(2 * inner * k, 2));
    let (weight, scale, shift, bias) = (values(k, 3), values(k, 4), values(k, 5), values(k, 6));
    let gelu = |a: f64| 0.5 * a * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (a + 0.044715 * a.powi(3))).tanh());
    let (mut by_silu, mut by_gelu) = (Vec::new(), Vec::new());
    for row in x.chunks(k) {
        let mean = if kind == NormKind::Layer { wide(row).iter().sum::<f64>() / k as f64 } else { 0.0 };
        let square = wide(row).iter().map(|x| (x - mean).powi(2)).sum::<f64>() / k as f64;
        let z = |i: usize| {
            let normed = (f64::from(row[i]) - mean) / (square + eps).sqrt() * f64::from(weight[i]);
            let y = if has_bias { normed + f64::from(bias[i]) } else { normed };
            (y * (1.0 + f64::from(scale[i])) + f64::from(shift[i])) as f32
        };
        let z: Vec<f32> = (0..k).map(z).collect();
        for pair in w.chunks(2 * k) {
            let (a, b) = (dot(&z, &pair[..k]), dot(&z, &pair[k..]));
            by_silu.push(a * sigmoid(a) * b);
            by_gelu.push(gelu(a) * b);
        }
    }
    let mut out = vec![f32::NAN; m * inner];
    let (eps, bias) = (eps as f32, has_bias.then_some(&*bias));
    let norm = Modulated { kind, eps, weight: &weight, bias, shift: &shift, scale: &scale, sums: None };
    for (activation, expected) in [(Activation::Silu, by_silu), (Activation::GeluTanh, by_gelu)] {
        with_matrix(&w, stored(2 * inner, k), |w| tokens::glu(&x, &norm, w, activation, &mut out));
        close(&out, &expected, 5e-6);
    }
}

#[test]
fn qkv_is_normalised_rotated_and_split() {
    qkv(3, 3);
}

#[test]
fn qkv_of_fewer_key_heads() {
    qkv(6, 2);
}

fn qkv(heads: usize, kv_heads: usize) {
    let (d, k, rows, first) = (12, 20, 6, 4);
    let all = heads + 2 * kv_heads;
    let joint = first + rows;
    let grid = Tokens { batch: 1, text: first, grid_rows: 2, grid_cols: 3 };
    let (x, w) = (values(rows * k, 1), values(all * d * k, 2));
    let (q_norm, k_norm) = (values(d, 3), values(d, 4));
    let rotary = Rotary::Image { reference_rows: 8, reference_cols: 8 };
    let table = RotaryTable::new(rotary, grid, d);
    let mut qkv = [heads, kv_heads, kv_heads].map(|heads| vec![7.0; heads * joint * d]);
    with_matrix(&w, stored(all * d, k), |weight| {
        let weights = QkvWeights { weight, norm: None, q_norm: &q_norm, k_norm: &k_norm, rotary: &table };
        let [q, k, v] = &mut qkv;
        tokens::qkv_project(&x, &weights, Heads { heads, kv_heads, head_dim: d, joint }, first, [q, k, v]);
    });
    let plain = product(&x, &w, k);
    let e = d as f64 / 2.0;
    for (which, found) in qkv.iter().enumerate() {
        let before = [0, heads, heads + kv_heads][which];
        for h in 0..[heads, kv_heads, kv_heads][which] {
            for n in 0..rows {
                let head = &plain[n * all * d + (before + h) * d..][..d];
                let mut expected = match which {
                    0 => rms(head, &q_norm),
                    1 => rms(head, &k_norm),
                    _ => head.to_vec(),
                };
                for m in 0..if which < 2 { d / 2 } else { 0 } {
                    // Column n % 3 of three spans 0..16, row n / 3 of two likewise; even pairs turn with columns.
                    let (at, count) = if m % 2 == 0 { (n % 3, 3.0) } else { (n / 3, 2.0) };
                    let theta: f64 = 10000.0 * (count / 8f64).powf(e / (e - 2.0));
                    let position = at as f64 * 16.0 / (count - 1.0);
                    let angle = position * theta.powf(-4.0 * (m / 2) as f64 / d as f64);
                    let (a, b) = (expected[2 * m], expected[2 * m + 1]);
                    expected[2 * m] = a * angle.cos() - b * angle.sin();
                    expected[2 * m + 1] = a * angle.sin() + b * angle.cos();
                }
                close(&found[(h * joint + first + n) * d..][..d], &expected, 3e-6);
            }
            assert!(found[h * joint * d..][..first * d].iter().all(|v| *v == 7.0), "text rows are not touched");
        }
    }
}

/// Of one sample of `n` tokens, whose tensors are given beside it.
fn attention_op(n: usize, [heads, d]: [usize; 2], query_start: usize) -> Attention {
    let tokens = Tokens { batch: 1, text: 0, grid_rows: 1, grid_cols: n };
    let [q, k, v, output] = [0, 1, 2, 3].map(TensorId);
    Attention::of_all([q, k, v], output, tokens, [heads, d], query_start)
}

#[test]
fn attention_of_any_length() {
    for (n, d, start) in [(1, 8, 0), (5, 72, 2), (257, 64, 0), (513, 12, 300), (1100, 8, 7)] {
        let heads = 2;
        let [q, k, v] = [1, 2, 3].map(|s| values(heads * n * d, s));
        let mut out = vec![7.0; n * heads * d];
        attention(&q, &k, &v, &mut out, &attention_op(n, [heads, d], start), n);
        for h in 0..heads {
            for i in (start..n).step_by(1 + n / 40) {
                let row = |x: &'_ [f32], j: usize| x[(h * n + j) * d..][..d].to_vec();
                let scores: Vec<f64> = (0..n).map(|j| dot(&row(&q, i), &row(&k, j)) / (d as f64).sqrt()).collect();
                let weights: Vec<f64> = scores.iter().map(|s| s.exp()).collect();
                let sum: f64 = weights.iter().sum();
                let expected: Vec<f64> = (0..d)
                    .map(|c| (0..n).map(|j| weights[j] * f64::from(v[(h * n + j) * d + c])).sum::<f64>() / sum)
                    .collect();
                // Long rows average large values to small ones: the error is of the values, not of the mean.
                close(&out[(i * heads + h) * d..][..d], &expected, 1e-5);
            }
        }
        assert!(out[..start * heads * d].iter().all(|x| *x == 7.0), "rows before the first query are left alone");
    }
}

#[test]
fn attention_masked_capped_and_of_fewer_key_heads() {
    for (n, keys, mask, soft_cap) in [
        (7, 7, Mask::Causal, None),
        (1100, 900, Mask::Causal, None),
        (600, 513, Mask::None, Some(5)),
        (1100, 1, Mask::None, None),
        (700, 700, Mask::Causal, Some(3)),
    ] {
        let (heads, kv_heads, d) = (6, 2, 16);
        let op = Attention { kv_heads, mask, soft_cap, ..attention_op(n, [heads, d], 0) };
        let q = values(heads * n * d, 1);
        let [k, v] = [2, 3].map(|s| values(kv_heads * n * d, s));
        let mut out = vec![7.0; n * heads * d];
        attention(&q, &k, &v, &mut out, &op, keys);
        for h in 0..heads {
            for i in (0..n).step_by(1 + n / 40) {
                let of = |x: &[f32], h: usize, j: usize| x[(h * n + j) * d..][..d].to_vec();
                let seen = if mask == Mask::Causal { keys.min(i + 1) } else { keys };
                let scores = (0..seen).map(|j| dot(&of(&q, h, i), &of(&k, h / 3, j)) / (d as f64).sqrt());
                let cap = |s: f64| soft_cap.map_or(s, |c| f64::from(c) * (s / f64::from(c)).tanh());
                let weights: Vec<f64> = scores.map(|s| cap(s).exp()).collect();
                let sum: f64 = weights.iter().sum();
                let value = |c: usize| (0..seen).map(|j| weights[j] * f64::from(of(&v, h / 3, j)[c])).sum::<f64>();
                let expected: Vec<f64> = (0..d).map(|c| value(c) / sum).collect();
                close(&out[(i * heads + h) * d..][..d], &expected, 1e-5);
            }
        }
    }
}

#[test]
fn convolution_of_latents_and_tokens() {
    for (padding, then) in
        [(Padding::Zeros, Then::Silu), (Padding::Replicate, Then::Nothing), (Padding::Zeros, Then::Accumulate)]
    {
        for source in [
            ConvInput::Tokens { channels: 5 },
            ConvInput::Image { channels: 5, height: 3, width: 2, unpatchify: 1 },
            ConvInput::Image { channels: 20, height: 3, width: 2, unpatchify: 2 },
        ] {
            convolution(source, padding, then, 1, 1);
            convolution(source, padding, then, 1, 0);
        }
        let source = ConvInput::Tokens { channels: 5 };
        convolution(source, padding, then, 2, 0);
        convolution(source, padding, then, 2, 1);
    }
}

/// Of 6 x 8 pixels.
fn convolution(source: ConvInput, padding: Padding, then: Then, stride: usize, before: usize) {
    let (rows, cols) = (6 / stride, 8 / stride);
    let tokens = Tokens { batch: 2, text: 0, grid_rows: rows, grid_cols: cols };
    let (channels, outs) = (5, 67);
    let stored_per_sample = match source {
        ConvInput::Tokens { .. } => 6 * 8 * channels,
        ConvInput::Image { channels, height, width, .. } => channels * height * width,
    };
    let (input, w, bias) = (values(2 * stored_per_sample, 1), values(outs * channels * 9, 2), values(outs, 3));
    let at = |b: usize, c: usize, y: isize, x: isize| -> f64 {
        let inside = (0..6).contains(&y) && (0..8).contains(&x);
        if !inside && padding == Padding::Zeros {
            return 0.0;
        }
        let (y, x) = (y.clamp(0, 5) as usize, x.clamp(0, 7) as usize);
        let sample = &input[b * stored_per_sample..];
        f64::from(match source {
            ConvInput::Tokens { .. } => sample[(y * 8 + x) * channels + c],
            ConvInput::Image { height, width, unpatchify: f, .. } => {
                let (y, x) = (y * height * f / 6, x * width * f / 8);
                sample[((c * f * f + y % f * f + x % f) * height + y / f) * width + x / f]
            }
        })
    };
    let mut output = values(2 * tokens.image() * outs, 4);
    let mut expected = Vec::new();
    for (i, held) in output.iter().enumerate() {
        let (pixel, o) = (i / outs, i % outs);
        let (b, y, x) = (pixel / (rows * cols), pixel / cols % rows * stride, pixel % cols * stride);
        let mut sum = f64::from(bias[o]);
        for c in 0..channels {
            for tap in 0..9 {
                let weight = f64::from(w[(o * channels + c) * 9 + tap]);
                let [y, x] = [y + tap / 3, x + tap % 3].map(|n| n as isize - before as isize);
                sum += weight * at(b, c, y, x);
            }
        }
        expected.push(match then {
            Then::Nothing => sum,
            Then::Silu => sum * sigmoid(sum),
            Then::Accumulate => sum + f64::from(*held),
        });
    }
    let recipe = Recipe::ConvTaps { source: "w".into(), in_channels: channels };
    with_matrix(&w, Weight::new(outs, 9 * channels, recipe), |weight| {
        conv3x3(source, tokens, &input, &Kernel { weight, bias: &bias, padding, stride, before, then }, &mut output);
    });
    close(&output, &expected, 2e-6);
}

#[test]
fn group_norm_per_sample_and_group() {
    let (tokens, channels, groups) = (70, 12, 4);
    let (x, weight, bias) = (values(2 * tokens * channels, 1), values(channels, 2), values(channels, 3));
    let mut expected = vec![0.0; x.len()];
    for b in 0..2 {
        for g in 0..groups {
            let members: Vec<usize> =
                (0..tokens).flat_map(|t| (0..3).map(move |c| (b * tokens + t) * channels + g * 3 + c)).collect();
            let count = members.len() as f64;
            let mean = members.iter().map(|i| f64::from(x[*i])).sum::<f64>() / count;
            let variance = members.iter().map(|i| (f64::from(x[*i]) - mean).powi(2)).sum::<f64>() / count;
            for i in members {
                let c = i % channels;
                let z = (f64::from(x[i]) - mean) / (variance + 1e-5).sqrt() * f64::from(weight[c]) + f64::from(bias[c]);
                expected[i] = z * sigmoid(z);
            }
        }
    }
    let mut out = vec![f32::NAN; x.len()];
    group_norm_silu(Some(&x), &mut out, tokens, groups, &weight, &bias);
    close(&out, &expected, 1e-6);
    let mut in_place = x;
    group_norm_silu(None, &mut in_place, tokens, groups, &weight, &bias);
    assert_eq!(in_place, out);
}

#[test]
fn gates_per_token_and_per_channel() {
    let (rows, d) = (1026, 9);
    for width in [1, d] {
        let (features, half, w) = (values(rows * d, 2), values(rows * width, 3), values(width * d, 4));
        let mut stream = values(rows * d, 1);
        let logits = product(&stream, &w, d);
        let expected: Vec<f64> = (0..rows * d)
            .map(|i| {
                let g = i / d * width + i % d % width;
                let gate = sigmoid(logits[g] + f64::from(half[g]) - 0.75);
                f64::from(stream[i]) + gate * f64::from(features[i])
            })
            .collect();
        let inputs = GateInputs { features: &features, half: &half, operand: None };
        with_matrix(&w, stored(width, d), |w| tokens::feature_gate(&mut stream, inputs, w, 0.75));
        close(&stream, &expected, 1e-6);
    }
}

/// erf by its Taylor series, which float64 sums well up to 4; beyond, erf is 1 within 2e-8.
fn erf(x: f64) -> f64 {
    if x.abs() > 4.0 {
        return x.signum();
    }
    let (mut term, mut sum) = (x, x);
    for n in 1..300 {
        term *= -x * x / f64::from(n);
        sum += term / f64::from(2 * n + 1);
    }
    sum * 2.0 / std::f64::consts::PI.sqrt()
}

#[test]
fn pixel_halves() {
    let (rows, d, c, positions, width, mlp) = (7, 6, 4, 9, 5, 8);
    let slots = values(positions * 6 * c * d, 1);
    let bias = values(positions * 6 * c, 2);
    let (stream, attended) = (values(rows * d, 3), values(rows * width, 4));
    let (norm, expand, expand_bias) = (values(c, 5), values(positions * c * width, 6), values(positions * c, 7));
    let (fc1, bias1, fc2, bias2) = (values(mlp * c, 8), values(mlp, 9), values(c * mlp, 10), values(c, 11));
    let pixels = values(rows * positions * c, 12);
    let slot_weight = |start, count| {
        let recipe = Recipe::PixelSlots { source: "w".into(), start, count, slots: 6, channels: c };
        Weight::new(positions * count * c, d, recipe)
    };
    let slot_bias = |start: usize, count: usize| -> Vec<f32> {
        bias.chunks(6 * c).flat_map(|b| b[start * c..(start + count) * c].to_vec()).collect()
    };
    // Slot s of pixel p for token n.
    let modulation = |n: usize, p: usize, s: usize, i: usize| {
        let row = (p * 6 + s) * c + i;
        dot(&stream[n * d..][..d], &slots[row * d..][..d]) + f64::from(bias[row])
    };
    let (mut first, mut second) = (Vec::new(), Vec::new());
    for n in 0..rows {
        for p in 0..positions {
            let mut x = wide(&pixels[(n * positions + p) * c..][..c]);
            let z = rms(&x, &norm);
            first.extend((0..c).map(|i| z[i] * (1.0 + modulation(n, p, 1, i)) + modulation(n, p, 0, i)));
            for (i, x) in x.iter_mut().enumerate() {
                let e = dot(&attended[n * width..][..width], &expand[(p * c + i) * width..][..width]);
                *x += modulation(n, p, 2, i) * (e + f64::from(expand_bias[p * c + i]));
            }
            let z = rms(&x, &norm);
            let z: Vec<f64> = (0..c).map(|i| z[i] * (1.0 + modulation(n, p, 4, i)) + modulation(n, p, 3, i)).collect();
            let hidden: Vec<f64> = (0..mlp)
                .map(|h| (0..c).map(|i| z[i] * f64::from(fc1[h * c + i])).sum::<f64>() + f64::from(bias1[h]))
                .map(|h| 0.5 * h * (1.0 + erf(h / 2f64.sqrt())))
                .collect();
            for (i, x) in x.iter_mut().enumerate() {
                let out = (0..mlp).map(|h| hidden[h] * f64::from(fc2[i * mlp + h])).sum::<f64>() + f64::from(bias2[i]);
                *x += modulation(n, p, 5, i) * out;
            }
            second.extend(x);
        }
    }
    let mut out = vec![f32::NAN; first.len()];
    with_matrix(&slots, slot_weight(0, 2), |w| {
        pixel::pixel_modulate(&stream, &pixels, w, &slot_bias(0, 2), &norm, &mut out);
    });
    close(&out, &first, 2e-6);
    let mut updated = pixels;
    with_matrix(&slots, slot_weight(2, 4), |modulation| {
        with_matrix(&expand, stored(positions * c, width), |expand| {
            let weights = UpdateWeights {
                modulation,
                modulation_bias: &slot_bias(2, 4),
                expand,
                expand_bias: &expand_bias,
                norm: &norm,
                mlp: PixelMlp::new(&fc1, bias1.clone(), &fc2, bias2.clone()),
            };
            pixel::pixel_update(&stream, &attended, &weights, &mut updated);
        });
    });
    close(&updated, &second, 3e-6);
}
