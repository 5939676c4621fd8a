//! Philox 4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011) and normals from it.
//! Element i of draw k depends on (seed, k, i) alone, so every device and number of threads gives the same.

use crate::parallel;

const MULTIPLIERS: [u32; 2] = [0xD251_1F53, 0xCD9E_8D57];
const WEYL: [u32; 2] = [0x9E37_79B9, 0xBB67_AE85];

/// The generator: four words from a counter of four and a key of two.
pub(super) fn philox4x32_10(mut counter: [u32; 4], mut key: [u32; 2]) -> [u32; 4] {
    for _ in 0..10 {
        let a = u64::from(MULTIPLIERS[0]) * u64::from(counter[0]);
        let b = u64::from(MULTIPLIERS[1]) * u64::from(counter[2]);
        counter = [(b >> 32) as u32 ^ counter[1] ^ key[0], b as u32, (a >> 32) as u32 ^ counter[3] ^ key[1], a as u32];
        key = [key[0].wrapping_add(WEYL[0]), key[1].wrapping_add(WEYL[1])];
    }
    counter
}

/// Elements `4 block .. 4 block + 4` of draw `draw`.
///
/// Counter `(low block, high block, draw, 0)`, key `(low seed, high seed)`, words `r0..r3`. Uniforms
/// `u = ((r >> 8) + 1) 2^-24` in (0, 1]; pairs `(r0, r1)` and `(r2, r3)` by Box-Muller in float32:
/// `sqrt(-2 ln u) cos(2 pi u')`, `sqrt(-2 ln u) sin(2 pi u')`.
fn block(seed: u64, draw: u32, block: u64) -> [f32; 4] {
    let words = philox4x32_10([block as u32, (block >> 32) as u32, draw, 0], [seed as u32, (seed >> 32) as u32]);
    let u = words.map(|r| ((r >> 8) + 1) as f32 * (1.0 / 16_777_216.0));
    let pair = |a: f32, b: f32| {
        let radius = (-2.0 * a.ln()).sqrt();
        let (sin, cos) = (std::f32::consts::TAU * b).sin_cos();
        [radius * cos, radius * sin]
    };
    let ([a, b], [c, d]) = (pair(u[0], u[1]), pair(u[2], u[3]));
    [a, b, c, d]
}

/// Fills `out` with draw `draw`.
pub(super) fn normal(seed: u64, draw: u32, out: &mut [f32]) {
    const BLOCKS: usize = 4096;
    parallel::pieces(out, 4 * BLOCKS, &|chunk, out| {
        for (i, out) in out.chunks_mut(4).enumerate() {
            let values = block(seed, draw, (chunk * BLOCKS + i) as u64);
            out.copy_from_slice(&values[..out.len()]);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Known answers of the Random123 distribution (`kat_vectors`).
    #[test]
    fn known_answers() {
        assert_eq!(philox4x32_10([0; 4], [0; 2]), [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
        assert_eq!(philox4x32_10([u32::MAX; 4], [u32::MAX; 2]), [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]);
        assert_eq!(
            philox4x32_10([0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344], [0xa409_3822, 0x299f_31d0]),
            [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]
        );
    }

    #[test]
    fn standard_normal() {
        let mut x = vec![0.0; 1 << 20];
        normal(7, 2, &mut x);
        let n = x.len() as f64;
        let moment = |p: i32| x.iter().map(|v| f64::from(*v).powi(p)).sum::<f64>() / n;
        assert!(moment(1).abs() < 4e-3, "{}", moment(1));
        assert!((moment(2) - 1.0).abs() < 6e-3, "{}", moment(2));
        assert!((moment(4) - 3.0).abs() < 5e-2, "{}", moment(4));
        assert!(x.iter().all(|v| v.is_finite()));
    }

    #[test]
    fn elements_do_not_depend_on_the_length() {
        let (mut long, mut short) = (vec![0.0; 50_001], vec![0.0; 17]);
        normal(3, 0, &mut long);
        normal(3, 0, &mut short);
        assert_eq!(long[..17], short[..]);
        normal(3, 1, &mut short);
        assert_ne!(long[..17], short[..]);
    }
}
