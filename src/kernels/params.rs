//! Parameter structs of the CUDA kernels.
//!
//! Generated from `kernels/params.h` and `kernels/tensor_map.h` by `tools/check-bindings`: edit that, then run it.

#![allow(dead_code)]

/// A kernel takes it inside its `__grid_constant__` parameters, and copies name it by its address there.
#[repr(C)]
#[repr(align(128))]
#[derive(Debug, Copy, Clone)]
pub struct PidTensorMap {
    pub opaque: [u64; 16usize],
}

#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of PidTensorMap"][::core::mem::size_of::<PidTensorMap>() - 128usize];
    ["Alignment of PidTensorMap"][::core::mem::align_of::<PidTensorMap>() - 128usize];
    ["Offset of field: PidTensorMap::opaque"][::core::mem::offset_of!(PidTensorMap, opaque) - 0usize];
};

/// Rows of one token stream that a launch covers, and where they lie in joint `[B, N, X]` buffers.
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct PidRows {
    /// First row, in the stream's own `[B * per_sample]` row space.
    pub first: u32,
    /// Number of rows.
    pub count: u32,
    /// Rows of one sample (T or L).
    pub per_sample: u32,
    /// Rows of one sample in joint buffers (N; equal to per_sample where there is one stream).
    pub joint_per_sample: u32,
    /// Joint row of a sample's first row (0 for text, T for the image).
    pub joint_first: u32,
    pub reserved: u32,
}

#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of PidRows"][::core::mem::size_of::<PidRows>() - 24usize];
    ["Alignment of PidRows"][::core::mem::align_of::<PidRows>() - 4usize];
    ["Offset of field: PidRows::first"][::core::mem::offset_of!(PidRows, first) - 0usize];
    ["Offset of field: PidRows::count"][::core::mem::offset_of!(PidRows, count) - 4usize];
    ["Offset of field: PidRows::per_sample"][::core::mem::offset_of!(PidRows, per_sample) - 8usize];
    ["Offset of field: PidRows::joint_per_sample"][::core::mem::offset_of!(PidRows, joint_per_sample) - 12usize];
    ["Offset of field: PidRows::joint_first"][::core::mem::offset_of!(PidRows, joint_first) - 16usize];
    ["Offset of field: PidRows::reserved"][::core::mem::offset_of!(PidRows, reserved) - 20usize];
};

/// One group of a grouped matrix product `A [rows, k] x B [n, k]^T`.
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct PidGroup {
    /// bf16, `k` wide; row space as the kernel says. Rows are 16-byte aligned.
    pub a: *const u16,
    /// bf16 `[n, ldb]`, zeros beyond k.
    pub b: *const u16,
    /// float32 `[n]`; all zeros where the layer has none.
    pub bias: *const f32,
    pub rows: PidRows,
}

#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of PidGroup"][::core::mem::size_of::<PidGroup>() - 48usize];
    ["Alignment of PidGroup"][::core::mem::align_of::<PidGroup>() - 8usize];
    ["Offset of field: PidGroup::a"][::core::mem::offset_of!(PidGroup, a) - 0usize];
    ["Offset of field: PidGroup::b"][::core::mem::offset_of!(PidGroup, b) - 8usize];
    ["Offset of field: PidGroup::bias"][::core::mem::offset_of!(PidGroup, bias) - 16usize];
    ["Offset of field: PidGroup::rows"][::core::mem::offset_of!(PidGroup, rows) - 24usize];
};

/// Sizes of a grouped matrix product.
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct PidGemm {
    /// Text first where there are two streams.
    pub group: [PidGroup; 2usize],
    pub num_groups: u32,
    /// Output columns.
    pub n: u32,
    /// Inner size, a multiple of 8.
    pub k: u32,
    /// Elements from row to row of B, a multiple of 8, at least k.
    pub ldb: u32,
}

#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of PidGemm"][::core::mem::size_of::<PidGemm>() - 112usize];
    ["Alignment of PidGemm"][::core::mem::align_of::<PidGemm>() - 8usize];
    ["Offset of field: PidGemm::group"][::core::mem::offset_of!(PidGemm, group) - 0usize];
    ["Offset of field: PidGemm::num_groups"][::core::mem::offset_of!(PidGemm, num_groups) - 96usize];
    ["Offset of field: PidGemm::n"][::core::mem::offset_of!(PidGemm, n) - 100usize];
    ["Offset of field: PidGemm::k"][::core::mem::offset_of!(PidGemm, k) - 104usize];
    ["Offset of field: PidGemm::ldb"][::core::mem::offset_of!(PidGemm, ldb) - 108usize];
};

/// What a product on sm_90 loads by bulk copies (TMA), and how its rows are cut into tiles. In the parameters of
/// `gemm_*_sm90` and `conv3x3_*_sm90` it stands before the struct that the portable kernel takes.
#[repr(C)]
#[repr(align(128))]
#[derive(Debug, Copy, Clone)]
pub struct PidTmaGemm {
    /// A of each group, bf16 (k, rows of a segment, segments), boxes (64, 128, 1); convolutions (channels, grid columns, grid
    /// rows, samples), boxes (64, 16, 8, 1). pixel_update has the attention in the second. 128-byte swizzle, as all.
    pub a: [PidTensorMap; 2usize],
    /// B of each group, bf16 (k, n), boxes (64, columns of a tile / blocks of a cluster). pixel_update has the expansion in the
    /// second. Rows are in the order that wgmma's accumulators give to the threads (`kernels::order`).
    pub b: [PidTensorMap; 2usize],
    /// Runs of rows that lie one after the other in A and in what is stored by boxes: 1, or where one of them is by joint
    /// row the samples.
    pub segments: [u32; 2usize],
    /// Rows of a segment.
    pub segment_rows: [u32; 2usize],
    /// Tiles of 128 rows of a segment, rounded up to whole clusters.
    pub segment_tiles: [u32; 2usize],
    pub reserved: [u32; 26usize],
}

