//! Launches of the products (`kernels/sm90/`): tensor maps and a persistent grid, beside the parameters that the
//! portable kernel of the same op takes.

use super::outputs::{self, first_joint_row};
use crate::kernels::call::{KernelCall, Params};
use crate::kernels::entry::Entry;
use crate::kernels::op_call::{Output, Product, RowsOfA};
use crate::kernels::params::{
    PidConvParams, PidGemm, PidPixelUpdateParams, PidRows, PidTensorMap, PidTmaGemm, PidTmaGemmStores,
};
use crate::kernels::target::{LaunchError, Target};
use crate::kernels::tensor_map::{Element, Planes, Swizzle, Tiled};

/// A product whose A lies by rows.
///
/// # Errors
/// When the target refuses a map: a pointer or row that is not a multiple of 16 bytes. When joint rows, of A or of what is
/// stored by boxes, are parts of several samples.
pub(super) fn gemm(target: &dyn Target, entry: &Entry, of: &Product<'_>) -> Result<KernelCall, LaunchError> {
    let gemm = of.gemm;
    entry.check(gemm.n, gemm.k)?;
    let output = of.output.filter(|_| entry.has_bulk_stores());
    let mut tma = Maps { target, entry, gemm }.rows(of.a, output)?;
    if gemm.num_groups == 1 {
        (tma.a[1], tma.b[1]) = (tma.a[0], tma.b[0]);
    }
    let grid = grid(target, entry, gemm, &tma);
    if !entry.has_bulk_stores() {
        return Ok(KernelCall::with_maps(entry, grid, &tma, of.params));
    }
    let output = output.ok_or_else(|| super::no_launch(entry))?;
    let maps = |group: usize| {
        let segments = [tma.segment_rows[group], tma.segments[group]];
        outputs::maps(target, entry.store_box, output, &gemm.group[group].rows, segments)
    };
    let stores = PidTmaGemmStores { gemm: tma, output: [maps(0)?, maps(gemm.num_groups as usize - 1)?] };
    Ok(KernelCall::with_maps(entry, grid, &stores, of.params))
}

/// `gemm_pixel_update*`: a second product with the attention follows the first.
///
/// # Errors
/// As [`gemm()`].
pub(super) fn pixel_update(
    target: &dyn Target,
    entry: &Entry,
    params: &PidPixelUpdateParams,
) -> Result<KernelCall, LaunchError> {
    let gemm = &params.gemm;
    entry.check(gemm.n, gemm.k)?;
    let maps = Maps { target, entry, gemm };
    let mut tma = maps.rows(RowsOfA::Stream, None)?;
    let rows = gemm.group[0].rows;
    tma.a[1] = maps.a(params.attention, params.expand_k, rows.first.into(), [rows.count, 1], 0)?;
    tma.b[1] = maps.b(params.expand, [params.expand_k, gemm.n / 4], params.expand_ldb, entry.tile[1] / 4)?;
    let grid = grid(target, entry, gemm, &tma);
    Ok(KernelCall::with_maps(entry, grid, &tma, Params::of(params)))
}

/// `conv3x3_tokens_*`.
///
/// # Errors
/// As [`gemm()`].
pub(super) fn conv3x3(target: &dyn Target, entry: &Entry, params: &PidConvParams) -> Result<KernelCall, LaunchError> {
    let gemm = &params.gemm;
    entry.check(gemm.n, gemm.k)?;
    let [across, down] = entry.grid_tile;
    let (channels, cols, rows) = (params.channels, params.grid_cols, params.grid_rows);
    let samples = gemm.group[0].rows.count / (cols * rows);
    let token = 2 * u64::from(channels);
    let a = target.tensor_map(&Tiled {
        element: Element::Bf16,
        address: gemm.group[0].a as u64,
        dims: &[channels, cols, rows, samples].map(u64::from),
        strides: &[token, token * u64::from(cols), token * u64::from(cols * rows)],
        box_dims: &[entry.tile[2], across, down, 1],
        swizzle: Swizzle::Bytes128,
    })?;
    let b = Maps { target, entry, gemm }.b(gemm.group[0].b, [gemm.k, stored(entry, gemm)], gemm.ldb, entry.tile[1])?;
    let tiles = cols.div_ceil(across) * rows.div_ceil(down);
    let tma = PidTmaGemm {
        a: [a; 2],
        b: [b; 2],
        segments: [samples, 0],
        segment_rows: [cols * rows, 0],
        segment_tiles: [tiles.next_multiple_of(entry.cluster), 1],
        reserved: [0; 26],
    };
    let grid = grid(target, entry, gemm, &tma);
    Ok(KernelCall::with_maps(entry, grid, &tma, Params::of(params)))
}

