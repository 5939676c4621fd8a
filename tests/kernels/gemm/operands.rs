//! Operands of a product in device memory, and the product itself.

use half::bf16;
use pid_engine::kernels::params::{PidGemm, PidGroup, PidRows};

use crate::device::{Array, Device};
use crate::values::{Random, bits};

/// `A [rows, k]`, `W [n, k]`, `bias [n]`.
pub struct Operands {
    pub rows: usize,
    pub n: usize,
    pub k: usize,
    pub a: Vec<bf16>,
    pub w: Vec<bf16>,
    pub bias: Vec<f32>,
}

impl Operands {
    pub fn random(rows: usize, n: usize, k: usize, random: &mut Random) -> Self {
        let scale = 1.0 / (k as f32).sqrt();
        Self { rows, n, k, a: random.bf16s(rows * k, 1.0), w: random.bf16s(n * k, scale), bias: random.floats(n, 0.5) }
    }

    /// `(A W^T)[row][column]` in float64.
    pub fn dot(&self, row: usize, column: usize) -> f64 {
        let (a, w) = (&self.a[row * self.k..][..self.k], &self.w[column * self.k..][..self.k]);
        a.iter().zip(w).map(|(a, w)| f64::from(*a) * f64::from(*w)).sum()
    }

    pub fn upload(&self, device: &Device) -> OnDevice {
        OnDevice { a: device.input(&bits(&self.a)), w: device.input(&bits(&self.w)), bias: device.input(&self.bias) }
    }
}

/// [`Operands`] on a device.
pub struct OnDevice {
    pub a: Array<u16>,
    pub w: Array<u16>,
    pub bias: Array<f32>,
}

impl OnDevice {
    pub fn group(&self, rows: PidRows) -> PidGroup {
        PidGroup { a: self.a.ptr(), b: self.w.ptr(), bias: self.bias.ptr(), rows }
    }
}

/// All `count` rows of a stream of samples of `per_sample`, alone in its buffers.
pub fn plain_rows(count: usize, per_sample: usize) -> PidRows {
    let per_sample = per_sample as u32;
    PidRows { first: 0, count: count as u32, per_sample, joint_per_sample: per_sample, joint_first: 0, reserved: 0 }
}

/// A product of one group.
pub fn one_group(group: PidGroup, n: usize, k: usize) -> PidGemm {
    PidGemm { group: [group; 2], num_groups: 1, n: n as u32, k: k as u32, ldb: k as u32 }
}