#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of PidTmaGemm"][::core::mem::size_of::<PidTmaGemm>() - 640usize];
    ["Alignment of PidTmaGemm"][::core::mem::align_of::<PidTmaGemm>() - 128usize];
    ["Offset of field: PidTmaGemm::a"][::core::mem::offset_of!(PidTmaGemm, a) - 0usize];
    ["Offset of field: PidTmaGemm::b"][::core::mem::offset_of!(PidTmaGemm, b) - 256usize];
    ["Offset of field: PidTmaGemm::segments"][::core::mem::offset_of!(PidTmaGemm, segments) - 512usize];
    ["Offset of field: PidTmaGemm::segment_rows"][::core::mem::offset_of!(PidTmaGemm, segment_rows) - 520usize];
    ["Offset of field: PidTmaGemm::segment_tiles"][::core::mem::offset_of!(PidTmaGemm, segment_tiles) - 528usize];
    ["Offset of field: PidTmaGemm::reserved"][::core::mem::offset_of!(PidTmaGemm, reserved) - 536usize];
};

/// The same where results leave by bulk stores too (`*_bulk_sm90`). Row tiles do not straddle a segment.
#[repr(C)]
#[repr(align(128))]
#[derive(Debug, Copy, Clone)]
pub struct PidTmaGemmStores {
    pub gemm: PidTmaGemm,
    /// Outputs of each group, bf16, boxes (64, 16, 1), 128-byte swizzle; rows are those of A's segments, nothing else is
    /// written. linear (n, rows, 1); swiglu (n / 2, rows, segments); qkv has q, k and v (64, rows, segments * heads), others
    /// the first alone, three times.
    pub output: [[PidTensorMap; 3usize]; 2usize],
}

#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of PidTmaGemmStores"][::core::mem::size_of::<PidTmaGemmStores>() - 1408usize];
    ["Alignment of PidTmaGemmStores"][::core::mem::align_of::<PidTmaGemmStores>() - 128usize];
    ["Offset of field: PidTmaGemmStores::gemm"][::core::mem::offset_of!(PidTmaGemmStores, gemm) - 0usize];
    ["Offset of field: PidTmaGemmStores::output"][::core::mem::offset_of!(PidTmaGemmStores, output) - 640usize];
};

/// RMS norm and modulation folded into a product: `y = acc / rms + shift_product`, where A already holds x * scale.
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct PidFold {
    /// Sums of squares of x over slices of 64 columns, float32 `[rows, hidden / 64]`, by stream row.
    pub sums: *const f32,
    /// `shift W^T`, float32 `[n]`.
    pub shift_product: *const f32,
}

#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of PidFold"][::core::mem::size_of::<PidFold>() - 16usize];
    ["Alignment of PidFold"][::core::mem::align_of::<PidFold>() - 8usize];
    ["Offset of field: PidFold::sums"][::core::mem::offset_of!(PidFold, sums) - 0usize];
    ["Offset of field: PidFold::shift_product"][::core::mem::offset_of!(PidFold, shift_product) - 8usize];
};

/// What the next product reads of a stream x: `operand = bf16(x * scale)` and sums of squares.
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct PidEmit {
    /// bf16 `[rows, hidden]`, by stream row.
    pub operand: *mut u16,
    /// float32 `[hidden]`.
    pub scale: *const f32,
    /// float32 `[rows, hidden / 64]`.
    pub sums: *mut f32,
    /// 0: nobody reads it, nothing is written.
    pub enabled: u32,
    pub reserved: u32,
}

#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of PidEmit"][::core::mem::size_of::<PidEmit>() - 32usize];
    ["Alignment of PidEmit"][::core::mem::align_of::<PidEmit>() - 8usize];
    ["Offset of field: PidEmit::operand"][::core::mem::offset_of!(PidEmit, operand) - 0usize];
    ["Offset of field: PidEmit::scale"][::core::mem::offset_of!(PidEmit, scale) - 8usize];
    ["Offset of field: PidEmit::sums"][::core::mem::offset_of!(PidEmit, sums) - 16usize];
    ["Offset of field: PidEmit::enabled"][::core::mem::offset_of!(PidEmit, enabled) - 24usize];
    ["Offset of field: PidEmit::reserved"][::core::mem::offset_of!(PidEmit, reserved) - 28usize];
};

/// gemm_linear: `output = A W^T + bias`. A by stream row.
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct PidLinearParams {
    pub gemm: PidGemm,
    /// bf16 `[rows, n]`, by stream row.
    pub output: *mut u16,
}

#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of PidLinearParams"][::core::mem::size_of::<PidLinearParams>() - 120usize];
    ["Alignment of PidLinearParams"][::core::mem::align_of::<PidLinearParams>() - 8usize];
    ["Offset of field: PidLinearParams::gemm"][::core::mem::offset_of!(PidLinearParams, gemm) - 0usize];
    ["Offset of field: PidLinearParams::output"][::core::mem::offset_of!(PidLinearParams, output) - 112usize];
};

/// Where a product reads float32 rows that it rounds to bf16 itself.
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct PidEmbedParams {
    /// `a` of the group is unused.
    pub gemm: PidGemm,
    /// gemm_embed_patch: image `[B, 3, H, W]`; gemm_embed_rows: `[rows, k]`.
    pub source: *const f32,
    /// float32 `[rows, n]`.
    pub output: *mut f32,
    /// Written by gemm_embed_patch alone.
    pub emit: PidEmit,
    /// Picture size in pixels, multiples of 16 (patch alone).
    pub height: u32,
    pub width: u32,
}