/// Rows of B as it is stored.
fn stored(entry: &Entry, gemm: &PidGemm) -> u32 {
    entry.order.stored_rows(gemm.n as usize) as u32
}

/// Makes the maps of one product.
struct Maps<'a> {
    target: &'a dyn Target,
    entry: &'a Entry,
    gemm: &'a PidGemm,
}

impl Maps<'_> {
    /// `output`: what is stored by boxes.
    fn rows(&self, rows: RowsOfA, output: Option<Output>) -> Result<PidTmaGemm, LaunchError> {
        let by_sample = rows == RowsOfA::Joint || output.is_some_and(Output::is_by_sample);
        let empty = PidTensorMap { opaque: [0; 16] };
        let mut tma = PidTmaGemm {
            a: [empty; 2],
            b: [empty; 2],
            segments: [0; 2],
            segment_rows: [0; 2],
            segment_tiles: [1; 2],
            reserved: [0; 26],
        };
        let [block_m, block_n, _] = self.entry.tile;
        for (i, group) in self.gemm.group[..self.gemm.num_groups as usize].iter().enumerate() {
            let [segment_rows, segments] = segments(&group.rows, by_sample)?;
            let (first, apart) = match rows {
                RowsOfA::Stream => (group.rows.first.into(), group.rows.per_sample),
                RowsOfA::Loaded => return Err(super::no_launch(self.entry)),
                RowsOfA::Joint => (first_joint_row(&group.rows, 1), group.rows.joint_per_sample),
            };
            tma.a[i] = self.a(group.a, self.gemm.k, first, [segment_rows, segments], apart)?;
            tma.b[i] = self.b(group.b, [self.gemm.k, stored(self.entry, self.gemm)], self.gemm.ldb, block_n)?;
            tma.segments[i] = segments;
            tma.segment_rows[i] = segment_rows;
            tma.segment_tiles[i] = segment_rows.div_ceil(block_m).next_multiple_of(self.entry.cluster);
        }
        Ok(tma)
    }

    /// `[segment_rows, segments]` rows of `k`; row `first` of `base` is the first, `apart` rows from segment to segment.
    fn a(
        &self,
        base: *const u16,
        k: u32,
        first: u64,
        [rows, segments]: [u32; 2],
        apart: u32,
    ) -> Result<PidTensorMap, LaunchError> {
        let planes = Planes {
            // A buffer that holds a range only is named by where row 0 would lie.
            address: (base as u64).wrapping_add(first * Element::Bf16.bytes() * u64::from(k)),
            dims: [k, rows, segments],
            apart,
            box_dims: [self.entry.tile[2], self.entry.tile[0]],
            swizzle: Swizzle::Bytes128,
        };
        planes.map(self.target)
    }

    /// `n` rows as stored, of `k`.
    fn b(&self, base: *const u16, [k, n]: [u32; 2], ldb: u32, block_n: u32) -> Result<PidTensorMap, LaunchError> {
        self.target.tensor_map(&Tiled {
            element: Element::Bf16,
            address: base as u64,
            dims: &[k, n].map(u64::from),
            strides: &[2 * u64::from(ldb)],
            box_dims: &[self.entry.tile[2], block_n / self.entry.cluster],
            swizzle: Swizzle::Bytes128,
        })
    }
}

/// Rows of a segment, and segments: each sample is one where `by_sample`.
fn segments(of: &PidRows, by_sample: bool) -> Result<[u32; 2], LaunchError> {
    let token = of.first % of.per_sample;
    if !by_sample || token + of.count <= of.per_sample {
        Ok([of.count, 1])
    } else if token == 0 && of.count.is_multiple_of(of.per_sample) {
        Ok([of.per_sample, of.count / of.per_sample])
    } else {
        let PidRows { count, first, per_sample, .. } = *of;
        Err(LaunchError::Rows { count, first, per_sample })
    }
}

