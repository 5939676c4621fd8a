//! Launches of the sm_90a products (`kernels/*/*_sm90.cu`): tensor maps, tiles and grid, from the parameters that the
//! portable kernel of the same op takes.

use super::KernelCall;
use super::bulk::{Output, RowsProduct, first_joint_row};
use super::params::{
    PidConvParams, PidGemm, PidPixelUpdateParams, PidRows, PidTensorMap, PidTmaGemm, PidTmaGemmStores,
};
use super::tensor_map::{Element, Planes, Swizzle, Tiled};
use crate::backend::device::{DeviceError, Driver};

/// Rows of a tile.
const BLOCK_M: u32 = 128;
/// Inner columns of a slice: 128 bytes, one swizzled row.
const BLOCK_K: u32 = 64;
const THREADS: u32 = 384;
/// Dynamic shared memory that a block may have on sm_90; kernels take as many stages as fit.
const SHARED_BYTES: u32 = 232_448;
/// Of it, what stands ready for bulk stores: two boxes of 16 rows of 64 bf16 for each of 8 warps.
const BOXES_BYTES: u32 = 8 * 2 * 2048;
/// Bytes of shared memory that `gemm_pixel_update*` has beside its ring (`UpdateOperands`).
const UPDATE_OPERANDS_BYTES: u32 = 7552;
/// Grid columns and rows of a convolution's tile.
const CONV_TILE: [u32; 2] = [16, 8];

/// What a kernel's name says of its tiles: `gemm_linear_128x256_pair_sm90`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Columns of a tile.
    pub block_n: u32,
    /// Blocks of a cluster.
    pub cluster: u32,
    /// Columns that threads share out among them: a head.
    pub head: u32,
    /// Whether results leave by bulk stores.
    pub is_bulk: bool,
    /// Bytes of what the epilogue has staged.
    pub staged_bytes: u32,
}

impl Shape {
    /// `None` for a kernel that is none of these.
    pub fn of(kernel: &str) -> Option<Self> {
        let (_, rest) = kernel.split_once("_128x")?;
        let (columns, rest) = rest.split_once('_')?;
        let says = |wanted| rest.split('_').any(|word| word == wanted);
        says("sm90").then_some(())?;
        let head = if kernel.contains("_d72_") { 72 } else { 64 };
        let cluster = if says("pair") { 2 } else { 1 };
        let block_n = columns.parse().ok()?;
        let staged_bytes = staged_bytes(kernel, block_n);
        Some(Self { block_n, cluster, head, is_bulk: says("bulk"), staged_bytes })
    }

    /// Rows of B that are stored for `n` columns ([`super::order::RowOrder::stored_rows`]).
    fn stored(self, n: u32) -> u32 {
        n.next_multiple_of(self.head)
    }

    /// Bytes of dynamic shared memory: boxes, all stages, and their barriers.
    fn shared_bytes(self) -> u32 {
        // With its three barriers.
        let stage = (BLOCK_M + self.block_n) * BLOCK_K * 2 + 24;
        let beside = self.staged_bytes + if self.is_bulk { BOXES_BYTES } else { 0 };
        let stages = (SHARED_BYTES - beside) / stage;
        // What is staged begins at 16 bytes.
        (beside + (stages * stage).next_multiple_of(16)).next_multiple_of(1024)
    }
}

/// Bytes of what the epilogue of `kernel` has staged: arrays by column, for each of two consumers.
fn staged_bytes(kernel: &str, block_n: u32) -> u32 {
    const ARRAYS: [(&str, u32); 4] =
        [("gemm_linear_", 1), ("gemm_swiglu_", 1), ("gemm_residual_", 3), ("gemm_pixel_modulate_", 1)];
    if kernel.starts_with("gemm_pixel_update_") {
        return UPDATE_OPERANDS_BYTES;
    }
    let arrays = ARRAYS.iter().find(|(base, _)| kernel.starts_with(base)).map_or(0, |(_, arrays)| *arrays);
    2 * arrays * block_n * 4
}

/// In which rows of a buffer A lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowsOfA {
    /// By stream row: the group's rows stand together.
    Stream,
    /// By joint row: those of one sample stand together.
    Joint,
}