#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of PidEmbedParams"][::core::mem::size_of::<PidEmbedParams>() - 168usize];
    ["Alignment of PidEmbedParams"][::core::mem::align_of::<PidEmbedParams>() - 8usize];
    ["Offset of field: PidEmbedParams::gemm"][::core::mem::offset_of!(PidEmbedParams, gemm) - 0usize];
    ["Offset of field: PidEmbedParams::source"][::core::mem::offset_of!(PidEmbedParams, source) - 112usize];
    ["Offset of field: PidEmbedParams::output"][::core::mem::offset_of!(PidEmbedParams, output) - 120usize];
    ["Offset of field: PidEmbedParams::emit"][::core::mem::offset_of!(PidEmbedParams, emit) - 128usize];
    ["Offset of field: PidEmbedParams::height"][::core::mem::offset_of!(PidEmbedParams, height) - 160usize];
    ["Offset of field: PidEmbedParams::width"][::core::mem::offset_of!(PidEmbedParams, width) - 164usize];
};

/// One stream's share of a PidQkvParams.
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct PidQkvStream {
    pub fold: PidFold,
    /// float32 `[head_dim]`; q's with the softmax scale and log2(e) multiplied in.
    pub q_norm: *const f32,
    pub k_norm: *const f32,
    /// (cos, sin) of the even and of the odd pairs of a head, `[positions, head_dim / 4, 2]` float32 each.
    pub rotary_even: *const f32,
    pub rotary_odd: *const f32,
    /// Image: pair tables are indexed by column and row of the patch grid. Text: both by the token; 0 here.
    pub grid_cols: u32,
    pub reserved: u32,
}

#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of PidQkvStream"][::core::mem::size_of::<PidQkvStream>() - 56usize];
    ["Alignment of PidQkvStream"][::core::mem::align_of::<PidQkvStream>() - 8usize];
    ["Offset of field: PidQkvStream::fold"][::core::mem::offset_of!(PidQkvStream, fold) - 0usize];
    ["Offset of field: PidQkvStream::q_norm"][::core::mem::offset_of!(PidQkvStream, q_norm) - 16usize];
    ["Offset of field: PidQkvStream::k_norm"][::core::mem::offset_of!(PidQkvStream, k_norm) - 24usize];
    ["Offset of field: PidQkvStream::rotary_even"][::core::mem::offset_of!(PidQkvStream, rotary_even) - 32usize];
    ["Offset of field: PidQkvStream::rotary_odd"][::core::mem::offset_of!(PidQkvStream, rotary_odd) - 40usize];
    ["Offset of field: PidQkvStream::grid_cols"][::core::mem::offset_of!(PidQkvStream, grid_cols) - 48usize];
    ["Offset of field: PidQkvStream::reserved"][::core::mem::offset_of!(PidQkvStream, reserved) - 52usize];
};

/// gemm_qkv: projection, per-head RMS norm of q and k, rotary, split into heads. A by stream row.
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct PidQkvParams {
    pub gemm: PidGemm,
    pub stream: [PidQkvStream; 2usize],
    /// bf16 `[B, heads, N, head_dim]` each.
    pub q: *mut u16,
    pub k: *mut u16,
    pub v: *mut u16,
    pub heads: u32,
    pub reserved: u32,
}

#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of PidQkvParams"][::core::mem::size_of::<PidQkvParams>() - 256usize];
    ["Alignment of PidQkvParams"][::core::mem::align_of::<PidQkvParams>() - 8usize];
    ["Offset of field: PidQkvParams::gemm"][::core::mem::offset_of!(PidQkvParams, gemm) - 0usize];
    ["Offset of field: PidQkvParams::stream"][::core::mem::offset_of!(PidQkvParams, stream) - 112usize];
    ["Offset of field: PidQkvParams::q"][::core::mem::offset_of!(PidQkvParams, q) - 224usize];
    ["Offset of field: PidQkvParams::k"][::core::mem::offset_of!(PidQkvParams, k) - 232usize];
    ["Offset of field: PidQkvParams::v"][::core::mem::offset_of!(PidQkvParams, v) - 240usize];
    ["Offset of field: PidQkvParams::heads"][::core::mem::offset_of!(PidQkvParams, heads) - 248usize];
    ["Offset of field: PidQkvParams::reserved"][::core::mem::offset_of!(PidQkvParams, reserved) - 252usize];
};

/// gemm_swiglu: columns 2i and 2i + 1 of the product are w1 and w3; `output = silu(w1 z) (w3 z)`. A by stream row.
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct PidSwiGluParams {
    pub gemm: PidGemm,
    pub fold: [PidFold; 2usize],
    /// bf16 `[joint rows, n / 2]`.
    pub output: *mut u16,
}

#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of PidSwiGluParams"][::core::mem::size_of::<PidSwiGluParams>() - 152usize];
    ["Alignment of PidSwiGluParams"][::core::mem::align_of::<PidSwiGluParams>() - 8usize];
    ["Offset of field: PidSwiGluParams::gemm"][::core::mem::offset_of!(PidSwiGluParams, gemm) - 0usize];
    ["Offset of field: PidSwiGluParams::fold"][::core::mem::offset_of!(PidSwiGluParams, fold) - 112usize];
    ["Offset of field: PidSwiGluParams::output"][::core::mem::offset_of!(PidSwiGluParams, output) - 144usize];
};

/// One stream's share of a PidResidualParams.
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct PidResidualStream {
    /// float32 `[rows, n]`, updated.
    pub residual: *mut f32,
    /// float32 `[n]`.
    pub gate: *const f32,
    pub emit: PidEmit,
}

#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of PidResidualStream"][::core::mem::size_of::<PidResidualStream>() - 48usize];
    ["Alignment of PidResidualStream"][::core::mem::align_of::<PidResidualStream>() - 8usize];
    ["Offset of field: PidResidualStream::residual"][::core::mem::offset_of!(PidResidualStream, residual) - 0usize];
    ["Offset of field: PidResidualStream::gate"][::core::mem::offset_of!(PidResidualStream, gate) - 8usize];
    ["Offset of field: PidResidualStream::emit"][::core::mem::offset_of!(PidResidualStream, emit) - 16usize];
};

