//! Elementwise functions on slices, vectorised by the compiler for the processor at hand.

use multiversion::multiversion;

/// `e^x` within 2 units in the last place for x from -87.3 to 88; e^-87.3 (1e-38) below, e^88 above.
/// Cody-Waite reduction by ln 2 and a degree-6 polynomial (coefficients of Cephes `expf`).
#[inline(always)]
pub(super) fn exp(x: f32) -> f32 {
    // 1.5 * 2^23: adding it leaves round(x log2 e) in the low bits.
    const SHIFT: f32 = 12_582_912.0;
    let x = x.clamp(-87.3, 88.0);
    let shifted = x * std::f32::consts::LOG2_E + SHIFT;
    let n = shifted - SHIFT;
    let r = x - n * 0.693_359_4 + n * 2.121_944_4e-4;
    let p = 1.987_569_1e-4;
    let p = p * r + 1.398_199_9e-3;
    let p = p * r + 8.333_452e-3;
    let p = p * r + 4.166_579_6e-2;
    let p = p * r + 0.166_666_65;
    let p = p * r + 0.5;
    let e = p * r * r + r + 1.0;
    e * f32::from_bits((shifted.to_bits() << 23).wrapping_add(0x3f80_0000))
}

/// `1 / (1 + e^-x)`.
#[inline(always)]
pub(super) fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

/// `x / (1 + e^-x)`.
#[inline(always)]
pub(super) fn silu(x: f32) -> f32 {
    x * sigmoid(x)
}

/// `x / 2 (1 + erf(x / sqrt 2))`; erf by Abramowitz and Stegun 7.1.26, absolute error 1.5e-7.
#[inline(always)]
pub(super) fn gelu(x: f32) -> f32 {
    let z = x.abs() * std::f32::consts::FRAC_1_SQRT_2;
    let t = 1.0 / (1.0 + 0.327_591_1 * z);
    let p = 1.061_405_4;
    let p = p * t - 1.453_152_1;
    let p = p * t + 1.421_413_8;
    let p = p * t - 0.284_496_72;
    let p = p * t + 0.254_829_6;
    let tail = p * t * exp(-z * z);
    let erf = if x < 0.0 { tail - 1.0 } else { 1.0 - tail };
    0.5 * x * (1.0 + erf)
}

/// `x / 2 (1 + tanh(u))`, `u = sqrt(2 / pi) (x + 0.044715 x^3)`: `(1 + tanh(u)) / 2` is `sigmoid(2 u)`.
#[inline(always)]
pub(super) fn gelu_tanh(x: f32) -> f32 {
    // 2 sqrt(2 / pi).
    x * sigmoid(1.595_769 * (x + 0.044_715 * x * x * x))
}

/// One block of a running softmax over `scores [keys, queries]`: raises `max`, turns scores into
/// `e^(scale (score - max))`, adds them to `sum`, and leaves in `rescale` what earlier terms must be multiplied
/// by (`sum` already is). All but the scores are `[queries]`.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl+fma", "x86_64+avx2+fma"))]
pub(super) fn softmax_block(scores: &mut [f32], scale: f32, max: &mut [f32], sum: &mut [f32], rescale: &mut [f32]) {
    let queries = max.len();
    rescale.copy_from_slice(max);
    for row in scores.chunks_exact(queries) {
        for (m, s) in max.iter_mut().zip(row) {
            *m = if *s > *m { *s } else { *m };
        }
    }
    for ((r, m), sum) in rescale.iter_mut().zip(&*max).zip(&mut *sum) {
        *r = exp((*r - m) * scale);
        *sum *= *r;
    }
    for row in scores.chunks_exact_mut(queries) {
        for ((s, m), sum) in row.iter_mut().zip(&*max).zip(&mut *sum) {
            *s = exp((*s - m) * scale);
            *sum += *s;
        }
    }
}

/// `sum x^2`.
#[inline(always)]
pub(super) fn sum_squares(row: &[f32]) -> f32 {
    let mut sums = [0.0f32; 16];
    let (chunks, rest) = row.as_chunks::<16>();
    for chunk in chunks {
        for (s, x) in sums.iter_mut().zip(chunk) {
            *s += x * x;
        }
    }
    rest.iter().map(|x| x * x).sum::<f32>() + sums.iter().sum::<f32>()
}

/// `1 / sqrt(mean x^2 + 1e-6)`: what `rms` multiplies by.
#[inline(always)]
pub(super) fn inverse_rms(row: &[f32]) -> f32 {
    inverse_rms_with(row, 1e-6)
}

/// `1 / sqrt(mean x^2 + eps)`.
#[inline(always)]
fn inverse_rms_with(row: &[f32], eps: f32) -> f32 {
    1.0 / (sum_squares(row) / row.len() as f32 + eps).sqrt()
}

