//! What a GPU can do at most, measured in the same run: bytes copied and FLOP of a large product, by our own kernels.

use std::sync::Arc;

use half::bf16;
use serde::{Deserialize, Serialize};

use super::work::Work;
use crate::backend::device::{Buffer, DeviceError, Driver, Labelled};
use crate::kernels::params::{PidEmit, PidGemm, PidGroup, PidLinearParams, PidRows, PidRowsParams};
use crate::kernels::{KernelCall, launch};

/// Work by which [`Ceilings`] are measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CeilingSizes {
    /// Rows of 2048 floats that are copied.
    pub copy_rows: u32,
    /// Side of the square product.
    pub product: u32,
}

impl Default for CeilingSizes {
    /// Half a gigabyte, far beyond any cache, and a product that fills every GPU for a millisecond.
    fn default() -> Self {
        Self { copy_rows: 1 << 16, product: 8192 }
    }
}

/// Rates that times are related to.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ceilings {
    /// Read and written, by `rows_restart`.
    pub bytes_per_second: f64,
    /// bf16 with float32 sums, by `gemm_linear`.
    pub flop_per_second: f64,
}

/// Runs of a measurement after one for warm-up; the fastest counts.
const RUNS: usize = 8;
const COPY_COLUMNS: u32 = 2048;

impl Ceilings {
    pub(super) fn measure(driver: &Arc<dyn Driver>, sizes: &CeilingSizes) -> Result<Self, DeviceError> {
        let bytes = 2.0 * 4.0 * f64::from(sizes.copy_rows) * f64::from(COPY_COLUMNS);
        let flop = 2.0 * f64::from(sizes.product).powi(3);
        Ok(Self {
            bytes_per_second: bytes / copy_seconds(driver, sizes.copy_rows)?,
            flop_per_second: flop / product_seconds(driver, sizes.product)?,
        })
    }

    /// Seconds that `work` takes at least.
    pub(super) fn floor(&self, work: Work) -> f64 {
        (work.flop as f64 / self.flop_per_second).max(work.bytes as f64 / self.bytes_per_second)
    }
}

fn fastest(driver: &Arc<dyn Driver>, call: KernelCall) -> Result<f64, DeviceError> {
    let calls = [Labelled { label: "ceiling".into(), call }];
    driver.run_timed(&calls)?;
    let mut best = f64::INFINITY;
    for _ in 0..RUNS {
        best = best.min(driver.run_timed(&calls)?);
    }
    Ok(best)
}

fn copy_seconds(driver: &Arc<dyn Driver>, rows: u32) -> Result<f64, DeviceError> {
    let values: Vec<f32> = (0..rows as usize * COPY_COLUMNS as usize).map(noise).collect();
    let source = Buffer::of(driver, &values)?;
    let target = Buffer::new(driver, source.bytes())?;
    let none = PidEmit {
        operand: std::ptr::null_mut(),
        scale: std::ptr::null(),
        sums: std::ptr::null_mut(),
        enabled: 0,
        reserved: 0,
    };
    let params = PidRowsParams {
        stream: target.address() as *mut f32,
        source: source.address() as *const f32,
        vector: std::ptr::null(),
        position: std::ptr::null(),
        emit: none,
        num_rows: rows,
        rows_per_sample: rows,
        hidden: COPY_COLUMNS,
        reserved: 0,
    };
    fastest(driver, launch::rows("rows_restart", rows, &params))
}

fn product_seconds(driver: &Arc<dyn Driver>, side: u32) -> Result<f64, DeviceError> {
    let elements = side as usize * side as usize;
    let values: Vec<bf16> = (0..elements).map(|i| bf16::from_f32(noise(i))).collect();
    let (a, b) = (Buffer::of(driver, &values)?, Buffer::of(driver, &values)?);
    let output = Buffer::new(driver, a.bytes())?;
    let bias = Buffer::of(driver, &vec![0.0f32; side as usize])?;
    let rows = PidRows { first: 0, count: side, per_sample: side, joint_per_sample: side, joint_first: 0, reserved: 0 };
    let group = PidGroup {
        a: a.address() as *const u16,
        b: b.address() as *const u16,
        bias: bias.address() as *const f32,
        rows,
    };
    let gemm = PidGemm { group: [group; 2], num_groups: 1, n: side, k: side, ldb: side };
    let params = PidLinearParams { gemm, output: output.address() as *mut u16 };
    fastest(driver, launch::gemm("gemm_linear", &gemm, &params))
}

/// Values in [-1, 1): zeros would be faster than anything real, for they draw less power.
fn noise(i: usize) -> f32 {
    let mixed = (i as u32).wrapping_mul(0x9e37_79b9) ^ (i as u32 >> 7);
    (mixed.wrapping_mul(0x85eb_ca6b) >> 8) as f32 / 8_388_608.0 - 1.0
}
