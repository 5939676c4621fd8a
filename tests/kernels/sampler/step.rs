//! `sample_step`: the final layer and a step of the sampler, per pixel.

use half::bf16;
use pid_engine::kernels::OpCall;
use pid_engine::kernels::params::{PidSample, PidSampleStepParams};

use crate::faults::{assert_caught, faults_of};
use crate::under_test::{Device, devices, one_device};
use crate::values::{Random, Rounding, SUM_ERROR, bits, check, widen};

/// The step that a launch ends in.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Step {
    /// From `t` to `next`, with noise.
    Sde {
        t: f64,
        next: f64,
    },
    Ode {
        t: f64,
        next: f64,
    },
    /// From `t` to 0, by either way.
    Last {
        t: f64,
    },
}

#[derive(Clone, Copy, Debug)]
struct Case {
    batch: usize,
    grid_rows: usize,
    grid_cols: usize,
    step: Step,
    store_velocity: bool,
}

impl Case {
    fn pixels(&self) -> usize {
        self.grid_rows * self.grid_cols * 256
    }
}

struct Operands {
    case: Case,
    pixels: Vec<bf16>,
    norm: Vec<f32>,
    weight: Vec<f32>,
    bias: Vec<f32>,
    /// One sample more than the launch has.
    image: Vec<f32>,
    noise: Vec<f32>,
}

impl Operands {
    fn random(case: Case) -> Self {
        let random = &mut Random::new((case.batch * 100 + case.grid_rows * 10 + case.grid_cols) as u64);
        let planes = case.batch * 3 * case.pixels();
        Self {
            case,
            pixels: random.bf16s(case.batch * case.pixels() * 16, 1.0),
            norm: random.floats(16, 1.0),
            weight: random.floats(48, 0.25),
            bias: random.floats(3, 0.5),
            image: random.floats(planes + 3 * case.pixels(), 1.0),
            noise: random.floats(planes, 1.0),
        }
    }

    /// `(new image, velocity)` of the launch's samples.
    fn reference(&self, rounding: Rounding) -> (Vec<f64>, Vec<f64>) {
        let (width, plane) = (self.case.grid_cols * 16, self.case.pixels());
        (0..self.case.batch * 3 * plane)
            .map(|at| {
                let (sample, channel, row, col) = (at / plane / 3, at / plane % 3, at % plane / width, at % width);
                let token = row / 16 * self.case.grid_cols + col / 16;
                let pixel = (sample * plane + token * 256 + row % 16 * 16 + col % 16) * 16;
                let v = rounding.f32(self.velocity(&self.pixels[pixel..][..16], channel));
                (rounding.f32(self.moved(at, v)), v)
            })
            .unzip()
    }

    fn velocity(&self, pixel: &[bf16], channel: usize) -> f64 {
        let x: Vec<f64> = pixel.iter().map(|x| f64::from(*x)).collect();
        let rms = (x.iter().map(|x| x * x).sum::<f64>() / 16.0 + 1e-6).sqrt();
        let weighted = x.iter().zip(&self.norm).zip(&self.weight[channel * 16..]);
        f64::from(self.bias[channel]) + weighted.map(|((x, n), w)| x / rms * f64::from(*n) * f64::from(*w)).sum::<f64>()
    }

    fn moved(&self, at: usize, v: f64) -> f64 {
        let (image, noise) = (f64::from(self.image[at]), f64::from(self.noise[at]));
        match self.case.step {
            Step::Sde { t, next } => (1.0 - next) * (image - t * v) + next * noise,
            Step::Ode { t, next } => image + (next - t) * v,
            Step::Last { t } => image - t * v,
        }
    }
}

/// `(image, velocity)`.
fn run(device: &Device, kernel: &'static str, o: &Operands) -> Result<(Vec<f32>, Vec<f32>), String> {
    let case = o.case;
    let (t, next) = match case.step {
        Step::Sde { t, next } | Step::Ode { t, next } => (t, next),
        Step::Last { t } => (t, 0.0),
    };
    let is_sde = matches!(case.step, Step::Sde { .. });
    let (pixels, image) = (device.input(&bits(&o.pixels)), device.input(&o.image));
    let (norm, weight, bias) = (device.input(&o.norm), device.input(&o.weight), device.input(&o.bias));
    let noise = device.input(&o.noise);
    let velocity = device.output::<f32>(o.noise.len());
    let sample = PidSample {
        image: image.mut_ptr(),
        // Null where unused, as in a plan without them.
        noise: if is_sde { noise.ptr() } else { std::ptr::null() },
        velocity: if case.store_velocity { velocity.mut_ptr() } else { std::ptr::null_mut() },
        norm: norm.ptr(),
        weight: weight.ptr(),
        bias: bias.ptr(),
        t: t as f32,
        keep: (1.0 - next) as f32,
        noise_scale: next as f32,
        velocity_scale: (next - t) as f32,
        add_noise: u32::from(is_sde),
        is_ode: u32::from(matches!(case.step, Step::Ode { .. })),
        store_velocity: u32::from(case.store_velocity),
        grid_rows: case.grid_rows as u32,
        grid_cols: case.grid_cols as u32,
        reserved: 0,
    };
    let params = PidSampleStepParams { pixels: pixels.ptr(), sample, batch: case.batch as u32, reserved: 0 };
    device.call(kernel, &OpCall::sample_step(&params))?;
    Ok((image.read()?, velocity.read()?))
}