/// gemm_residual: `residual += gate (A W^T + bias)`. A by joint row, residual by stream row.
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct PidResidualParams {
    pub gemm: PidGemm,
    pub stream: [PidResidualStream; 2usize],
}

#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of PidResidualParams"][::core::mem::size_of::<PidResidualParams>() - 208usize];
    ["Alignment of PidResidualParams"][::core::mem::align_of::<PidResidualParams>() - 8usize];
    ["Offset of field: PidResidualParams::gemm"][::core::mem::offset_of!(PidResidualParams, gemm) - 0usize];
    ["Offset of field: PidResidualParams::stream"][::core::mem::offset_of!(PidResidualParams, stream) - 112usize];
};

/// Latent gates. gemm_latent_gate (per token and channel): `stream += sigmoid(A W^T + half - alpha sigma) features`;
/// rows_latent_gate (per token): the product is a dot with `gate_weight`.
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct PidLatentGateParams {
    /// bias is unused: it is in feature_half. rows_latent_gate reads nothing but the first group's rows and n = hidden.
    pub gemm: PidGemm,
    /// float32 `[rows, hidden]`, updated.
    pub stream: *mut f32,
    /// bf16 `[rows, hidden]`.
    pub features: *const u16,
    /// bf16 `[rows, hidden]`, or `[rows]` per token.
    pub feature_half: *const u16,
    /// float32 `[B]`.
    pub sigma: *const f32,
    /// float32 `[hidden]`; per token alone.
    pub gate_weight: *const f32,
    pub emit: PidEmit,
    /// exp(log_alpha).
    pub alpha: f32,
    pub reserved: u32,
}

#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of PidLatentGateParams"][::core::mem::size_of::<PidLatentGateParams>() - 192usize];
    ["Alignment of PidLatentGateParams"][::core::mem::align_of::<PidLatentGateParams>() - 8usize];
    ["Offset of field: PidLatentGateParams::gemm"][::core::mem::offset_of!(PidLatentGateParams, gemm) - 0usize];
    ["Offset of field: PidLatentGateParams::stream"][::core::mem::offset_of!(PidLatentGateParams, stream) - 112usize];
    ["Offset of field: PidLatentGateParams::features"]
        [::core::mem::offset_of!(PidLatentGateParams, features) - 120usize];
    ["Offset of field: PidLatentGateParams::feature_half"]
        [::core::mem::offset_of!(PidLatentGateParams, feature_half) - 128usize];
    ["Offset of field: PidLatentGateParams::sigma"][::core::mem::offset_of!(PidLatentGateParams, sigma) - 136usize];
    ["Offset of field: PidLatentGateParams::gate_weight"]
        [::core::mem::offset_of!(PidLatentGateParams, gate_weight) - 144usize];
    ["Offset of field: PidLatentGateParams::emit"][::core::mem::offset_of!(PidLatentGateParams, emit) - 152usize];
    ["Offset of field: PidLatentGateParams::alpha"][::core::mem::offset_of!(PidLatentGateParams, alpha) - 184usize];
    ["Offset of field: PidLatentGateParams::reserved"]
        [::core::mem::offset_of!(PidLatentGateParams, reserved) - 188usize];
};

/// Ops on whole rows of a stream: rows_text_norm, rows_restart, rows_time_silu.
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct PidRowsParams {
    /// float32 `[rows, hidden]`, updated.
    pub stream: *mut f32,
    /// rows_restart: float32 `[rows, hidden]` to start from. Others: the stream itself.
    pub source: *const f32,
    /// float32 `[hidden]`: rows_text_norm the norm's weight, rows_time_silu the time embedding.
    pub vector: *const f32,
    /// rows_text_norm: bf16 `[>= rows_per_sample, hidden]` added after the norm.
    pub position: *const u16,
    /// rows_restart and rows_time_silu.
    pub emit: PidEmit,
    pub num_rows: u32,
    pub rows_per_sample: u32,
    pub hidden: u32,
    pub reserved: u32,
}

#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of PidRowsParams"][::core::mem::size_of::<PidRowsParams>() - 80usize];
    ["Alignment of PidRowsParams"][::core::mem::align_of::<PidRowsParams>() - 8usize];
    ["Offset of field: PidRowsParams::stream"][::core::mem::offset_of!(PidRowsParams, stream) - 0usize];
    ["Offset of field: PidRowsParams::source"][::core::mem::offset_of!(PidRowsParams, source) - 8usize];
    ["Offset of field: PidRowsParams::vector"][::core::mem::offset_of!(PidRowsParams, vector) - 16usize];
    ["Offset of field: PidRowsParams::position"][::core::mem::offset_of!(PidRowsParams, position) - 24usize];
    ["Offset of field: PidRowsParams::emit"][::core::mem::offset_of!(PidRowsParams, emit) - 32usize];
    ["Offset of field: PidRowsParams::num_rows"][::core::mem::offset_of!(PidRowsParams, num_rows) - 64usize];
    ["Offset of field: PidRowsParams::rows_per_sample"]
        [::core::mem::offset_of!(PidRowsParams, rows_per_sample) - 68usize];
    ["Offset of field: PidRowsParams::hidden"][::core::mem::offset_of!(PidRowsParams, hidden) - 72usize];
    ["Offset of field: PidRowsParams::reserved"][::core::mem::offset_of!(PidRowsParams, reserved) - 76usize];
};

/// rows_lookup: `output[r] = table[ids[r]]`, NaN where an id names no row of the table.
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct PidLookupParams {
    /// int32 `[num_rows]`.
    pub ids: *const i32,
    /// bf16 `[num_entries, hidden]`.
    pub table: *const u16,
    /// float32 `[num_rows, hidden]`.
    pub output: *mut f32,
    pub emit: PidEmit,
    pub num_rows: u32,
    pub num_entries: u32,
    pub hidden: u32,
    pub reserved: u32,
}