/// As many blocks as run at a time, fewer when there is less to do.
fn grid(target: &dyn Target, entry: &Entry, gemm: &PidGemm, tma: &PidTmaGemm) -> [u32; 3] {
    let tiles: u32 = (0..gemm.num_groups as usize).map(|g| tma.segments[g] * tma.segment_tiles[g]).sum();
    let blocks = tiles * gemm.n.div_ceil(entry.tile[1]);
    let at_a_time = target.processor().multiprocessors / entry.cluster * entry.cluster;
    [blocks.min(at_a_time.max(entry.cluster)), 1, 1]
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;
    use crate::kernels::Processor;
    use crate::kernels::family::{Family, Sm90};
    use crate::kernels::op_call::OpCall;
    use crate::kernels::params::{PidEmit, PidGroup, PidLinearParams, PidResidualParams, PidResidualStream};
    use crate::weights::order::RowOrder;

    /// Keeps the dimensions of the maps that are asked for.
    struct Maps(RefCell<Vec<Vec<u64>>>);

    impl Target for Maps {
        fn processor(&self) -> Processor {
            Processor { capability: (9, 0), multiprocessors: 4 }
        }

        fn tensor_map(&self, tiled: &Tiled<'_>) -> Result<PidTensorMap, LaunchError> {
            self.0.borrow_mut().push(tiled.dims.to_vec());
            self.processor().tensor_map(tiled)
        }
    }

    fn product(n: u32) -> PidGemm {
        let rows = PidRows { first: 0, count: 5, per_sample: 5, joint_per_sample: 5, joint_first: 0, reserved: 0 };
        let group = PidGroup { a: std::ptr::null(), b: std::ptr::null(), bias: std::ptr::null(), rows };
        PidGemm { group: [group; 2], num_groups: 1, n, k: 40, ldb: 40 }
    }

    /// The map of B has the rows that are stored, whole blocks of the kernel's order: one more would be read from what lies
    /// behind, one less left out. (Blocks of 16 are rounded up to 16 rows, not to 64.)
    #[test]
    fn the_second_operand_is_mapped_as_it_is_stored() {
        let dims_of_b = |kernel: &str, call: &OpCall<'_>| {
            let maps = Maps(RefCell::default());
            Sm90.launch(&maps, Entry::find(kernel).expect("in the table"), call).map(|_| maps.0.borrow()[1].clone())
        };
        for (n, stored) in [(8, 64), (64, 64), (72, 128), (136, 192)] {
            let params = PidLinearParams { gemm: product(n), output: std::ptr::null_mut() };
            let call = OpCall::product("gemm_linear", RowsOfA::Stream, &params);
            assert_eq!(dims_of_b("gemm_linear_128x256_sm90", &call), Ok(vec![40, stored]), "{n}");
            assert_eq!(RowOrder::Consecutive16 { head: 64 }.stored_rows(n as usize), stored as usize);
        }
        let emit = PidEmit {
            operand: std::ptr::null_mut(),
            scale: std::ptr::null(),
            sums: std::ptr::null_mut(),
            enabled: 0,
            reserved: 0,
        };
        let stream = PidResidualStream { residual: std::ptr::null_mut(), gate: std::ptr::null(), emit };
        let residual = |n| {
            let params = PidResidualParams { gemm: product(n), stream: [stream; 2] };
            dims_of_b("gemm_residual_128x256_sm90", &OpCall::product("gemm_residual", RowsOfA::Joint, &params))
        };
        assert_eq!(residual(192), Ok(vec![40, 192]));
        let error = residual(80).map_err(|e| e.to_string());
        assert_eq!(error, Err("gemm_residual_128x256_sm90: n = 80, a multiple of 64 expected".into()));
        assert_eq!(RowOrder::Groups16.stored_rows(80), 80);
    }

    #[test]
    fn joint_rows_are_cut_at_samples() {
        let rows =
            |first, count| PidRows { first, count, per_sample: 40, joint_per_sample: 50, joint_first: 10, reserved: 0 };
        let segments = |rows, by_sample| segments(&rows, by_sample).map_err(|e| e.to_string());
        assert_eq!(segments(rows(0, 120), true), Ok([40, 3]));
        assert_eq!(segments(rows(85, 7), true), Ok([7, 1]));
        assert_eq!(segments(rows(85, 70), false), Ok([70, 1]));
        for (first, count) in [(85, 36), (0, 50)] {
            let error = segments(rows(first, count), true).expect_err("rows of two samples");
            assert!(error.contains(&format!("{count} rows from {first} on, in samples of 40")), "{error}");
        }
    }
}