/// A product whose A lies by rows. `driver` makes the maps and says how many blocks run at a time.
///
/// # Errors
/// When the driver refuses a map: a pointer or row that is not a multiple of 16 bytes. When joint rows, of A or of what
/// is stored by boxes, are parts of several samples.
pub fn gemm<P: RowsProduct>(
    driver: &dyn Driver,
    kernel: &'static str,
    gemm: &PidGemm,
    rows: RowsOfA,
    params: &P,
) -> Result<KernelCall, DeviceError> {
    let shape = shape_of(kernel)?;
    let output = params.output().filter(|_| shape.is_bulk);
    let mut tma = Maps { driver, shape, gemm }.rows(rows, output)?;
    if gemm.num_groups == 1 {
        (tma.a[1], tma.b[1]) = (tma.a[0], tma.b[0]);
    }
    let grid = grid(driver, shape, gemm, &tma);
    if !shape.is_bulk {
        return Ok(KernelCall::with_maps(kernel, grid, THREADS, shape.shared_bytes(), &tma, params));
    }
    let output =
        output.ok_or_else(|| DeviceError::Driver(format!("{kernel}: nothing that bulk stores could write")))?;
    let maps =
        |group: usize| output.maps(driver, &gemm.group[group].rows, [tma.segment_rows[group], tma.segments[group]]);
    let stores = PidTmaGemmStores { gemm: tma, output: [maps(0)?, maps(gemm.num_groups as usize - 1)?] };
    Ok(KernelCall::with_maps(kernel, grid, THREADS, shape.shared_bytes(), &stores, params))
}

/// `gemm_pixel_update*`: a second product with the attention follows the first.
///
/// # Errors
/// As [`gemm()`].
pub fn pixel_update(
    driver: &dyn Driver,
    kernel: &'static str,
    params: &PidPixelUpdateParams,
) -> Result<KernelCall, DeviceError> {
    let shape = shape_of(kernel)?;
    let gemm = &params.gemm;
    let maps = Maps { driver, shape, gemm };
    let mut tma = maps.rows(RowsOfA::Stream, None)?;
    let rows = gemm.group[0].rows;
    tma.a[1] = maps.a(params.attention, params.expand_k, rows.first.into(), [rows.count, 1], 0)?;
    tma.b[1] = maps.b(params.expand, [params.expand_k, gemm.n / 4], params.expand_ldb, shape.block_n / 4)?;
    let grid = grid(driver, shape, gemm, &tma);
    Ok(KernelCall::with_maps(kernel, grid, THREADS, shape.shared_bytes(), &tma, params))
}

/// `conv3x3_tokens_*`.
///
/// # Errors
/// As [`gemm()`].
pub fn conv3x3(driver: &dyn Driver, kernel: &'static str, params: &PidConvParams) -> Result<KernelCall, DeviceError> {
    let shape = shape_of(kernel)?;
    let gemm = &params.gemm;
    let (channels, cols, rows) = (params.channels, params.grid_cols, params.grid_rows);
    let samples = gemm.group[0].rows.count / (cols * rows);
    let token = 2 * u64::from(channels);
    let a = driver.tensor_map(&Tiled {
        element: Element::Bf16,
        address: gemm.group[0].a as u64,
        dims: &[channels, cols, rows, samples].map(u64::from),
        strides: &[token, token * u64::from(cols), token * u64::from(cols * rows)],
        box_dims: &[BLOCK_K, CONV_TILE[0], CONV_TILE[1], 1],
        swizzle: Swizzle::Bytes128,
    })?;
    let b = Maps { driver, shape, gemm }.b(gemm.group[0].b, [gemm.k, shape.stored(gemm.n)], gemm.ldb, shape.block_n)?;
    let tiles = cols.div_ceil(CONV_TILE[0]) * rows.div_ceil(CONV_TILE[1]);
    let tma = PidTmaGemm {
        a: [a; 2],
        b: [b; 2],
        segments: [samples, 0],
        segment_rows: [cols * rows, 0],
        segment_tiles: [tiles.next_multiple_of(shape.cluster), 1],
        reserved: [0; 10],
    };
    let grid = grid(driver, shape, gemm, &tma);
    Ok(KernelCall::with_maps(kernel, grid, THREADS, shape.shared_bytes(), &tma, params))
}

fn shape_of(kernel: &str) -> Result<Shape, DeviceError> {
    Shape::of(kernel).ok_or_else(|| DeviceError::Driver(format!("{kernel}: the name says nothing of an sm_90 tile")))
}

/// Makes the maps of one product.
struct Maps<'a> {
    driver: &'a dyn Driver,
    shape: Shape,
    gemm: &'a PidGemm,
}