#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of PidLookupParams"][::core::mem::size_of::<PidLookupParams>() - 72usize];
    ["Alignment of PidLookupParams"][::core::mem::align_of::<PidLookupParams>() - 8usize];
    ["Offset of field: PidLookupParams::ids"][::core::mem::offset_of!(PidLookupParams, ids) - 0usize];
    ["Offset of field: PidLookupParams::table"][::core::mem::offset_of!(PidLookupParams, table) - 8usize];
    ["Offset of field: PidLookupParams::output"][::core::mem::offset_of!(PidLookupParams, output) - 16usize];
    ["Offset of field: PidLookupParams::emit"][::core::mem::offset_of!(PidLookupParams, emit) - 24usize];
    ["Offset of field: PidLookupParams::num_rows"][::core::mem::offset_of!(PidLookupParams, num_rows) - 56usize];
    ["Offset of field: PidLookupParams::num_entries"][::core::mem::offset_of!(PidLookupParams, num_entries) - 60usize];
    ["Offset of field: PidLookupParams::hidden"][::core::mem::offset_of!(PidLookupParams, hidden) - 64usize];
    ["Offset of field: PidLookupParams::reserved"][::core::mem::offset_of!(PidLookupParams, reserved) - 68usize];
};

/// gemm_pixel_modulate: columns are `[pixel, shift | scale, 16]`;
/// `output = rms(pixels; norm) (1 + scale) + shift`. A by stream row.
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct PidPixelModulateParams {
    pub gemm: PidGemm,
    /// bf16 `[rows, n / 32, 16]`.
    pub pixels: *const u16,
    /// bf16 `[rows, n / 2]`.
    pub output: *mut u16,
    /// float32 `[16]`.
    pub norm: *const f32,
}

#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of PidPixelModulateParams"][::core::mem::size_of::<PidPixelModulateParams>() - 136usize];
    ["Alignment of PidPixelModulateParams"][::core::mem::align_of::<PidPixelModulateParams>() - 8usize];
    ["Offset of field: PidPixelModulateParams::gemm"][::core::mem::offset_of!(PidPixelModulateParams, gemm) - 0usize];
    ["Offset of field: PidPixelModulateParams::pixels"]
        [::core::mem::offset_of!(PidPixelModulateParams, pixels) - 112usize];
    ["Offset of field: PidPixelModulateParams::output"]
        [::core::mem::offset_of!(PidPixelModulateParams, output) - 120usize];
    ["Offset of field: PidPixelModulateParams::norm"][::core::mem::offset_of!(PidPixelModulateParams, norm) - 128usize];
};

/// How the last pixel block ends a step of the sampler.
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct PidSample {
    /// float32 `[B, 3, H, W]`, updated.
    pub image: *mut f32,
    /// float32 `[B, 3, H, W]`; read when add_noise.
    pub noise: *const f32,
    /// float32 `[B, 3, H, W]`; written when store_velocity.
    pub velocity: *mut f32,
    /// float32 `[16]`: norm of the final layer.
    pub norm: *const f32,
    /// float32 `[3, 16]` and `[3]`.
    pub weight: *const f32,
    pub bias: *const f32,
    /// x0 = image - t v; then image = keep x0 + noise_scale noise (sde), or image + velocity_scale v (ode).
    pub t: f32,
    pub keep: f32,
    pub noise_scale: f32,
    pub velocity_scale: f32,
    pub add_noise: u32,
    pub is_ode: u32,
    pub store_velocity: u32,
    /// Patch grid.
    pub grid_rows: u32,
    pub grid_cols: u32,
    pub reserved: u32,
}

#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of PidSample"][::core::mem::size_of::<PidSample>() - 88usize];
    ["Alignment of PidSample"][::core::mem::align_of::<PidSample>() - 8usize];
    ["Offset of field: PidSample::image"][::core::mem::offset_of!(PidSample, image) - 0usize];
    ["Offset of field: PidSample::noise"][::core::mem::offset_of!(PidSample, noise) - 8usize];
    ["Offset of field: PidSample::velocity"][::core::mem::offset_of!(PidSample, velocity) - 16usize];
    ["Offset of field: PidSample::norm"][::core::mem::offset_of!(PidSample, norm) - 24usize];
    ["Offset of field: PidSample::weight"][::core::mem::offset_of!(PidSample, weight) - 32usize];
    ["Offset of field: PidSample::bias"][::core::mem::offset_of!(PidSample, bias) - 40usize];
    ["Offset of field: PidSample::t"][::core::mem::offset_of!(PidSample, t) - 48usize];
    ["Offset of field: PidSample::keep"][::core::mem::offset_of!(PidSample, keep) - 52usize];
    ["Offset of field: PidSample::noise_scale"][::core::mem::offset_of!(PidSample, noise_scale) - 56usize];
    ["Offset of field: PidSample::velocity_scale"][::core::mem::offset_of!(PidSample, velocity_scale) - 60usize];
    ["Offset of field: PidSample::add_noise"][::core::mem::offset_of!(PidSample, add_noise) - 64usize];
    ["Offset of field: PidSample::is_ode"][::core::mem::offset_of!(PidSample, is_ode) - 68usize];
    ["Offset of field: PidSample::store_velocity"][::core::mem::offset_of!(PidSample, store_velocity) - 72usize];
    ["Offset of field: PidSample::grid_rows"][::core::mem::offset_of!(PidSample, grid_rows) - 76usize];
    ["Offset of field: PidSample::grid_cols"][::core::mem::offset_of!(PidSample, grid_cols) - 80usize];
    ["Offset of field: PidSample::reserved"][::core::mem::offset_of!(PidSample, reserved) - 84usize];
};

