//! 2^x by a polynomial (`kernels/attention/exp2.cuh`). The expected values are the library's, in float64.

use pid_engine::kernels::KernelCall;

use super::drivers;
use super::params::PidMicroParams;
use crate::under_test::Device;

/// What the header states for the polynomial, and float32 rounding of its terms.
const RELATIVE_ERROR: f64 = 1.02e-4;

/// 2^x of each, without a clamp and with one. As many as a few blocks of 256 take.
fn run(device: &Device, inputs: &[f32]) -> [Vec<f32>; 2] {
    let mut bits: Vec<u32> = inputs.iter().map(|x| x.to_bits()).collect();
    bits.resize(inputs.len().next_multiple_of(256), 0);
    let (input, output) = (device.input(&bits), device.output::<u32>(2 * bits.len()));
    let params = PidMicroParams { input: input.ptr(), output: output.mut_ptr() };
    let grid = [bits.len() as u32 / 256, 1, 1];
    device.run(&[KernelCall::new("micro_exp2", grid, 256, 0, &params)]).unwrap();
    let all: Vec<f32> = output.read().unwrap().into_iter().map(f32::from_bits).collect();
    [&all[..inputs.len()], &all[bits.len()..][..inputs.len()]].map(<[f32]>::to_vec)
}

#[test]
fn within_the_bounds() {
    // Steps that are no multiple of 2^-k reach every distance from a whole number; halves are where rounding turns.
    let even = (0..=40_000).map(|i| -100.0 + 200.0 * i as f32 / 40_000.0);
    let turns = (-100..100).flat_map(|n| [n as f32 + 0.5, (n as f32 + 0.5).next_down(), (n as f32 + 0.5).next_up()]);
    let inputs: Vec<f32> = even.chain(turns).collect();
    for device in drivers() {
        for results in run(&device, &inputs) {
            for (x, y) in inputs.iter().zip(results) {
                let error = (f64::from(y) / f64::from(*x).exp2() - 1.0).abs();
                assert!(error <= RELATIVE_ERROR, "{}: 2^{x} is {y}, off by {error:e}", device.name);
            }
        }
    }
}

#[test]
fn whole_numbers_are_exact() {
    let inputs: Vec<f32> = (-126..=127).map(|n| n as f32).collect();
    for device in drivers() {
        for results in run(&device, &inputs) {
            let exact: Vec<f32> = inputs.iter().map(|x| x.exp2()).collect();
            assert_eq!(results, exact, "{}", device.name);
        }
    }
}

#[test]
fn far_below_is_zero() {
    let far = [-127.0, -128.0, -150.0, -1e4, -3e38, f32::NEG_INFINITY];
    // Near the end of float32's exponents the error is absolute.
    let near = [-126.9, -126.5, -126.3, -126.0];
    let inputs: Vec<f32> = far.into_iter().chain(near).collect();
    for device in drivers() {
        let [plain, clamped] = run(&device, &inputs);
        assert_eq!(plain[0].to_bits(), 0, "{}: a masked score's weight", device.name);
        for (x, y) in inputs.iter().zip(&clamped).take(far.len()) {
            assert_eq!(y.to_bits(), 0, "{}: 2^{x}", device.name);
        }
        for results in [&plain, &clamped] {
            for (x, y) in inputs.iter().zip(results).skip(far.len()) {
                let error = (f64::from(*y) - f64::from(*x).exp2()).abs();
                assert!(error <= f64::from(f32::MIN_POSITIVE) * 1.001, "{}: 2^{x} is {y:e}", device.name);
            }
        }
    }
}
