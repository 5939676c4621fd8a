//! `gemm_pixel_update`: the residuals of attention and MLP on each pixel, both gated.

use half::bf16;
use pid_engine::kernels::params::{PidPixelUpdateParams, PidSample};
use pid_engine::kernels::{KernelCall, OpCall};

use super::kernels_on;
use super::operands::{CHANNELS, Factor, OnDevice, Pixel, Rows, pixel, rms};
use crate::faults::{assert_caught, faults_of};
use crate::under_test::{Array, Device, devices, entry, one_device};
use crate::values::{Random, Rounding, bits, check, from_bits};

const KERNEL: &str = "gemm_pixel_update";
/// Width of the MLP.
const HIDDEN: usize = 64;

/// Operands of both forms of the update.
pub struct Update {
    pub rows: Rows,
    /// Pixels of a row.
    pub per_row: usize,
    modulation: Factor,
    expand: Factor,
    pub pixels: Vec<bf16>,
    norm: Vec<f32>,
    fc1: Vec<bf16>,
    fc1_bias: Vec<f32>,
    fc2: Vec<bf16>,
    fc2_bias: Vec<f32>,
}

impl Update {
    pub fn random(rows: Rows, per_row: usize, [k, expand_k]: [usize; 2], random: &mut Random) -> Self {
        let modulation = Factor::random(rows.total, per_row * 4 * CHANNELS, k, random);
        let expand = Factor::random(rows.total, per_row * CHANNELS, expand_k, random);
        Self {
            rows,
            per_row,
            modulation,
            expand,
            pixels: random.bf16s(rows.total * per_row * CHANNELS, 1.0),
            norm: random.floats(CHANNELS, 1.0),
            fc1: random.bf16s(HIDDEN * CHANNELS, 0.4),
            fc1_bias: random.floats(HIDDEN, 0.2),
            fc2: random.bf16s(CHANNELS * HIDDEN, 0.2),
            fc2_bias: random.floats(CHANNELS, 0.2),
        }
    }

    /// Pixel `p` of `row` after the update, before it is rounded to be stored.
    pub fn updated(&self, row: usize, p: usize, rounding: Rounding) -> Pixel {
        let slot = |s: usize| self.modulation.slot(row, (4 * p + s) * CHANNELS);
        let [gate_a, shift, scale, gate_m] = [0, 1, 2, 3].map(slot);
        let attended = self.expand.slot(row, p * CHANNELS);
        let mut x = pixel(&self.pixels, row * self.per_row + p);
        x.iter_mut().zip(gate_a.iter().zip(&attended)).for_each(|(x, (gate, e))| *x += gate * e);
        let normed = rms(&x, &self.norm);
        let z: Pixel = std::array::from_fn(|i| rounding.bf16(normed[i] * (1.0 + scale[i]) + shift[i]));
        let out = self.mlp(&z, rounding);
        std::array::from_fn(|i| x[i] + gate_m[i] * out[i])
    }

    fn mlp(&self, z: &Pixel, rounding: Rounding) -> Pixel {
        let dot = |w: &[bf16], x: &[f64]| w.iter().zip(x).map(|(w, x)| f64::from(*w) * x).sum::<f64>();
        let unit = |j: usize| dot(&self.fc1[j * CHANNELS..][..CHANNELS], z) + f64::from(self.fc1_bias[j]);
        let hidden: Vec<f64> = (0..HIDDEN).map(|j| rounding.bf16(gelu(unit(j)))).collect();
        std::array::from_fn(|i| dot(&self.fc2[i * HIDDEN..][..HIDDEN], &hidden) + f64::from(self.fc2_bias[i]))
    }

    pub fn upload(&self, device: &Device, kernel: &str) -> UpdateOnDevice {
        UpdateOnDevice {
            modulation: self.modulation.upload(device, kernel),
            expand: self.expand.upload(device, kernel),
            pixels: device.input(&bits(&self.pixels)),
            vectors: [&self.norm, &self.fc1_bias, &self.fc2_bias].map(|x| device.input(x)),
            matrices: [&self.fc1, &self.fc2].map(|x| device.input(&bits(x))),
        }
    }

    pub fn params(&self, on: &UpdateOnDevice, sample: PidSample) -> PidPixelUpdateParams {
        PidPixelUpdateParams {
            gemm: self.modulation.gemm(&on.modulation, self.rows),
            attention: on.expand.a.ptr(),
            expand: on.expand.w.ptr(),
            expand_bias: on.expand.bias.ptr(),
            pixels: on.pixels.mut_ptr(),
            norm: on.vectors[0].ptr(),
            fc1: on.matrices[0].ptr(),
            fc1_bias: on.vectors[1].ptr(),
            fc2: on.matrices[1].ptr(),
            fc2_bias: on.vectors[2].ptr(),
            expand_k: self.expand.k as u32,
            expand_ldb: self.expand.ldb as u32,
            sample,
        }
    }
}

/// [`Update`] on a device.
pub struct UpdateOnDevice {
    modulation: OnDevice,
    expand: OnDevice,
    pub pixels: Array<u16>,
    /// norm, fc1's bias, fc2's bias.
    vectors: [Array<f32>; 3],
    /// fc1, fc2.
    matrices: [Array<u16>; 2],
}

/// Exact GELU: `erf(x) = 2 / sqrt(pi) exp(-x^2) sum_n 2^n x^(2n+1) / (2n+1)!!`, whose terms have one sign.
fn gelu(x: f64) -> f64 {
    let y = x * std::f64::consts::FRAC_1_SQRT_2;
    if y.abs() > 6.0 {
        return x.max(0.0);
    }
    let (mut term, mut sum) = (y, y);
    for n in 1..200 {
        term *= 2.0 * y * y / f64::from(2 * n + 1);
        sum += term;
        if term.abs() < 1e-17 * sum.abs() {
            break;
        }
    }
    0.5 * x * (1.0 + std::f64::consts::FRAC_2_SQRT_PI * (-y * y).exp() * sum)
}

