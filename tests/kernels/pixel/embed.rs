//! `pixel_embed`: `pixels = W rgb + bias + [sin(u w_k), cos(u w_k), sin(v w_k), cos(v w_k)]`, `w_k = 10^-k`.

use pid_engine::kernels::OpCall;
use pid_engine::kernels::params::PidPixelEmbedParams;

use super::operands::CHANNELS;
use crate::faults::{assert_caught, faults_of};
use crate::under_test::{Device, devices, one_device};
use crate::values::{Random, Rounding, SUM_ERROR, check, from_bits};

const KERNEL: &str = "pixel_embed";
const PATCH: usize = 16;

struct Case {
    batch: usize,
    /// Patches: rows, columns.
    grid: [usize; 2],
    /// `[B, 3, H, W]`.
    image: Vec<f32>,
    weight: Vec<f32>,
    bias: Vec<f32>,
}

/// The position code's channel `c` at column u, row v.
fn code(c: usize, [v, u]: [usize; 2]) -> f64 {
    let angle = if c < CHANNELS / 2 { u } else { v } as f64 / [1.0, 10.0, 100.0, 1000.0][c % 4];
    if (c / 4).is_multiple_of(2) { angle.sin() } else { angle.cos() }
}

impl Case {
    fn random(batch: usize, grid: [usize; 2]) -> Self {
        let mut random = Random::new((grid[0] * 1000 + grid[1]) as u64);
        let [image, weight, bias] =
            [batch * 3 * grid[0] * grid[1] * PATCH * PATCH, CHANNELS * 3, CHANNELS].map(|len| random.floats(len, 0.5));
        Self { batch, grid, image, weight, bias }
    }

    /// `[row, column]` of each pixel in the order of the output, and where its red value is.
    fn places(&self) -> impl Iterator<Item = ([usize; 2], usize)> {
        let [rows, cols] = self.grid;
        let (height, width) = (rows * PATCH, cols * PATCH);
        (0..self.batch * rows * cols * PATCH * PATCH).map(move |i| {
            let (patch, p) = (i / (PATCH * PATCH), i % (PATCH * PATCH));
            let (sample, token) = (patch / (rows * cols), patch % (rows * cols));
            let [v, u] = [token / cols * PATCH + p / PATCH, token % cols * PATCH + p % PATCH];
            ([v, u], sample * 3 * height * width + v * width + u)
        })
    }

    fn reference(&self, rounding: Rounding) -> Vec<f64> {
        let plane = self.grid[0] * self.grid[1] * PATCH * PATCH;
        let value = |place: [usize; 2], red: usize, c: usize| {
            let dot: f64 =
                (0..3).map(|i| f64::from(self.weight[3 * c + i]) * f64::from(self.image[red + i * plane])).sum();
            rounding.bf16(dot + f64::from(self.bias[c]) + code(c, place))
        };
        self.places()
            .flat_map(|(place, red)| (0..CHANNELS).map(move |c| (place, red, c)))
            .map(|(p, r, c)| value(p, r, c))
            .collect()
    }

    fn run(&self, device: &Device, kernel: &'static str) -> Result<Vec<u16>, String> {
        let [image, weight, bias] = [&self.image, &self.weight, &self.bias].map(|x| device.input(x));
        let pixels = device.output::<u16>(self.image.len() / 3 * CHANNELS);
        let params = PidPixelEmbedParams {
            image: image.ptr(),
            pixels: pixels.mut_ptr(),
            weight: weight.ptr(),
            bias: bias.ptr(),
            batch: self.batch as u32,
            grid_rows: self.grid[0] as u32,
            grid_cols: self.grid[1] as u32,
            reserved: 0,
        };
        device.call(kernel, &OpCall::pixel_embed(&params))?;
        pixels.read()
    }

    fn test(&self, device: &Device, kernel: &'static str) -> Result<(), String> {
        let what = format!("{}: {kernel} {} x {:?}", device.name, self.batch, self.grid);
        let (exact, plain) = (self.reference(Rounding::Exact), self.reference(Rounding::Plain));
        check(&what, &from_bits(&self.run(device, kernel)?), &exact, &plain, SUM_ERROR)
    }
}

#[test]
fn any_grid() {
    for (batch, grid) in [(1, [1, 1]), (2, [3, 5]), (3, [1, 2]), (1, [7, 1])] {
        for device in devices() {
            Case::random(batch, grid).test(&device, KERNEL).unwrap();
        }
    }
}

#[test]
fn codes_of_large_pictures() {
    // Pictures whose colours take the code away, three channels at a time: what is left is the kernel's error, which
    // bf16 would otherwise hide.
    let mut worst = 0.0f64;
    for grid in [[1, 1024], [1024, 1]] {
        for first in (0..CHANNELS).step_by(3) {
            let channels: Vec<usize> = (first..CHANNELS.min(first + 3)).collect();
            let mut case = Case { weight: vec![0.0; CHANNELS * 3], bias: vec![0.0; CHANNELS], ..Case::random(1, grid) };
            let plane = case.image.len() / 3;
            for (i, c) in channels.iter().enumerate() {
                case.weight[3 * c + i] = 1.0;
                for (place, red) in case.places().collect::<Vec<_>>() {
                    case.image[red + i * plane] = -code(*c, place) as f32;
                }
            }
            let left = from_bits(&case.run(&one_device()[0], KERNEL).unwrap());
            let errors = left.chunks_exact(CHANNELS).flat_map(|pixel| channels.iter().map(|c| pixel[*c].abs()));
            worst = errors.fold(worst, f64::max);
        }
    }
    // The code's error (kernels/common/angle.cuh) and half a unit of the picture's float32.
    assert!(worst <= 1.3e-7 + 3e-8, "{worst:e}");
}

#[test]
fn two_runs_are_equal() {
    let case = Case::random(2, [3, 5]);
    let runs: Vec<_> = devices().iter().map(|device| case.run(device, KERNEL).unwrap()).collect();
    assert!(runs.iter().all(|run| *run == runs[0]));
}

#[test]
fn faults_are_caught() {
    let case = Case::random(2, [3, 5]);
    assert_caught(&faults_of("pixel_embed"), |device, kernel| case.test(device, kernel));
}