/// `out = (x - mean) / sqrt(variance + eps) * weight`; the two sums in float64.
pub(super) fn layer_norm(x: &[f32], eps: f32, weight: &[f32], out: &mut [f32]) {
    let mean = (x.iter().map(|x| f64::from(*x)).sum::<f64>() / x.len() as f64) as f32;
    let squares: f64 = x.iter().map(|x| f64::from(x - mean).powi(2)).sum();
    let r = (1.0 / (squares / x.len() as f64 + f64::from(eps)).sqrt()) as f32;
    for ((o, x), w) in out.iter_mut().zip(x).zip(weight) {
        *o = (x - mean) * r * w;
    }
}

/// `out = x / sqrt(mean x^2 + eps) * weight * (1 + scale) + shift`.
#[multiversion(targets("x86_64+avx512f+avx512dq+avx512vl+fma", "x86_64+avx2+fma"))]
pub(super) fn norm_modulate(x: &[f32], eps: f32, weight: &[f32], scale: &[f32], shift: &[f32], out: &mut [f32]) {
    let r = inverse_rms_with(x, eps);
    for ((((o, x), w), s), t) in out.iter_mut().zip(x).zip(weight).zip(scale).zip(shift) {
        *o = x * r * w * (1.0 + s) + t;
    }
}

/// `out[i] = silu(pairs[2i]) * pairs[2i + 1]`.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl+fma", "x86_64+avx2+fma"))]
pub(super) fn swiglu(pairs: &[f32], out: &mut [f32]) {
    for (o, [a, b]) in out.iter_mut().zip(pairs.as_chunks::<2>().0) {
        *o = silu(*a) * b;
    }
}

/// `out[i] = gelu_tanh(pairs[2i]) * pairs[2i + 1]`.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl+fma", "x86_64+avx2+fma"))]
pub(super) fn geglu(pairs: &[f32], out: &mut [f32]) {
    for (o, [a, b]) in out.iter_mut().zip(pairs.as_chunks::<2>().0) {
        *o = gelu_tanh(*a) * b;
    }
}

/// `x = silu(x + add)`.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl+fma", "x86_64+avx2+fma"))]
pub(super) fn add_silu(x: &mut [f32], add: &[f32]) {
    for (x, a) in x.iter_mut().zip(add) {
        *x = silu(*x + a);
    }
}

/// `x = silu(x * scale + shift)` with one scale and shift per element.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl+fma", "x86_64+avx2+fma"))]
pub(super) fn scale_shift_silu(x: &mut [f32], scale: &[f32], shift: &[f32]) {
    for ((x, a), b) in x.iter_mut().zip(scale).zip(shift) {
        *x = silu(*x * a + b);
    }
}

/// `residual += sigmoid(gate + half - bias) * features`.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl+fma", "x86_64+avx2+fma"))]
pub(super) fn gate_add(residual: &mut [f32], gate: &[f32], half: &[f32], bias: f32, features: &[f32]) {
    for (((r, g), h), f) in residual.iter_mut().zip(gate).zip(half).zip(features) {
        *r += sigmoid(g + h - bias) * f;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_is_within_two_units_in_the_last_place() {
        for i in -8_600..8_700 {
            let x = i as f32 / 100.0 + 0.003;
            let exact = f64::from(x).exp();
            let error = (f64::from(exp(x)) - exact).abs() / exact;
            assert!(error < 2.4e-7, "exp({x}): {error:.1e}");
        }
        assert!(exp(-200.0) < 2e-38 && exp(f32::NEG_INFINITY) < 2e-38);
    }

    /// erf by its Taylor series in float64.
    fn erf(x: f64) -> f64 {
        let (mut term, mut sum) = (x, x);
        for n in 1..200 {
            term *= -x * x / f64::from(n);
            sum += term / f64::from(2 * n + 1);
        }
        sum * 2.0 / std::f64::consts::PI.sqrt()
    }

    #[test]
    fn gelu_is_the_exact_one() {
        for i in -400..400 {
            let x = i as f32 / 80.0;
            let exact = 0.5 * f64::from(x) * (1.0 + erf(f64::from(x) / 2f64.sqrt()));
            assert!((f64::from(gelu(x)) - exact).abs() < 1e-6, "gelu({x})");
        }
    }

    #[test]
    fn softmax_of_any_number_of_queries() {
        for queries in [1, 15, 16, 17, 33] {
            let mut scores: Vec<f32> = (0..3 * queries).map(|i| (i as f32 * 0.7).sin() * 3.0).collect();
            let before = scores.clone();
            let (mut max, mut sum) = (vec![f32::NEG_INFINITY; queries], vec![0.0; queries]);
            let mut rescale = vec![f32::NAN; queries];
            softmax_block(&mut scores, 0.5, &mut max, &mut sum, &mut rescale);
            for q in 0..queries {
                let column = [0, 1, 2].map(|k| f64::from(before[k * queries + q]));
                let most = column.iter().copied().fold(f64::MIN, f64::max);
                let exact: f64 = column.iter().map(|s| ((s - most) * 0.5).exp()).sum();
                assert!((f64::from(sum[q]) - exact).abs() < 1e-6 && f64::from(max[q]) == most && rescale[q] < 2e-38);
            }
        }
    }
}
