//! Angles of the rotary embedding (spec: `precompute_freqs_cis_2d` of the public code).

/// Angles `[count, head_dim / 4]` of one axis: positions `linspace(0, 16, count)`, base 10000 stretched by
/// `(count / reference)^(e / (e - 2))`, `e = head_dim / 2` (NTK-aware).
pub(crate) fn axis(count: usize, reference: usize, head_dim: usize) -> Vec<f64> {
    let e = head_dim as f64 / 2.0;
    let theta = 10000.0 * (count as f64 / reference as f64).powf(e / (e - 2.0));
    let step = if count > 1 { 16.0 / (count - 1) as f64 } else { 0.0 };
    let frequencies = (0..head_dim / 4).map(|k| theta.powf(-4.0 * k as f64 / head_dim as f64));
    let frequencies: Vec<f64> = frequencies.collect();
    (0..count).flat_map(|p| frequencies.iter().map(move |f| p as f64 * step * f)).collect()
}

/// Angles `[count, head_dim / 2]` of text positions: `p * 10000^(-2m / head_dim)`.
pub(crate) fn text(count: usize, head_dim: usize) -> Vec<f64> {
    let angle = |p: usize, m: usize| p as f64 * 10000f64.powf(-2.0 * m as f64 / head_dim as f64);
    (0..count).flat_map(|p| (0..head_dim / 2).map(move |m| angle(p, m))).collect()
}
