//! `gemm_pixel_update_sample`: the update, then the final layer and the sampler's step instead of storing the pixels.

use pid_engine::kernels::params::PidSample;

use super::kernels_on;
use super::operands::{CHANNELS, Rows, rms};
use super::update::{Update, product};
use crate::faults::{assert_caught, faults_of};
use crate::under_test::{Device, devices, in_turn, one_device};
use crate::values::{Random, Rounding, SUM_ERROR, bits, check, widen};

const KERNEL: &str = "gemm_pixel_update_sample";
const PATCH: usize = 16;
const T: f32 = 0.8;
const NEXT: f32 = 0.3;

/// How the step ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Sde,
    Ode,
    /// At x0: no noise is there to be read.
    Last,
}

struct Case {
    update: Update,
    batch: usize,
    grid: [usize; 2],
    norm: Vec<f32>,
    weight: Vec<f32>,
    bias: Vec<f32>,
    /// `[B, 3, H, W]`.
    image: Vec<f32>,
    noise: Vec<f32>,
    /// `[B, 3, H, W]`, of covered patches; without rounding and with it.
    velocity: [Vec<Option<f64>>; 2],
}

/// What a launch left.
#[derive(PartialEq)]
struct Output {
    image: Vec<f32>,
    velocity: Option<Vec<f32>>,
    pixels: Vec<u16>,
}

impl Case {
    fn new(batch: usize, grid: [usize; 2], [first, count]: [usize; 2], k: [usize; 2]) -> Self {
        let per_sample = grid[0] * grid[1];
        let rows = Rows { total: batch * per_sample, first, count, per_sample };
        let mut random = Random::new((count + k[0]) as u64);
        let update = Update::random(rows, PATCH * PATCH, k, &mut random);
        let len = rows.total * 3 * PATCH * PATCH;
        let [norm, weight, bias] = [CHANNELS, 3 * CHANNELS, 3].map(|len| random.floats(len, 0.5));
        let (image, noise) = (random.floats(len, 1.0), random.floats(len, 1.0));
        let velocity = [Vec::new(), Vec::new()];
        let mut case = Self { update, batch, grid, norm, weight, bias, image, noise, velocity };
        case.velocity = [Rounding::Exact, Rounding::Plain].map(|rounding| case.reference(rounding));
        case
    }

    fn reference(&self, rounding: Rounding) -> Vec<Option<f64>> {
        let [height, width] = self.grid.map(|n| n * PATCH);
        let mut out = vec![None; self.image.len()];
        let rows = self.update.rows;
        for row in rows.first..rows.first + rows.count {
            let (sample, token) = (row / rows.per_sample, row % rows.per_sample);
            for p in 0..PATCH * PATCH {
                let x = rms(&self.update.updated(row, p, rounding), &self.norm);
                let [y, x0] = [token / self.grid[1] * PATCH + p / PATCH, token % self.grid[1] * PATCH + p % PATCH];
                for c in 0..3 {
                    let dot: f64 = (0..CHANNELS).map(|i| f64::from(self.weight[c * CHANNELS + i]) * x[i]).sum();
                    out[((sample * 3 + c) * height + y) * width + x0] =
                        Some(rounding.f32(dot + f64::from(self.bias[c])));
                }
            }
        }
        out
    }

    fn run(&self, device: &Device, kernel: &'static str, step: Step, store: bool) -> Result<Output, String> {
        let on = self.update.upload(device, kernel);
        let [norm, weight, bias, image] = [&self.norm, &self.weight, &self.bias, &self.image].map(|x| device.input(x));
        let noise = (step == Step::Sde).then(|| device.input(&self.noise));
        let velocity = store.then(|| device.output::<f32>(self.image.len()));
        let next = if step == Step::Last { 0.0 } else { NEXT };
        let sample = PidSample {
            image: image.mut_ptr(),
            noise: noise.as_ref().map_or(std::ptr::null(), |x| x.ptr()),
            velocity: velocity.as_ref().map_or(std::ptr::null_mut(), |x| x.mut_ptr()),
            norm: norm.ptr(),
            weight: weight.ptr(),
            bias: bias.ptr(),
            t: T,
            keep: 1.0 - next,
            noise_scale: next,
            velocity_scale: next - T,
            add_noise: u32::from(noise.is_some()),
            is_ode: u32::from(step == Step::Ode),
            store_velocity: u32::from(store),
            grid_rows: self.grid[0] as u32,
            grid_cols: self.grid[1] as u32,
            reserved: 0,
        };
        let params = self.update.params(&on, sample);
        device.run(&[product(device, kernel, &params)])?;
        let velocity = velocity.map(|x| x.read()).transpose()?;
        Ok(Output { image: image.read()?, velocity, pixels: on.pixels.read()? })
    }

