//! Operands of the products on pixels, and what is common to their references.

use half::bf16;
use pid_engine::kernels::params::{PidGemm, PidGroup, PidRows};

use crate::gemm::operands::{Size, stored};
use crate::under_test::{Array, Device, entry};
use crate::values::{Random, bits};

/// Channels of a pixel.
pub const CHANNELS: usize = 16;
pub type Pixel = [f64; CHANNELS];

/// A stream of `total` rows and those of them that a launch covers.
#[derive(Clone, Copy, Debug)]
pub struct Rows {
    pub total: usize,
    pub first: usize,
    pub count: usize,
    pub per_sample: usize,
}

impl Rows {
    /// `count` rows, with others before and behind; samples of 7.
    pub fn inside(count: usize) -> Self {
        Self { total: (count + 5).next_multiple_of(7), first: 3, count, per_sample: 7 }
    }

    pub fn covers(&self, row: usize) -> bool {
        (self.first..self.first + self.count).contains(&row)
    }

    pub fn params(&self) -> PidRows {
        let [first, count, per_sample] = [self.first, self.count, self.per_sample].map(|x| x as u32);
        PidRows { first, count, per_sample, joint_per_sample: per_sample, joint_first: 0, reserved: 0 }
    }
}

/// `A [rows, k] W^T + bias`, W `[n, ldb]` with zeros beyond k.
pub struct Factor {
    pub n: usize,
    pub k: usize,
    pub ldb: usize,
    a: Vec<bf16>,
    w: Vec<bf16>,
    bias: Vec<f32>,
}

impl Factor {
    pub fn random(rows: usize, n: usize, k: usize, random: &mut Random) -> Self {
        let ldb = k.next_multiple_of(64);
        let scale = 0.5 / (k as f32).sqrt();
        let (a, dense) = (random.bf16s(rows * k, 1.0), random.bf16s(n * k, scale));
        let mut w = vec![bf16::ZERO; n * ldb];
        w.chunks_exact_mut(ldb).zip(dense.chunks_exact(k)).for_each(|(to, from)| to[..k].copy_from_slice(from));
        Self { n, k, ldb, a, w, bias: random.floats(n, 0.2) }
    }

    pub fn value(&self, row: usize, column: usize) -> f64 {
        let (a, w) = (&self.a[row * self.k..][..self.k], &self.w[column * self.ldb..][..self.k]);
        a.iter().zip(w).map(|(a, w)| f64::from(*a) * f64::from(*w)).sum::<f64>() + f64::from(self.bias[column])
    }

    /// Columns `first .. first + 16`.
    pub fn slot(&self, row: usize, first: usize) -> Pixel {
        std::array::from_fn(|i| self.value(row, first + i))
    }

    /// As `kernel` takes them.
    pub fn upload(&self, device: &Device, kernel: &str) -> OnDevice {
        let size = Size { n: self.n, k: self.k, ldb: self.ldb };
        let w = stored(&self.w, size, entry(kernel).order);
        OnDevice { a: device.input(&bits(&self.a)), w: device.input(&bits(&w)), bias: device.input(&self.bias) }
    }

    /// The product of one group.
    pub fn gemm(&self, on: &OnDevice, rows: Rows) -> PidGemm {
        let group = PidGroup { a: on.a.ptr(), b: on.w.ptr(), bias: on.bias.ptr(), rows: rows.params() };
        PidGemm { group: [group; 2], num_groups: 1, n: self.n as u32, k: self.k as u32, ldb: self.ldb as u32 }
    }
}

/// A [`Factor`] on a device.
pub struct OnDevice {
    pub a: Array<u16>,
    pub w: Array<u16>,
    pub bias: Array<f32>,
}

/// `x / sqrt(mean(x^2) + 1e-6) norm`.
pub fn rms(x: &Pixel, norm: &[f32]) -> Pixel {
    let mean = x.iter().map(|x| x * x).sum::<f64>() / CHANNELS as f64;
    std::array::from_fn(|i| x[i] / (mean + 1e-6).sqrt() * f64::from(norm[i]))
}

/// Pixel `index` of a `[.., 16]` array.
pub fn pixel(all: &[bf16], index: usize) -> Pixel {
    std::array::from_fn(|i| f64::from(all[index * CHANNELS + i]))
}
