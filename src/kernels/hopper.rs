//! Launches of the sm_90a products (`kernels/*/*_sm90.cu`): tensor maps, tiles and grid, from the parameters that the
//! portable kernel of the same op takes.

use super::KernelCall;
use super::params::{PidConvParams, PidGemm, PidGroup, PidPixelUpdateParams, PidTensorMap, PidTmaGemm};
use super::tensor_map::{Element, Swizzle, Tiled};
use crate::backend::device::{DeviceError, Driver};

/// Rows of a tile.
const BLOCK_M: u32 = 128;
/// Inner columns of a slice: 128 bytes, one swizzled row.
const BLOCK_K: u32 = 64;
const THREADS: u32 = 384;
/// Dynamic shared memory that a block may have on sm_90; kernels take as many stages as fit.
const SHARED_BYTES: u32 = 232_448;
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
}

impl Shape {
    /// `None` for a kernel that is none of these.
    pub fn of(kernel: &str) -> Option<Self> {
        let (_, rest) = kernel.split_once("_128x")?;
        let (columns, rest) = rest.split_once('_')?;
        let is_pair = rest.split('_').any(|word| word == "pair");
        rest.split('_').any(|word| word == "sm90").then_some(())?;
        let head = if kernel.contains("_d72_") { 72 } else { 64 };
        Some(Self { block_n: columns.parse().ok()?, cluster: if is_pair { 2 } else { 1 }, head })
    }

    /// Rows of B that are stored for `n` columns ([`super::order::RowOrder::stored_rows`]).
    fn stored(self, n: u32) -> u32 {
        n.next_multiple_of(self.head)
    }

    /// Bytes of dynamic shared memory: all stages, and their barriers.
    fn shared_bytes(self) -> u32 {
        let stage = (BLOCK_M + self.block_n) * BLOCK_K * 2;
        let stages = (SHARED_BYTES - 1024) / stage;
        (stages * stage + 24 * stages).next_multiple_of(1024)
    }
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
/// When the driver refuses a map: a pointer or row that is not a multiple of 16 bytes. When joint rows are parts of
/// several samples.
pub fn gemm<P: Copy>(
    driver: &dyn Driver,
    kernel: &'static str,
    gemm: &PidGemm,
    rows: RowsOfA,
    params: &P,
) -> Result<KernelCall, DeviceError> {
    let shape = shape_of(kernel)?;
    let mut tma = Maps { driver, shape, gemm }.rows(rows)?;
    if gemm.num_groups == 1 {
        (tma.a[1], tma.b[1]) = (tma.a[0], tma.b[0]);
    }
    Ok(call(driver, kernel, shape, gemm, &tma, params))
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
    let mut tma = maps.rows(RowsOfA::Stream)?;
    let rows = gemm.group[0].rows;
    tma.a[1] = maps.a(params.attention, params.expand_k, rows.first, [rows.count, 1], 0)?;
    tma.b[1] = maps.b(params.expand, [params.expand_k, gemm.n / 4], params.expand_ldb, shape.block_n / 4)?;
    Ok(call(driver, kernel, shape, gemm, &tma, params))
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
    Ok(call(driver, kernel, shape, gemm, &tma, params))
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
    fn rows(&self, rows: RowsOfA) -> Result<PidTmaGemm, DeviceError> {
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
            let (segment_rows, segments, first, apart) = segments(group, rows)?;
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
        first: u32,
        [rows, segments]: [u32; 2],
        apart: u32,
    ) -> Result<PidTensorMap, DeviceError> {
        let row = 2 * u64::from(k);
        self.driver.tensor_map(&Tiled {
            element: Element::Bf16,
            // A buffer that holds a range only is named by where row 0 would lie.
            address: (base as u64).wrapping_add(u64::from(first) * row),
            dims: &[k, rows, segments].map(u64::from),
            strides: &[row, row * u64::from(apart.max(rows))],
            box_dims: &[BLOCK_K, BLOCK_M, 1],
            swizzle: Swizzle::Bytes128,
        })
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

/// Rows of a segment, segments, the first row in A's buffer, and rows from segment to segment.
fn segments(group: &PidGroup, rows: RowsOfA) -> Result<(u32, u32, u32, u32), DeviceError> {
    let of = group.rows;
    if rows == RowsOfA::Stream {
        return Ok((of.count, 1, of.first, 0));
    }
    let (sample, token) = (of.first / of.per_sample, of.first % of.per_sample);
    let first = sample * of.joint_per_sample + of.joint_first + token;
    if token == 0 && of.count.is_multiple_of(of.per_sample) {
        Ok((of.per_sample, of.count / of.per_sample, first, of.joint_per_sample))
    } else if token + of.count <= of.per_sample {
        Ok((of.count, 1, first, of.joint_per_sample))
    } else {
        Err(DeviceError::Driver(format!(
            "{} rows from {} on, in samples of {}: one tensor map has whole samples or rows of one",
            of.count, of.first, of.per_sample
        )))
    }
}

/// The launch: as many blocks as run at a time, fewer when there is less to do.
fn call<P: Copy>(
    driver: &dyn Driver,
    kernel: &'static str,
    shape: Shape,
    gemm: &PidGemm,
    tma: &PidTmaGemm,
    params: &P,
) -> KernelCall {
    let tiles: u32 = (0..gemm.num_groups as usize).map(|g| tma.segments[g] * tma.segment_tiles[g]).sum();
    let blocks = tiles * gemm.n.div_ceil(shape.block_n);
    let at_a_time = driver.processor().multiprocessors / shape.cluster * shape.cluster;
    let grid = [blocks.min(at_a_time.max(shape.cluster)), 1, 1];
    KernelCall::with_maps(kernel, grid, THREADS, shape.shared_bytes(), tma, params)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::params::PidRows;

    #[test]
    fn names_say_shapes() {
        assert_eq!(Shape::of("gemm_linear_128x256_pair_sm90"), Some(Shape { block_n: 256, cluster: 2, head: 64 }));
        assert_eq!(
            Shape::of("gemm_qkv_d72_128x144_pingpong_sm90_no_slot_wait"),
            Some(Shape { block_n: 144, cluster: 1, head: 72 })
        );
        assert_eq!(Shape::of("gemm_linear"), None);
        // Four stages of 48 KB; seven of 32 KB.
        assert_eq!(Shape { block_n: 256, cluster: 1, head: 64 }.shared_bytes(), 4 * 49152 + 1024);
        assert_eq!(Shape { block_n: 128, cluster: 2, head: 64 }.shared_bytes(), 7 * 32768 + 1024);
    }

    #[test]
    fn joint_rows_are_cut_at_samples() {
        let rows =
            |first, count| PidRows { first, count, per_sample: 40, joint_per_sample: 50, joint_first: 10, reserved: 0 };
        let group = |rows| PidGroup { a: std::ptr::null(), b: std::ptr::null(), bias: std::ptr::null(), rows };
        let segments = |rows, of| segments(&group(rows), of).map_err(|e| e.to_string());
        assert_eq!(segments(rows(0, 120), RowsOfA::Joint), Ok((40, 3, 10, 50)));
        assert_eq!(segments(rows(85, 7), RowsOfA::Joint), Ok((7, 1, 115, 50)));
        assert_eq!(segments(rows(85, 70), RowsOfA::Stream), Ok((70, 1, 85, 0)));
        for (first, count) in [(85, 36), (0, 50)] {
            let error = segments(rows(first, count), RowsOfA::Joint).expect_err("rows of two samples");
            assert!(error.contains(&format!("{count} rows from {first} on, in samples of 40")), "{error}");
        }
    }
}
