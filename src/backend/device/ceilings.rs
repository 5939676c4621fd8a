//! What the device does at most: a large copy, and a large product through the kernel that the network uses.

use std::sync::Arc;

use half::bf16;
use rayon::prelude::*;

use super::driver::{Command, Driver};
use super::memory::Buffer;
use crate::exec::Ceilings;
use crate::exec::DeviceError;
use crate::kernels::params::{PidGemm, PidGroup, PidLinearParams, PidRows};
use crate::kernels::{KernelCall, OpCall, RowsOfA, Selection};

/// The product, as the network's linears do it.
const OP: &str = "gemm_linear";
/// Rows, columns and inner size of the product: large enough for any GPU of today.
const SIDE: usize = 8192;
/// Bytes copied: far above any cache.
const COPY_BYTES: usize = 1 << 30;
/// Copies timed as one.
const COPIES: usize = 10;
/// Products run before any is timed, and those timed.
const WARM_UP: usize = 3;
const RUNS: usize = 10;

/// Measures both, the product by a kernel of `selection`; needs 1.4 GB for a moment, less where less is free or `most_bytes`
/// is less.
pub(crate) fn measure(
    driver: &Arc<dyn Driver>,
    selection: &Selection,
    most_bytes: Option<usize>,
) -> Result<Ceilings, DeviceError> {
    let free = driver.free_bytes().unwrap_or(u64::MAX) as usize;
    let (side, copied) = sizes(free.min(most_bytes.unwrap_or(usize::MAX)));
    Ok(Ceilings {
        copy_bytes_per_second: copy(driver, copied)?,
        product_flop_per_second: product(driver, selection, side)?,
        product_shape: [side; 3],
        exp_per_second: driver.exp_per_second(),
    })
}

/// Side of the product and bytes of the copy that fit into three quarters of what is free.
fn sizes(free: usize) -> (usize, usize) {
    let room = free / 4 * 3;
    let mut side = SIDE;
    while side > 128 && 6 * side * side > room {
        side /= 2;
    }
    (side, COPY_BYTES.min((room / 2).next_power_of_two() / 2).max(1 << 16))
}

fn copy(driver: &Arc<dyn Driver>, bytes: usize) -> Result<f64, DeviceError> {
    let (from, to) = (Buffer::new(driver, bytes)?, Buffer::new(driver, bytes)?);
    // The first one maps the memory.
    driver.copy_timed(to.address(), from.address(), bytes, 1)?;
    let seconds = driver.copy_timed(to.address(), from.address(), bytes, COPIES)?;
    Ok((2 * bytes * COPIES) as f64 / seconds.max(f64::MIN_POSITIVE))
}

fn product(driver: &Arc<dyn Driver>, selection: &Selection, side: usize) -> Result<f64, DeviceError> {
    let (a, b) = (random(driver, side, 1)?, random(driver, side, 2)?);
    let output = Buffer::new(driver, 2 * side * side)?;
    let bias = Buffer::of(driver, &vec![0.0f32; side])?;
    let call = call(&**driver, selection, [&a, &b, &bias, &output], side)?;
    let calls = [Command::launch("large product", call)];
    for _ in 0..WARM_UP {
        driver.run_timed(&calls)?;
    }
    let mut fastest = f64::INFINITY;
    for _ in 0..RUNS {
        fastest = fastest.min(driver.run_timed(&calls)?);
    }
    Ok(2.0 * (side as f64).powi(3) / fastest.max(f64::MIN_POSITIVE))
}

fn call(
    driver: &dyn Driver,
    selection: &Selection,
    [a, b, bias, output]: [&Buffer; 4],
    side: usize,
) -> Result<KernelCall, DeviceError> {
    let size = side as u32;
    let rows = PidRows { first: 0, count: size, per_sample: size, joint_per_sample: size, joint_first: 0, reserved: 0 };
    let group = PidGroup {
        a: a.address() as *const u16,
        b: b.address() as *const u16,
        bias: bias.address() as *const f32,
        rows,
    };
    let gemm = PidGemm { group: [group; 2], num_groups: 1, n: size, k: size, ldb: size };
    let params = PidLinearParams { gemm, output: output.address() as *mut u16 };
    Ok(selection.launch(driver, &OpCall::product(OP, RowsOfA::Stream, &params))?)
}

/// A square matrix of uniform values: zeros would draw less power, and clock higher, than any network.
fn random(driver: &Arc<dyn Driver>, side: usize, seed: u64) -> Result<Buffer, DeviceError> {
    let value = |i: u64| {
        let mut z = (i + seed * (side * side) as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        bf16::from_f32((z >> 40) as f32 / (1u32 << 23) as f32 - 1.0)
    };
    let values: Vec<bf16> = (0..(side * side) as u64).into_par_iter().map(value).collect();
    Buffer::of(driver, &values)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_fit_into_what_is_free() {
        assert_eq!(sizes(80 << 30), (8192, 1 << 30));
        for free in [3 << 30, 1 << 30, 100 << 20, 10 << 20] {
            let (side, copied) = sizes(free);
            assert!(6 * side * side + 4 * side <= free && 2 * copied <= free, "{free}: {side}, {copied}");
        }
    }

    /// Where there is no GPU, the emulator shows that the product is well formed.
    #[test]
    #[cfg(feature = "emulator")]
    fn the_product_runs() {
        use crate::backend::emulator::Emulator;
        use crate::kernels::KernelChoice;
        for emulator in [Emulator::default(), Emulator::default().with_capability((9, 0))] {
            let selection = Selection::new(&emulator, KernelChoice::Auto);
            let driver: Arc<dyn Driver> = Arc::new(emulator);
            assert!(product(&driver, &selection, 128).unwrap() > 0.0);
        }
        let driver: Arc<dyn Driver> = Arc::new(Emulator::default());
        assert!(copy(&driver, 1 << 16).unwrap() > 0.0);
    }
}