    /// The image's element `i` after the step.
    fn stepped(&self, i: usize, v: f64, step: Step, rounding: Rounding) -> f64 {
        let (x, t, next) = (f64::from(self.image[i]), f64::from(T), f64::from(NEXT));
        rounding.f32(match step {
            Step::Sde => (1.0 - next) * (x - t * v) + next * f64::from(self.noise[i]),
            Step::Ode => x + (next - t) * v,
            Step::Last => x - t * v,
        })
    }

    fn test(&self, device: &Device, kernel: &'static str, step: Step, store: bool) -> Result<(), String> {
        let what = format!("{}: {kernel} {} x {:?} {step:?}", device.name, self.batch, self.grid);
        let output = self.run(device, kernel, step, store)?;
        if output.pixels != bits(&self.update.pixels) {
            return Err(format!("{what}: pixels were stored"));
        }
        let covered: Vec<usize> = (0..self.image.len()).filter(|i| self.velocity[0][*i].is_some()).collect();
        let outside = |i: &usize| self.velocity[0][*i].is_none();
        let image_kept = |i: usize| output.image[i].to_bits() == self.image[i].to_bits();
        if let Some(i) = (0..self.image.len()).filter(outside).find(|i| !image_kept(*i)) {
            return Err(format!("{what}: element {i} of the image was written"));
        }
        let [exact, plain] = [0, 1].map(|r| covered.iter().filter_map(|i| self.velocity[r][*i]).collect::<Vec<f64>>());
        let of = |all: &[f32]| widen(&covered.iter().map(|i| all[*i]).collect::<Vec<f32>>());
        let moved = |v: &[f64], rounding: Rounding| -> Vec<f64> {
            covered.iter().zip(v).map(|(i, v)| self.stepped(*i, *v, step, rounding)).collect()
        };
        let moved = [moved(&exact, Rounding::Exact), moved(&plain, Rounding::Plain)];
        check(&what, &of(&output.image), &moved[0], &moved[1], SUM_ERROR)?;
        let Some(velocity) = output.velocity else { return Ok(()) };
        if let Some(i) = (0..velocity.len()).filter(outside).find(|i| velocity[*i].to_bits() != u32::MAX) {
            return Err(format!("{what}: element {i} of the velocity was written"));
        }
        check(&format!("{what}, velocity"), &of(&velocity), &exact, &plain, SUM_ERROR)
    }
}

/// A range of rows that begins in one sample and ends in the next.
fn two_samples() -> Case {
    Case::new(2, [2, 3], [4, 5], [40, 72])
}

/// Asserts that the kernel and its forms for sm_90a are right on `devices`.
fn assert_right(case: &Case, devices: &[Device], step: Step, store: bool) {
    for device in devices {
        for kernel in kernels_on(device, KERNEL) {
            case.test(device, kernel, step, store).unwrap();
        }
    }
}

#[test]
#[ignore = "slow: CI runs it"]
fn every_step() {
    let case = two_samples();
    // By every schedule: `two_runs_are_equal`.
    let steps = [Step::Sde, Step::Ode, Step::Last].into_iter().flat_map(|step| [(step, true), (step, false)]);
    for (i, (step, store)) in steps.enumerate() {
        assert_right(&case, &in_turn(&devices(), i), step, store);
    }
}

#[test]
fn more_than_a_tile() {
    let case = Case::new(1, [3, 47], [7, 131], [8, 16]);
    assert_right(&case, &one_device(), Step::Sde, true);
}

#[test]
fn two_runs_are_equal() {
    let case = two_samples();
    for kernel in kernels_on(&devices()[0], KERNEL) {
        let runs: Vec<_> = devices().iter().map(|device| case.run(device, kernel, Step::Sde, false).unwrap()).collect();
        assert!(runs.iter().all(|run| *run == runs[0]), "{kernel}");
    }
}

#[test]
fn faults_are_caught() {
    let case = two_samples();
    assert_caught(&faults_of("gemm_pixel_update_sample"), |device, kernel| {
        case.test(device, kernel, Step::Last, false)
    });
}
