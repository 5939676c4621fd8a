//! Values between threads, conversions and approximations.

use super::{Words, distinct, drivers};

/// float32 bits and their bf16: to nearest, ties to even; NaN is 0x7fff; too large is infinity; subnormals stay.
const ROUNDED: [(u32, u16); 21] = [
    (0x3f80_0000, 0x3f80),
    (0x3f80_7fff, 0x3f80),
    (0x3f80_8000, 0x3f80), // a tie, down to even
    (0x3f80_8001, 0x3f81),
    (0x3f81_8000, 0x3f82), // a tie, up to even
    (0xbf81_8000, 0xbf82),
    (0x3fff_8000, 0x4000), // carries into the exponent
    (0x7f7f_7fff, 0x7f7f),
    (0x7f7f_8000, 0x7f80),
    (0x7f7f_ffff, 0x7f80),
    (0xff7f_ffff, 0xff80),
    (0x7f80_0000, 0x7f80),
    (0xff80_0000, 0xff80),
    (0x7fc0_0001, 0x7fff),
    (0x7f80_0001, 0x7fff),
    (0xffc0_0000, 0x7fff),
    (0x0000_0000, 0x0000),
    (0x8000_0000, 0x8000),
    (0x0000_8000, 0x0000),
    (0x0001_8000, 0x0002),
    (0x8000_8001, 0x8001),
];

#[test]
fn cvt_rn_bf16x2() {
    // Each value in the low half and in the high half.
    let pairs: Vec<(usize, usize)> = (0..32).map(|i| (i % ROUNDED.len(), (i * 2 + 7) % ROUNDED.len())).collect();
    assert!((0..ROUNDED.len()).all(|i| pairs.iter().any(|p| p.0 == i) && pairs.iter().any(|p| p.1 == i)));
    let input: Vec<u32> = pairs.iter().flat_map(|p| [ROUNDED[p.0].0, ROUNDED[p.1].0]).collect();
    let packed = |p: &(usize, usize)| u32::from(ROUNDED[p.0].1) | u32::from(ROUNDED[p.1].1) << 16;
    Words::new("micro_cvt_rn_bf16x2", 32, 0).assert(&input, &pairs.iter().map(packed).collect::<Vec<_>>());
}

#[test]
fn shfl_xor_sync() {
    let input = distinct(64);
    let expected: Vec<u32> = (0..160).map(|o| input[(o % 32) ^ (1 << (o / 32))]).collect();
    Words::new("micro_shfl_xor_sync", 32, 0).assert(&input[..32], &expected);
    let expected: Vec<u32> = (0..320).map(|o| input[((o / 2 % 32) ^ (1 << (o / 64))) * 2 + o % 2]).collect();
    Words::new("micro_shfl_xor_sync_double", 32, 0).assert(&input, &expected);
}

#[test]
fn ballot_sync() {
    let votes = 0x9e37_79b9u32;
    let input: Vec<u32> = (0..32).map(|t| (votes >> t & 1) * 6).collect();
    Words::new("micro_ballot_sync", 32, 0).assert(&input, &[votes; 32]);
}

#[test]
fn masks_of_half_a_warp() {
    let input: Vec<u32> = (0..32).map(|t| if t % 3 == 0 { 0 } else { t + 100 }).collect();
    let voted = |lanes: std::ops::Range<usize>| lanes.filter(|&t| input[t] != 0).map(|t| 1u32 << t).sum::<u32>();
    let other = (0..32).map(|t| input[t ^ 1]);
    let votes = (0..32).map(|t| if t < 16 { voted(0..16) } else { voted(16..32) });
    Words::new("micro_masks", 32, 0).assert(&input, &other.chain(votes).collect::<Vec<_>>());
}

#[test]
fn elect_one_sync() {
    for device in drivers() {
        let output = Words::new("micro_elect_one_sync", 64, 0).run(&device, &[0], 128).unwrap();
        for warp in 0..2 {
            let elected: Vec<usize> = (0..32).filter(|lane| output[warp * 32 + lane] == 1).collect();
            assert_eq!(elected.len(), 1, "{}: lanes {elected:?}", device.name);
        }
        assert!(output.iter().all(|word| *word <= 1), "{}", device.name);
        assert_eq!(output[..64], output[64..], "{}", device.name);
    }
}

/// Registers move between warpgroups; nothing else does.
#[test]
fn setmaxnreg() {
    Words::new("micro_setmaxnreg", 384, 0).assert(&[0], &(0..384).collect::<Vec<u32>>());
}

/// Subnormal operands and results are zeros of their sign.
fn flushed(x: f64) -> f64 {
    if x.abs() < f64::from(f32::MIN_POSITIVE) { 0.0f64.copysign(x) } else { x }
}

/// Whether `got` is `exact` within `ulps` units of its last place; NaN, infinities and zeros must be the same.
fn close(got: f32, exact: f64, ulps: f64) -> bool {
    if exact.is_nan() {
        return got.is_nan();
    }
    if exact == 0.0 || exact.is_infinite() || exact.abs() > f64::from(f32::MAX) {
        return got.to_bits() == (exact as f32).to_bits();
    }
    let ulp = 2f64.powi(exact.abs().log2().floor() as i32 - 23);
    (f64::from(got) - exact).abs() <= ulps * ulp
}

#[test]
fn approximations() {
    let specials =
        [0.0, -0.0, f32::INFINITY, f32::NEG_INFINITY, f32::NAN, 1e-40, -1e-40, -1.0, 200.0, -200.0, -126.5, 3e38];
    let values: Vec<f32> = specials.into_iter().chain((0..20).map(|i| 0.013 * 1.7f32.powi(i))).collect();
    let input: Vec<u32> = values.iter().map(|x| x.to_bits()).collect();
    for device in drivers() {
        // PTX: 2^x within 2 of what is rounded already, 1 / sqrt(x) within 2^-22.9.
        let ulps = if device.driver.is_hardware() { 3.0 } else { 2.0 };
        let output = Words::new("micro_approx", 32, 0).run(&device, &input, 96).unwrap();
        for (t, &x) in values.iter().enumerate() {
            let wide = flushed(f64::from(x));
            let exact = [(wide.exp2(), ulps), (1.0 / wide, 1.0), (1.0 / wide.sqrt(), ulps)];
            for (function, (exact, ulps)) in exact.into_iter().enumerate() {
                let got = f32::from_bits(output[32 * function + t]);
                assert!(
                    close(got, flushed(exact), ulps),
                    "{}: function {function} of {x}: {got}, {exact}",
                    device.name
                );
            }
        }
    }
}