/// The launch, by whichever path `kernel` is of.
pub fn product(device: &Device, kernel: &'static str, params: &PidPixelUpdateParams) -> KernelCall {
    device.launch(kernel, &OpCall::pixel_update(entry(kernel).op, params)).expect("operands are aligned")
}

/// For launches that do not sample.
fn no_sample() -> PidSample {
    PidSample {
        image: std::ptr::null_mut(),
        noise: std::ptr::null(),
        velocity: std::ptr::null_mut(),
        norm: std::ptr::null(),
        weight: std::ptr::null(),
        bias: std::ptr::null(),
        t: 0.0,
        keep: 0.0,
        noise_scale: 0.0,
        velocity_scale: 0.0,
        add_noise: 0,
        is_ode: 0,
        store_velocity: 0,
        grid_rows: 0,
        grid_cols: 0,
        reserved: 0,
    }
}

struct Case {
    update: Update,
    /// Covered rows alone.
    exact: Vec<f64>,
    plain: Vec<f64>,
}

impl Case {
    fn new(rows: usize, per_row: usize, k: [usize; 2]) -> Self {
        let mut random = Random::new((rows * per_row + k[0]) as u64);
        let update = Update::random(Rows::inside(rows), per_row, k, &mut random);
        let reference = |rounding: Rounding| {
            let rows = update.rows.first..update.rows.first + update.rows.count;
            let pixels = rows.flat_map(|row| (0..per_row).map(move |p| (row, p)));
            pixels.flat_map(|(row, p)| update.updated(row, p, rounding)).map(|x| rounding.bf16(x)).collect()
        };
        let (exact, plain) = (reference(Rounding::Exact), reference(Rounding::Plain));
        Self { update, exact, plain }
    }

    /// All pixels' bits after a launch.
    fn run(&self, device: &Device, kernel: &'static str) -> Result<Vec<u16>, String> {
        let on = self.update.upload(device, kernel);
        let params = self.update.params(&on, no_sample());
        device.run(&[product(device, kernel, &params)])?;
        on.pixels.read()
    }

    fn test(&self, device: &Device, kernel: &'static str) -> Result<(), String> {
        let Update { rows, per_row, modulation, expand, .. } = &self.update;
        let what = format!("{}: {kernel} {rows:?} x {per_row} x [{}, {}]", device.name, modulation.k, expand.k);
        let (before, after) = (bits(&self.update.pixels), self.run(device, kernel)?);
        let width = per_row * CHANNELS;
        let mut covered = Vec::new();
        for (row, (before, after)) in before.chunks_exact(width).zip(after.chunks_exact(width)).enumerate() {
            if rows.covers(row) {
                covered.extend_from_slice(after);
            } else if before != after {
                return Err(format!("{what}: row {row} was written"));
            }
        }
        check(&what, &from_bits(&covered), &self.exact, &self.plain, device.sum_error(self.update.modulation.k))
    }
}

/// Asserts that the kernel and its forms for sm_90a are right on `devices`.
fn assert_right(case: &Case, devices: &[Device]) {
    for device in devices {
        for kernel in kernels_on(device, KERNEL) {
            case.test(device, kernel).unwrap();
        }
    }
}

#[test]
fn any_size() {
    let sizes = [
        (1, 1, [8, 8]),
        (127, 2, [32, 40]),
        (128, 1, [40, 32]),
        (129, 3, [96, 8]),
        (131, 5, [136, 72]),
        (37, 4, [64, 64]),
    ];
    for (rows, per_row, k) in sizes {
        assert_right(&Case::new(rows, per_row, k), &devices());
    }
}

/// More tiles than blocks, and more slices than a ring has slots, of either product.
#[test]
fn several_tiles_a_block() {
    for (rows, per_row, k) in [(300, 7, [328, 72]), (515, 3, [72, 328])] {
        assert_right(&Case::new(rows, per_row, k), &devices());
    }
}

#[test]
fn the_network_s_width() {
    // A quarter of a patch's pixels: more column tiles of the same.
    assert_right(&Case::new(3, 64, [1536, 1152]), &one_device());
}

#[test]
fn two_runs_are_equal() {
    let case = Case::new(131, 3, [136, 72]);
    for kernel in kernels_on(&devices()[0], KERNEL) {
        let runs: Vec<_> = devices().iter().map(|device| case.run(device, kernel).unwrap()).collect();
        assert!(runs.iter().all(|run| *run == runs[0]), "{kernel}");
    }
}

#[test]
fn faults_are_caught() {
    // Five slices of 32 of the first product: its last one lies where the second product's second slice goes. On sm_90a,
    // four of 64 in all fill the ring.
    for (k, is_sm_90) in [([136, 72], false), ([328, 72], true)] {
        let mut faults = faults_of("gemm_pixel_update");
        faults.retain(|fault| (entry(fault).family == "sm90") == is_sm_90);
        let case = Case::new(131, 3, k);
        assert_caught(&faults, |device, kernel| case.test(device, kernel));
    }
}

#[test]
fn gelu_at_known_points() {
    for (x, expected) in [(0.0, 0.0), (1.0, 0.841_344_746_068_543), (-3.0, -0.004_049_694_094_890_284), (9.0, 9.0)] {
        assert!((gelu(x) - expected).abs() < 1e-14, "{x}: {}", gelu(x));
    }
}