impl Maps<'_> {
    /// `output`: what is stored by boxes.
    fn rows(&self, rows: RowsOfA, output: Option<Output>) -> Result<PidTmaGemm, DeviceError> {
        let by_sample = rows == RowsOfA::Joint || output.is_some_and(Output::is_by_sample);
        let empty = PidTensorMap { opaque: [0; 16] };
        let mut tma = PidTmaGemm {
            a: [empty; 2],
            b: [empty; 2],
            segments: [0; 2],
            segment_rows: [0; 2],
            segment_tiles: [1; 2],
            reserved: [0; 10],
        };
        for (i, group) in self.gemm.group[..self.gemm.num_groups as usize].iter().enumerate() {
            let [segment_rows, segments] = segments(&group.rows, by_sample)?;
            let (first, apart) = match rows {
                RowsOfA::Stream => (group.rows.first.into(), group.rows.per_sample),
                RowsOfA::Joint => (first_joint_row(&group.rows, 1), group.rows.joint_per_sample),
            };
            tma.a[i] = self.a(group.a, self.gemm.k, first, [segment_rows, segments], apart)?;
            tma.b[i] =
                self.b(group.b, [self.gemm.k, self.shape.stored(self.gemm.n)], self.gemm.ldb, self.shape.block_n)?;
            tma.segments[i] = segments;
            tma.segment_rows[i] = segment_rows;
            tma.segment_tiles[i] = segment_rows.div_ceil(BLOCK_M).next_multiple_of(self.shape.cluster);
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
    ) -> Result<PidTensorMap, DeviceError> {
        let planes = Planes {
            // A buffer that holds a range only is named by where row 0 would lie.
            address: (base as u64).wrapping_add(first * Element::Bf16.bytes() * u64::from(k)),
            dims: [k, rows, segments],
            apart,
            box_dims: [BLOCK_K, BLOCK_M],
            swizzle: Swizzle::Bytes128,
        };
        planes.map(self.driver)
    }

    /// `n` rows as stored, of `k`.
    fn b(&self, base: *const u16, [k, n]: [u32; 2], ldb: u32, block_n: u32) -> Result<PidTensorMap, DeviceError> {
        self.driver.tensor_map(&Tiled {
            element: Element::Bf16,
            address: base as u64,
            dims: &[k, n].map(u64::from),
            strides: &[2 * u64::from(ldb)],
            box_dims: &[BLOCK_K, block_n / self.shape.cluster],
            swizzle: Swizzle::Bytes128,
        })
    }
}

/// Rows of a segment, and segments: each sample is one where `by_sample`.
fn segments(of: &PidRows, by_sample: bool) -> Result<[u32; 2], DeviceError> {
    let token = of.first % of.per_sample;
    if !by_sample || token + of.count <= of.per_sample {
        Ok([of.count, 1])
    } else if token == 0 && of.count.is_multiple_of(of.per_sample) {
        Ok([of.per_sample, of.count / of.per_sample])
    } else {
        Err(DeviceError::Driver(format!(
            "{} rows from {} on, in samples of {}: one tensor map has whole samples or rows of one",
            of.count, of.first, of.per_sample
        )))
    }
}

/// As many blocks as run at a time, fewer when there is less to do.
fn grid(driver: &dyn Driver, shape: Shape, gemm: &PidGemm, tma: &PidTmaGemm) -> [u32; 3] {
    let tiles: u32 = (0..gemm.num_groups as usize).map(|g| tma.segments[g] * tma.segment_tiles[g]).sum();
    let blocks = tiles * gemm.n.div_ceil(shape.block_n);
    let at_a_time = driver.processor().multiprocessors / shape.cluster * shape.cluster;
    [blocks.min(at_a_time.max(shape.cluster)), 1, 1]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::params::PidRows;

    #[test]
    fn names_say_shapes() {
        let pair = Shape { block_n: 256, cluster: 2, head: 64, is_bulk: false, staged_bytes: 2048 };
        assert_eq!(Shape::of("gemm_linear_128x256_pair_sm90"), Some(pair));
        let bulk = Shape { is_bulk: true, ..pair };
        assert_eq!(Shape::of("gemm_linear_128x256_pair_bulk_sm90"), Some(bulk));
        let heads = Shape { block_n: 144, cluster: 1, head: 72, is_bulk: false, staged_bytes: 0 };
        assert_eq!(Shape::of("gemm_qkv_d72_128x144_pingpong_sm90_no_slot_wait"), Some(heads));
        assert_eq!(Shape::of("gemm_linear"), None);
        // Four stages of 48 KB, also beside the boxes; seven of 32 KB.
        assert_eq!(pair.shared_bytes(), 4 * 49152 + 3072);
        assert_eq!(bulk.shared_bytes(), 4 * 49152 + 32768 + 3072);
        let small = Shape { block_n: 128, staged_bytes: 1024, ..pair };
        assert_eq!(small.shared_bytes(), 7 * 32768 + 2048);
        // Three arrays by column leave room for six.
        assert_eq!(Shape { staged_bytes: 3072, ..small }.shared_bytes(), 6 * 32768 + 4096);
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
