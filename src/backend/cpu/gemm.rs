//! Matrix products of activations with prepared weights, tile by tile: a task widens a panel of weight rows,
//! multiplies it with a block of activation rows (the crate `gemm-f32` does the arithmetic) and hands the tile
//! to an epilogue, so that neither the float32 weights nor the raw product ever exist as a whole.

use std::cell::RefCell;
use std::ops::Range;

use gemm_common::Parallelism;

use crate::parallel;
use crate::product::{Accumulate, Strided, multiply};
use crate::weights::Matrix;

/// Activation rows of a task. Results of a row do not depend on it.
pub(super) const ROW_BLOCK: usize = 1024;
/// Bytes of widened weights per task, half of a 1 MiB second-level cache each for weights and tile.
const PANEL_BYTES: usize = 1536 << 10;
/// Most columns of a task.
const MAX_PANEL: usize = 128;

/// One factor pair of a tile: `a [rows, K]` times `cols_per_unit` weight rows for each unit.
pub(super) struct Factor<'a> {
    pub a: &'a [f32],
    pub weight: &'a Matrix<'a>,
    pub cols_per_unit: usize,
}

/// A finished piece of the products: for factor f, `values[f]` is `[rows.len(), units.len() * cols_per_unit]`.
pub(super) struct Tile<'t, 'v> {
    pub rows: Range<usize>,
    pub units: Range<usize>,
    pub values: &'t mut [&'v mut [f32]],
}

thread_local! {
    static SCRATCH: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

/// Runs `f` with this thread's scratch of at least `len` floats; contents are arbitrary.
pub(super) fn with_scratch<R>(len: usize, f: impl FnOnce(&mut [f32]) -> R) -> R {
    SCRATCH.with(|cell| match cell.try_borrow_mut() {
        Ok(mut buffer) => {
            if buffer.len() < len {
                buffer.resize(len, 0.0);
            }
            f(&mut buffer[..len])
        }
        // A task stolen while this thread waited inside another one.
        Err(_) => f(&mut vec![0.0; len]),
    })
}

/// Computes `factor.a x factor.weight^T` of every factor in tiles of whole units (columns
/// `unit * cols_per_unit ..`), and calls `epilogue` once per tile, from many threads.
pub(super) fn tiles(rows: usize, units: usize, factors: &[Factor<'_>], epilogue: &(dyn Fn(Tile<'_, '_>) + Sync)) {
    let bytes_per_unit: usize = factors.iter().map(|f| f.cols_per_unit * f.weight.cols() * 4).sum();
    let cols_per_unit = factors.iter().map(|f| f.cols_per_unit).max().unwrap_or(1);
    let panel = (PANEL_BYTES / bytes_per_unit.max(1)).min(MAX_PANEL.div_ceil(cols_per_unit)).clamp(1, units.max(1));
    let panels = units.div_ceil(panel);
    let blocks = rows.div_ceil(ROW_BLOCK);
    parallel::tasks(panels * blocks, &|task| {
        let (p, b) = (task / blocks, task % blocks);
        let units = p * panel..((p + 1) * panel).min(units);
        let rows = b * ROW_BLOCK..((b + 1) * ROW_BLOCK).min(rows);
        run_tile(rows, units, factors, epilogue);
    });
}

fn run_tile(rows: Range<usize>, units: Range<usize>, factors: &[Factor<'_>], epilogue: &dyn Fn(Tile<'_, '_>)) {
    let widened = factors.iter().map(|f| units.len() * f.cols_per_unit * f.weight.cols()).max().unwrap_or(0);
    let tile_lens: Vec<usize> = factors.iter().map(|f| rows.len() * units.len() * f.cols_per_unit).collect();
    with_scratch(widened + tile_lens.iter().sum::<usize>(), |scratch| {
        let (panel, mut rest) = scratch.split_at_mut(widened);
        let mut values = Vec::with_capacity(factors.len());
        for (factor, len) in factors.iter().zip(&tile_lens) {
            let (tile, tail) = rest.split_at_mut(*len);
            rest = tail;
            let k = factor.weight.cols();
            let cols = units.start * factor.cols_per_unit..units.end * factor.cols_per_unit;
            let panel = &mut panel[..cols.len() * k];
            factor.weight.widen_rows(cols.clone(), panel);
            multiply_nt(&factor.a[rows.start * k..rows.end * k], panel, tile, [rows.len(), cols.len(), k]);
            values.push(tile);
        }
        epilogue(Tile { rows, units, values: &mut values });
    });
}

/// `out [m, n] = a [m, k] x b [n, k]^T` on this thread.
pub(super) fn multiply_nt(a: &[f32], b: &[f32], out: &mut [f32], [m, n, k]: [usize; 3]) {
    assert!(a.len() >= m * k && b.len() >= n * k && out.len() >= m * n, "gemm: {m} x {n} x {k} leaves an operand");
    let lhs = Strided { data: a, row: k, col: 1 };
    let rhs = Strided { data: b, row: 1, col: k };
    multiply(lhs, rhs, out, [m, n, k], Accumulate::No, Parallelism::None);
}

/// A buffer that tasks write at places that no two of them share.
pub(super) struct Shared<'a> {
    start: *mut f32,
    len: usize,
    lifetime: std::marker::PhantomData<&'a mut [f32]>,
}

// SAFETY: the only access is `slice`, whose callers promise disjoint ranges.
unsafe impl Sync for Shared<'_> {}
// SAFETY: as above; a float has no thread affinity.
unsafe impl Send for Shared<'_> {}

impl<'a> Shared<'a> {
    pub(super) fn new(buffer: &'a mut [f32]) -> Self {
        Self { start: buffer.as_mut_ptr(), len: buffer.len(), lifetime: std::marker::PhantomData }
    }

    /// Elements `start .. start + len`.
    ///
    /// # Safety
    /// While the slice lives, no other slice of this buffer overlaps it.
    #[allow(clippy::mut_from_ref)]
    pub(super) unsafe fn slice(&self, start: usize, len: usize) -> &mut [f32] {
        assert!(start + len <= self.len, "write of {start}..{} leaves a buffer of {}", start + len, self.len);
        // SAFETY: in bounds by the assertion; exclusive by the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(start), len) }
    }
}
