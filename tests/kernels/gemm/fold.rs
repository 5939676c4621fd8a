//! Norm and modulation folded into a product ([`PidFold`]).

use pid_engine::kernels::params::PidFold;

use super::operands::Size;
use crate::under_test::{Array, Device};
use crate::values::Random;

/// Columns of a sum of squares.
const SLICE: usize = 64;
/// The norms' epsilon.
const EPSILON: f64 = 1e-6;

/// Sums of squares of a stream, which need not be those of the operand, and the shift's product.
pub struct Fold {
    size: Size,
    sums: Vec<f32>,
    shift: Vec<f32>,
}

impl Fold {
    /// `total` rows, their rms about `rms`.
    pub fn random(total: usize, size: Size, rms: f32, random: &mut Random) -> Self {
        let slices = size.k / SLICE;
        let sum = |i: usize| {
            let rms = rms * [0.5, 1.0, 2.0, 0.8][i / slices % 4];
            rms * rms * SLICE as f32 * (1.0 + 0.9 * random.value())
        };
        let sums = (0..total * slices).map(sum).collect();
        Self { size, sums, shift: random.floats(size.n, 0.5) }
    }

    /// `product / rms + shift`, of `rows`.
    pub fn apply(&self, rows: &[usize], product: &[f64]) -> Vec<f64> {
        let Size { n, k, .. } = self.size;
        let slices = k / SLICE;
        let inverse = |row: &usize| {
            let sum: f64 = self.sums[row * slices..][..slices].iter().map(|s| f64::from(*s)).sum();
            1.0 / (sum / k as f64 + EPSILON).sqrt()
        };
        let inverse: Vec<f64> = rows.iter().map(inverse).collect();
        let value = |(i, x): (usize, &f64)| x * inverse[i / n] + f64::from(self.shift[i % n]);
        product.iter().enumerate().map(value).collect()
    }

    pub fn upload(&self, device: &Device) -> FoldOnDevice {
        FoldOnDevice { sums: device.input(&self.sums), shift: device.input(&self.shift) }
    }
}

/// [`Fold`] on a device.
pub struct FoldOnDevice {
    sums: Array<f32>,
    shift: Array<f32>,
}

impl FoldOnDevice {
    pub fn params(&self) -> PidFold {
        PidFold { sums: self.sums.ptr(), shift_product: self.shift.ptr() }
    }
}
