//! `philox_normal`: the values of [`NoiseSource::Philox`], but for the last bits of log, sin and cos.
//! The counter's second word is 0 below 2^34 values, more than a test can hold.

use pid_engine::kernels::OpCall;
use pid_engine::kernels::params::PidNoiseParams;
use pid_engine::sampler::{Noise, NoiseSource};

use crate::faults::assert_caught;
use crate::under_test::{Device, devices, one_device};
use crate::values::widen;

/// Radius (at most 5.8), cosine and sine are each good to a few units in the last place.
const ERROR: f64 = 2e-6;

#[derive(Clone, Copy, Debug)]
struct Draw {
    seed: u64,
    draw: u32,
    count: usize,
}

fn run(device: &Device, kernel: &'static str, draw: Draw) -> Result<Vec<f32>, String> {
    let seed = device.input(&[draw.seed]);
    let output = device.output::<f32>(draw.count);
    let params = PidNoiseParams {
        output: output.mut_ptr(),
        seed: seed.ptr(),
        count: draw.count as u64,
        draw: draw.draw,
        reserved: 0,
    };
    device.call(kernel, &OpCall::noise(&params))?;
    output.read()
}

fn expected(draw: Draw) -> Vec<f64> {
    let mut out = vec![0.0; draw.count];
    Noise::new(NoiseSource::Philox { seed: draw.seed })
        .fill(draw.draw as usize, &mut out)
        .expect("Philox's noise needs nothing");
    widen(&out)
}

fn test(device: &Device, kernel: &'static str, draw: Draw) -> Result<(), String> {
    let (got, expected) = (widen(&run(device, kernel, draw)?), expected(draw));
    match got.iter().zip(&expected).position(|(g, e)| g.is_nan() || (g - e).abs() > ERROR) {
        None => Ok(()),
        Some(i) => Err(format!("{kernel} {draw:?}: element {i} is {}, expected {}", got[i], expected[i])),
    }
}

fn test_all(devices: Vec<Device>, draws: &[Draw]) {
    for device in devices {
        for draw in draws {
            test(&device, "philox_normal", *draw).unwrap_or_else(|e| panic!("{}: {e}", device.name));
        }
    }
}

/// All four values of a counter, and parts of them, at the end of a block and before and behind it.
#[test]
fn any_count() {
    let draws = [1, 2, 3, 4, 5, 6, 7, 8, 1021, 1022, 1023, 1024, 1025, 1026, 2048, 4099];
    test_all(devices(), &draws.map(|count| Draw { seed: 42, draw: 1, count }));
}

/// Both words of the seed, and draws 0 to 4.
#[test]
fn seeds_and_draws() {
    let seeds = [0, 7, 1 << 32, 7 << 32, 0xD251_1F53_CD9E_8D57, 1 << 63, u64::MAX];
    let draws: Vec<Draw> =
        seeds.iter().flat_map(|seed| (0..5).map(|draw| Draw { seed: *seed, draw, count: 61 })).collect();
    test_all(devices(), &draws);
    for (i, a) in draws.iter().enumerate() {
        assert!(draws[..i].iter().all(|b| expected(*a) != expected(*b)), "{a:?} has the values of another");
    }
}

/// Noise of a picture of 256 x 320, with the statistics of a normal distribution.
#[test]
fn picture_size() {
    let draw = Draw { seed: 11 << 40, draw: 2, count: 3 * 256 * 320 };
    test_all(one_device(), &[draw]);
    let values = widen(&run(&one_device()[0], "philox_normal", draw).unwrap());
    let moment = |p: i32| values.iter().map(|x| x.powi(p)).sum::<f64>() / values.len() as f64;
    // Six standard deviations of each moment's estimate: sqrt(1, 2, 96) / sqrt(245760).
    assert!(moment(1).abs() < 0.0121, "{}", moment(1));
    assert!((moment(2) - 1.0).abs() < 0.0171, "{}", moment(2));
    assert!((moment(4) - 3.0).abs() < 0.119, "{}", moment(4));
}

#[test]
fn two_runs_are_equal() {
    let draw = Draw { seed: 5, draw: 3, count: 1030 };
    let bits = |device: &Device| -> Vec<u32> {
        run(device, "philox_normal", draw).unwrap().into_iter().map(f32::to_bits).collect()
    };
    let all: Vec<_> = devices().iter().flat_map(|device| [bits(device), bits(device)]).collect();
    assert!(all.iter().all(|values| *values == all[0]));
}

#[test]
fn faults_are_caught() {
    let draw = |count| Draw { seed: 9, draw: 0, count };
    assert_caught(&["philox_normal_no_tail_guard"], |device, kernel| test(device, kernel, draw(4)));
    assert_caught(&["philox_normal_no_part_guard"], |device, kernel| test(device, kernel, draw(1023)));
}