fn test(device: &Device, kernel: &'static str, case: Case) -> Result<(), String> {
    let o = Operands::random(case);
    let (image, velocity) = run(device, kernel, &o)?;
    let (exact, plain) = (o.reference(Rounding::Exact), o.reference(Rounding::Plain));
    let what = |part: &str| format!("{kernel} {part} {case:?}");
    let (launched, behind) = image.split_at(exact.0.len());
    check(&what("image"), &widen(launched), &exact.0, &plain.0, SUM_ERROR)?;
    if behind != &o.image[launched.len()..] {
        return Err(what("writes behind the last sample"));
    }
    if case.store_velocity {
        return check(&what("velocity"), &widen(&velocity), &exact.1, &plain.1, SUM_ERROR);
    }
    let untouched = velocity.iter().all(|v| v.to_bits() == u32::MAX);
    if untouched { Ok(()) } else { Err(what("stores a velocity unasked")) }
}

const STEPS: [Step; 5] = [
    Step::Sde { t: 0.999, next: 0.866 },
    Step::Sde { t: 0.634, next: 0.342 },
    Step::Ode { t: 0.999, next: 0.866 },
    Step::Ode { t: 0.634, next: 0.342 },
    Step::Last { t: 0.342 },
];

/// Every way to step, with and without the velocity; more patches in a row than in a column and the other way round.
#[test]
fn every_step() {
    for device in devices() {
        for (batch, grid_rows, grid_cols) in [(1, 1, 1), (2, 1, 3), (1, 3, 2), (3, 2, 1)] {
            for step in STEPS {
                for store_velocity in [false, true] {
                    let case = Case { batch, grid_rows, grid_cols, step, store_velocity };
                    test(&device, "sample_step", case).unwrap_or_else(|e| panic!("{}: {e}", device.name));
                }
            }
        }
    }
}

#[test]
fn picture_size() {
    let case = Case { batch: 2, grid_rows: 12, grid_cols: 17, step: STEPS[1], store_velocity: true };
    for device in one_device() {
        test(&device, "sample_step", case).unwrap_or_else(|e| panic!("{}: {e}", device.name));
    }
}

/// The norm's epsilon is all that there is of black pixels: the velocity is the bias.
#[test]
fn pixels_of_zeros() {
    let case = Case { batch: 1, grid_rows: 1, grid_cols: 2, step: STEPS[4], store_velocity: true };
    let mut operands = Operands::random(case);
    operands.pixels.fill(bf16::ZERO);
    for device in devices() {
        let (_, velocity) = run(&device, "sample_step", &operands).unwrap();
        let plane = case.pixels();
        let wrong = (0..velocity.len()).find(|i| velocity[*i] != operands.bias[i / plane]);
        assert_eq!(wrong, None, "{}", device.name);
    }
}

#[test]
fn two_runs_are_equal() {
    let operands =
        Operands::random(Case { batch: 2, grid_rows: 2, grid_cols: 1, step: STEPS[0], store_velocity: true });
    let runs = |device: &Device| {
        [(); 2].map(|()| {
            let (image, velocity) = run(device, "sample_step", &operands).unwrap();
            image.into_iter().chain(velocity).map(f32::to_bits).collect::<Vec<_>>()
        })
    };
    let all: Vec<_> = devices().iter().flat_map(runs).collect();
    assert!(all.iter().all(|bits| *bits == all[0]));
}

#[test]
fn faults_are_caught() {
    assert_caught(&faults_of("sample_step"), |device, kernel| {
        test(device, kernel, Case { batch: 1, grid_rows: 1, grid_cols: 1, step: STEPS[3], store_velocity: false })
    });
}