/// gemm_pixel_update: columns of the first product are `[pixel, gate_a | shift | scale | gate_m, 16]`, of the second
/// (attention x expand^T) `[pixel, 16]`. `pixels += gate_a (second)`, then
/// `pixels += gate_m fc2(gelu(fc1(rms(pixels; norm) (1 + scale) + shift)))`. A by stream row.
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct PidPixelUpdateParams {
    pub gemm: PidGemm,
    /// bf16 `[rows, expand_k]`.
    pub attention: *const u16,
    /// bf16 `[n / 4, expand_ldb]`, and float32 `[n / 4]`.
    pub expand: *const u16,
    pub expand_bias: *const f32,
    /// bf16 `[rows, n / 64, 16]`, updated.
    pub pixels: *mut u16,
    /// float32 `[16]`.
    pub norm: *const f32,
    /// bf16 `[64, 16]`, float32 `[64]`, bf16 `[16, 64]`, float32 `[16]`.
    pub fc1: *const u16,
    pub fc1_bias: *const f32,
    pub fc2: *const u16,
    pub fc2_bias: *const f32,
    pub expand_k: u32,
    pub expand_ldb: u32,
    /// Applied by gemm_pixel_update_sample alone, which does not store the pixels.
    pub sample: PidSample,
}

#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of PidPixelUpdateParams"][::core::mem::size_of::<PidPixelUpdateParams>() - 280usize];
    ["Alignment of PidPixelUpdateParams"][::core::mem::align_of::<PidPixelUpdateParams>() - 8usize];
    ["Offset of field: PidPixelUpdateParams::gemm"][::core::mem::offset_of!(PidPixelUpdateParams, gemm) - 0usize];
    ["Offset of field: PidPixelUpdateParams::attention"]
        [::core::mem::offset_of!(PidPixelUpdateParams, attention) - 112usize];
    ["Offset of field: PidPixelUpdateParams::expand"][::core::mem::offset_of!(PidPixelUpdateParams, expand) - 120usize];
    ["Offset of field: PidPixelUpdateParams::expand_bias"]
        [::core::mem::offset_of!(PidPixelUpdateParams, expand_bias) - 128usize];
    ["Offset of field: PidPixelUpdateParams::pixels"][::core::mem::offset_of!(PidPixelUpdateParams, pixels) - 136usize];
    ["Offset of field: PidPixelUpdateParams::norm"][::core::mem::offset_of!(PidPixelUpdateParams, norm) - 144usize];
    ["Offset of field: PidPixelUpdateParams::fc1"][::core::mem::offset_of!(PidPixelUpdateParams, fc1) - 152usize];
    ["Offset of field: PidPixelUpdateParams::fc1_bias"]
        [::core::mem::offset_of!(PidPixelUpdateParams, fc1_bias) - 160usize];
    ["Offset of field: PidPixelUpdateParams::fc2"][::core::mem::offset_of!(PidPixelUpdateParams, fc2) - 168usize];
    ["Offset of field: PidPixelUpdateParams::fc2_bias"]
        [::core::mem::offset_of!(PidPixelUpdateParams, fc2_bias) - 176usize];
    ["Offset of field: PidPixelUpdateParams::expand_k"]
        [::core::mem::offset_of!(PidPixelUpdateParams, expand_k) - 184usize];
    ["Offset of field: PidPixelUpdateParams::expand_ldb"]
        [::core::mem::offset_of!(PidPixelUpdateParams, expand_ldb) - 188usize];
    ["Offset of field: PidPixelUpdateParams::sample"][::core::mem::offset_of!(PidPixelUpdateParams, sample) - 192usize];
};

/// pixel_embed: `pixels = W rgb + bias + position code`; see the op.
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct PidPixelEmbedParams {
    /// float32 `[B, 3, H, W]`.
    pub image: *const f32,
    /// bf16 `[B * L, 256, 16]`.
    pub pixels: *mut u16,
    /// float32 `[16, 3]` and `[16]`.
    pub weight: *const f32,
    pub bias: *const f32,
    pub batch: u32,
    pub grid_rows: u32,
    pub grid_cols: u32,
    pub reserved: u32,
}

#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of PidPixelEmbedParams"][::core::mem::size_of::<PidPixelEmbedParams>() - 48usize];
    ["Alignment of PidPixelEmbedParams"][::core::mem::align_of::<PidPixelEmbedParams>() - 8usize];
    ["Offset of field: PidPixelEmbedParams::image"][::core::mem::offset_of!(PidPixelEmbedParams, image) - 0usize];
    ["Offset of field: PidPixelEmbedParams::pixels"][::core::mem::offset_of!(PidPixelEmbedParams, pixels) - 8usize];
    ["Offset of field: PidPixelEmbedParams::weight"][::core::mem::offset_of!(PidPixelEmbedParams, weight) - 16usize];
    ["Offset of field: PidPixelEmbedParams::bias"][::core::mem::offset_of!(PidPixelEmbedParams, bias) - 24usize];
    ["Offset of field: PidPixelEmbedParams::batch"][::core::mem::offset_of!(PidPixelEmbedParams, batch) - 32usize];
    ["Offset of field: PidPixelEmbedParams::grid_rows"]
        [::core::mem::offset_of!(PidPixelEmbedParams, grid_rows) - 36usize];
    ["Offset of field: PidPixelEmbedParams::grid_cols"]
        [::core::mem::offset_of!(PidPixelEmbedParams, grid_cols) - 40usize];
    ["Offset of field: PidPixelEmbedParams::reserved"]
        [::core::mem::offset_of!(PidPixelEmbedParams, reserved) - 44usize];
};

/// sample_step: the final layer and the sampler's step on stored pixels.
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct PidSampleStepParams {
    /// bf16 `[B * L, 256, 16]`.
    pub pixels: *const u16,
    pub sample: PidSample,
    pub batch: u32,
    pub reserved: u32,
}

#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of PidSampleStepParams"][::core::mem::size_of::<PidSampleStepParams>() - 104usize];
    ["Alignment of PidSampleStepParams"][::core::mem::align_of::<PidSampleStepParams>() - 8usize];
    ["Offset of field: PidSampleStepParams::pixels"][::core::mem::offset_of!(PidSampleStepParams, pixels) - 0usize];
    ["Offset of field: PidSampleStepParams::sample"][::core::mem::offset_of!(PidSampleStepParams, sample) - 8usize];
    ["Offset of field: PidSampleStepParams::batch"][::core::mem::offset_of!(PidSampleStepParams, batch) - 96usize];
    ["Offset of field: PidSampleStepParams::reserved"]
        [::core::mem::offset_of!(PidSampleStepParams, reserved) - 100usize];
};

