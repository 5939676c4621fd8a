//! Launch shapes: grid, block and shared memory of every kernel, from its parameters. The other half of the contract in
//! the headers of `kernels/*/*.cu`; lowering and the kernel tests both launch through these.

mod attention_sm90;

pub use attention_sm90::attention_sm90;

use super::KernelCall;
use super::params::{
    PidAttentionParams, PidGemm, PidGroupNormParams, PidImageParams, PidNoiseParams, PidPixelEmbedParams,
    PidSampleStepParams,
};

/// Rows of a tile of every matrix product (`kernels/gemm/tile.cuh`).
pub const BLOCK_M: u32 = 128;
/// Side of a patch, in pixels.
const PATCH: u32 = 16;

/// Columns of a tile: one head of 72, or of two of 64, for each column of warps.
fn block_n(kernel: &str) -> u32 {
    if kernel.starts_with("gemm_qkv_d72") { 144 } else { 128 }
}

/// A matrix product or an implicit one (`gemm_*`, `conv3x3_*`), whose sizes are in `gemm`.
pub fn gemm<P: Copy>(kernel: &'static str, gemm: &PidGemm, params: &P) -> KernelCall {
    let block_n = block_n(kernel);
    let groups = &gemm.group[..gemm.num_groups as usize];
    let row_tiles: u32 = groups.iter().map(|g| g.rows.count.div_ceil(BLOCK_M)).sum();
    // Three stages of 32 columns of A and B in bf16.
    let shared = (3 * (BLOCK_M + block_n) * 32 * 2).next_multiple_of(1024);
    KernelCall::new(kernel, [row_tiles * gemm.n.div_ceil(block_n), 1, 1], 128, shared, params)
}

/// A kernel with a warp for each row (`rows_*`).
pub fn rows<P: Copy>(kernel: &'static str, num_rows: u32, params: &P) -> KernelCall {
    KernelCall::new(kernel, [num_rows.div_ceil(8), 1, 1], 256, 0, params)
}

/// Attention (`attention_*`); the head size is the kernel's last two digits, before the name of a fault if any.
pub fn attention(kernel: &'static str, params: &PidAttentionParams) -> KernelCall {
    // Bytes from row to row of keys and values in shared memory.
    let stride = if kernel.contains("_d64") { 144 } else { 176 };
    let grid = [(params.tokens - params.query_start).div_ceil(128), params.batch * params.heads, 1];
    // Two stages of 64 keys and 64 values; the queries pass through the same bytes.
    KernelCall::new(kernel, grid, 128, 4 * 64 * stride, params)
}

/// `group_norm_sums`, or a fault of it.
pub fn group_norm_sums(kernel: &'static str, params: &PidGroupNormParams) -> KernelCall {
    KernelCall::new(kernel, [params.slabs, params.groups, params.batch], 256, 64, params)
}

/// `group_norm_apply`, or a fault of it.
pub fn group_norm_apply(kernel: &'static str, params: &PidGroupNormParams) -> KernelCall {
    let blocks = (params.tokens * params.channels / 8).div_ceil(256);
    KernelCall::new(kernel, [blocks, 1, params.batch], 256, 256, params)
}

/// `pixel_embed`: a block for each patch.
pub fn pixel_embed(kernel: &'static str, params: &PidPixelEmbedParams) -> KernelCall {
    KernelCall::new(kernel, [params.batch * params.grid_rows * params.grid_cols, 1, 1], PATCH * PATCH, 1024, params)
}

/// `sample_step`: a block for each patch.
pub fn sample_step(kernel: &'static str, params: &PidSampleStepParams) -> KernelCall {
    let patches = params.batch * params.sample.grid_rows * params.sample.grid_cols;
    KernelCall::new(kernel, [patches, 1, 1], PATCH * PATCH, 0, params)
}

/// `philox_normal`.
pub fn noise(kernel: &'static str, params: &PidNoiseParams) -> KernelCall {
    // At most 2^31 - 1 blocks: 2^41 values.
    KernelCall::new(kernel, [params.count.div_ceil(1024) as u32, 1, 1], 256, 0, params)
}

/// `image_u8`.
pub fn image_u8(kernel: &'static str, params: &PidImageParams) -> KernelCall {
    KernelCall::new(kernel, [(params.height * params.width).div_ceil(1024), 1, params.batch], 256, 0, params)
}