/// attention: `output[b, i, h] = softmax2(q k^T) v`, softmax2 with base 2 and no scale (both are in q).
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct PidAttentionParams {
    /// bf16 `[B, heads, tokens, head_dim]` each.
    pub q: *const u16,
    pub k: *const u16,
    pub v: *const u16,
    /// bf16 `[B, tokens, heads * head_dim]`.
    pub output: *mut u16,
    pub batch: u32,
    pub heads: u32,
    pub tokens: u32,
    /// Queries before this one are not computed.
    pub query_start: u32,
}

#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of PidAttentionParams"][::core::mem::size_of::<PidAttentionParams>() - 48usize];
    ["Alignment of PidAttentionParams"][::core::mem::align_of::<PidAttentionParams>() - 8usize];
    ["Offset of field: PidAttentionParams::q"][::core::mem::offset_of!(PidAttentionParams, q) - 0usize];
    ["Offset of field: PidAttentionParams::k"][::core::mem::offset_of!(PidAttentionParams, k) - 8usize];
    ["Offset of field: PidAttentionParams::v"][::core::mem::offset_of!(PidAttentionParams, v) - 16usize];
    ["Offset of field: PidAttentionParams::output"][::core::mem::offset_of!(PidAttentionParams, output) - 24usize];
    ["Offset of field: PidAttentionParams::batch"][::core::mem::offset_of!(PidAttentionParams, batch) - 32usize];
    ["Offset of field: PidAttentionParams::heads"][::core::mem::offset_of!(PidAttentionParams, heads) - 36usize];
    ["Offset of field: PidAttentionParams::tokens"][::core::mem::offset_of!(PidAttentionParams, tokens) - 40usize];
    ["Offset of field: PidAttentionParams::query_start"]
        [::core::mem::offset_of!(PidAttentionParams, query_start) - 44usize];
};

/// The same by bulk copies. Boxes, columns first: q 64 x 16, k and v 64 x the kernel's keys, swizzle 128; output head_dim x
/// 16, swizzle 128 for heads of 64, none for 72.
#[repr(C)]
#[repr(align(128))]
#[derive(Debug, Copy, Clone)]
pub struct PidAttentionSm90Params {
    /// bf16 `[B * heads, tokens, head_dim]` each.
    pub q: PidTensorMap,
    pub k: PidTensorMap,
    pub v: PidTensorMap,
    /// bf16 `[B, tokens, heads * head_dim]`, written.
    pub output: PidTensorMap,
    /// The same tensors by address.
    pub op: PidAttentionParams,
    pub reserved: [u32; 20usize],
}

#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of PidAttentionSm90Params"][::core::mem::size_of::<PidAttentionSm90Params>() - 640usize];
    ["Alignment of PidAttentionSm90Params"][::core::mem::align_of::<PidAttentionSm90Params>() - 128usize];
    ["Offset of field: PidAttentionSm90Params::q"][::core::mem::offset_of!(PidAttentionSm90Params, q) - 0usize];
    ["Offset of field: PidAttentionSm90Params::k"][::core::mem::offset_of!(PidAttentionSm90Params, k) - 128usize];
    ["Offset of field: PidAttentionSm90Params::v"][::core::mem::offset_of!(PidAttentionSm90Params, v) - 256usize];
    ["Offset of field: PidAttentionSm90Params::output"]
        [::core::mem::offset_of!(PidAttentionSm90Params, output) - 384usize];
    ["Offset of field: PidAttentionSm90Params::op"][::core::mem::offset_of!(PidAttentionSm90Params, op) - 512usize];
    ["Offset of field: PidAttentionSm90Params::reserved"]
        [::core::mem::offset_of!(PidAttentionSm90Params, reserved) - 560usize];
};

/// conv3x3 on the patch grid, tokens in raster order. Weights `[n, ldb]`, `k = tap * channels + channel`.
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct PidConvParams {
    /// rows: all tokens of all samples. `a`: bf16 `[B * L, channels]` (conv3x3_tokens), unused by conv3x3_latent.
    pub gemm: PidGemm,
    /// conv3x3_latent: float32 `[B, channels * unpatchify^2, latent_rows, latent_cols]`.
    pub latent: *const f32,
    /// bf16 `[B * L, n]`.
    pub output: *mut u16,
    pub channels: u32,
    pub grid_rows: u32,
    pub grid_cols: u32,
    pub latent_rows: u32,
    pub latent_cols: u32,
    pub unpatchify: u32,
    /// 1: border pixels repeat; 0: zeros.
    pub replicate: u32,
    /// 1: silu of the sum.
    pub silu: u32,
    /// 1: add what output holds.
    pub accumulate: u32,
    pub reserved: u32,
}

#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of PidConvParams"][::core::mem::size_of::<PidConvParams>() - 168usize];
    ["Alignment of PidConvParams"][::core::mem::align_of::<PidConvParams>() - 8usize];
    ["Offset of field: PidConvParams::gemm"][::core::mem::offset_of!(PidConvParams, gemm) - 0usize];
    ["Offset of field: PidConvParams::latent"][::core::mem::offset_of!(PidConvParams, latent) - 112usize];
    ["Offset of field: PidConvParams::output"][::core::mem::offset_of!(PidConvParams, output) - 120usize];
    ["Offset of field: PidConvParams::channels"][::core::mem::offset_of!(PidConvParams, channels) - 128usize];
    ["Offset of field: PidConvParams::grid_rows"][::core::mem::offset_of!(PidConvParams, grid_rows) - 132usize];
    ["Offset of field: PidConvParams::grid_cols"][::core::mem::offset_of!(PidConvParams, grid_cols) - 136usize];
    ["Offset of field: PidConvParams::latent_rows"][::core::mem::offset_of!(PidConvParams, latent_rows) - 140usize];
    ["Offset of field: PidConvParams::latent_cols"][::core::mem::offset_of!(PidConvParams, latent_cols) - 144usize];
    ["Offset of field: PidConvParams::unpatchify"][::core::mem::offset_of!(PidConvParams, unpatchify) - 148usize];
    ["Offset of field: PidConvParams::replicate"][::core::mem::offset_of!(PidConvParams, replicate) - 152usize];
    ["Offset of field: PidConvParams::silu"][::core::mem::offset_of!(PidConvParams, silu) - 156usize];
    ["Offset of field: PidConvParams::accumulate"][::core::mem::offset_of!(PidConvParams, accumulate) - 160usize];
    ["Offset of field: PidConvParams::reserved"][::core::mem::offset_of!(PidConvParams, reserved) - 164usize];
};

/// group_norm_sums, then group_norm_apply: `output = silu((input - mean) / sqrt(var + 1e-5) * weight + bias)`.
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct PidGroupNormParams {
    /// bf16 `[B, tokens, channels]`.
    pub input: *const u16,
    /// bf16 `[B, tokens, channels]`; may be the input.
    pub output: *mut u16,
    /// float32 `[channels]`.
    pub weight: *const f32,
    pub bias: *const f32,
    /// float32 `[B, groups, slabs, 2]`: sum and sum of squares of each slab of tokens.
    pub sums: *mut f32,
    pub batch: u32,
    pub tokens: u32,
    pub channels: u32,
    pub groups: u32,
    pub slabs: u32,
    pub reserved: u32,
}

#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of PidGroupNormParams"][::core::mem::size_of::<PidGroupNormParams>() - 64usize];
    ["Alignment of PidGroupNormParams"][::core::mem::align_of::<PidGroupNormParams>() - 8usize];
    ["Offset of field: PidGroupNormParams::input"][::core::mem::offset_of!(PidGroupNormParams, input) - 0usize];
    ["Offset of field: PidGroupNormParams::output"][::core::mem::offset_of!(PidGroupNormParams, output) - 8usize];
    ["Offset of field: PidGroupNormParams::weight"][::core::mem::offset_of!(PidGroupNormParams, weight) - 16usize];
    ["Offset of field: PidGroupNormParams::bias"][::core::mem::offset_of!(PidGroupNormParams, bias) - 24usize];
    ["Offset of field: PidGroupNormParams::sums"][::core::mem::offset_of!(PidGroupNormParams, sums) - 32usize];
    ["Offset of field: PidGroupNormParams::batch"][::core::mem::offset_of!(PidGroupNormParams, batch) - 40usize];
    ["Offset of field: PidGroupNormParams::tokens"][::core::mem::offset_of!(PidGroupNormParams, tokens) - 44usize];
    ["Offset of field: PidGroupNormParams::channels"][::core::mem::offset_of!(PidGroupNormParams, channels) - 48usize];
    ["Offset of field: PidGroupNormParams::groups"][::core::mem::offset_of!(PidGroupNormParams, groups) - 52usize];
    ["Offset of field: PidGroupNormParams::slabs"][::core::mem::offset_of!(PidGroupNormParams, slabs) - 56usize];
    ["Offset of field: PidGroupNormParams::reserved"][::core::mem::offset_of!(PidGroupNormParams, reserved) - 60usize];
};

/// philox_normal: standard normal values, element i from (seed, draw, i) alone.
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct PidNoiseParams {
    pub output: *mut f32,
    /// One 64-bit seed in device memory, so that a recorded launch can be replayed with another.
    pub seed: *const u64,
    pub count: u64,
    pub draw: u32,
    pub reserved: u32,
}

#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of PidNoiseParams"][::core::mem::size_of::<PidNoiseParams>() - 32usize];
    ["Alignment of PidNoiseParams"][::core::mem::align_of::<PidNoiseParams>() - 8usize];
    ["Offset of field: PidNoiseParams::output"][::core::mem::offset_of!(PidNoiseParams, output) - 0usize];
    ["Offset of field: PidNoiseParams::seed"][::core::mem::offset_of!(PidNoiseParams, seed) - 8usize];
    ["Offset of field: PidNoiseParams::count"][::core::mem::offset_of!(PidNoiseParams, count) - 16usize];
    ["Offset of field: PidNoiseParams::draw"][::core::mem::offset_of!(PidNoiseParams, draw) - 24usize];
    ["Offset of field: PidNoiseParams::reserved"][::core::mem::offset_of!(PidNoiseParams, reserved) - 28usize];
};

/// image_u8: `[B, 3, H, W]` in [-1, 1] to `[B, H, W, 3]` bytes, `round((x + 1) * 127.5)`, clamped.
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct PidImageParams {
    pub image: *const f32,
    pub output: *mut u8,
    pub batch: u32,
    pub height: u32,
    pub width: u32,
    pub reserved: u32,
}

#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of PidImageParams"][::core::mem::size_of::<PidImageParams>() - 32usize];
    ["Alignment of PidImageParams"][::core::mem::align_of::<PidImageParams>() - 8usize];
    ["Offset of field: PidImageParams::image"][::core::mem::offset_of!(PidImageParams, image) - 0usize];
    ["Offset of field: PidImageParams::output"][::core::mem::offset_of!(PidImageParams, output) - 8usize];
    ["Offset of field: PidImageParams::batch"][::core::mem::offset_of!(PidImageParams, batch) - 16usize];
    ["Offset of field: PidImageParams::height"][::core::mem::offset_of!(PidImageParams, height) - 20usize];
    ["Offset of field: PidImageParams::width"][::core::mem::offset_of!(PidImageParams, width) - 24usize];
    ["Offset of field: PidImageParams::reserved"][::core::mem::offset_of!(PidImageParams, reserved) - 28usize];
};
