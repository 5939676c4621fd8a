//! Parameter structs of the kernels that test the intrinsics.
//!
//! Generated from `kernels/params_tests.h` by `tools/check-bindings`: edit that, then run it.

#![allow(dead_code)]

use pid_engine::kernels::params::PidTensorMap;

/// Kernels that need nothing but words.
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct PidMicroParams {
    /// As the kernel says.
    pub input: *const u32,
    /// As the kernel says.
    pub output: *mut u32,
}

#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of PidMicroParams"][::core::mem::size_of::<PidMicroParams>() - 16usize];
    ["Alignment of PidMicroParams"][::core::mem::align_of::<PidMicroParams>() - 8usize];
    ["Offset of field: PidMicroParams::input"][::core::mem::offset_of!(PidMicroParams, input) - 0usize];
    ["Offset of field: PidMicroParams::output"][::core::mem::offset_of!(PidMicroParams, output) - 8usize];
};

/// micro_tma_*: one box of `map`.
#[repr(C)]
#[repr(align(128))]
#[derive(Debug, Copy, Clone)]
pub struct PidMicroTmaParams {
    pub map: PidTensorMap,
    /// Stores: the box as it lies in shared memory, `box_bytes`. micro_bulk_load: `box_bytes` of source.
    pub input: *const u32,
    /// Loads: shared memory after the load, `box_bytes`.
    pub output: *mut u32,
    /// Innermost first; as many as the map's rank.
    pub coordinates: [i32; 4usize],
    /// At most 32768, a multiple of 16.
    pub box_bytes: u32,
    pub reserved: [u32; 23usize],
}

#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of PidMicroTmaParams"][::core::mem::size_of::<PidMicroTmaParams>() - 256usize];
    ["Alignment of PidMicroTmaParams"][::core::mem::align_of::<PidMicroTmaParams>() - 128usize];
    ["Offset of field: PidMicroTmaParams::map"][::core::mem::offset_of!(PidMicroTmaParams, map) - 0usize];
    ["Offset of field: PidMicroTmaParams::input"][::core::mem::offset_of!(PidMicroTmaParams, input) - 128usize];
    ["Offset of field: PidMicroTmaParams::output"][::core::mem::offset_of!(PidMicroTmaParams, output) - 136usize];
    ["Offset of field: PidMicroTmaParams::coordinates"]
        [::core::mem::offset_of!(PidMicroTmaParams, coordinates) - 144usize];
    ["Offset of field: PidMicroTmaParams::box_bytes"][::core::mem::offset_of!(PidMicroTmaParams, box_bytes) - 160usize];
    ["Offset of field: PidMicroTmaParams::reserved"][::core::mem::offset_of!(PidMicroTmaParams, reserved) - 164usize];
};

/// micro_wgmma_*: `d = A B^T` or `d = c + A B^T` with K = 64.
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct PidMicroWgmmaParams {
    /// bf16 `[64, 64]`, and `[n, 64]`.
    pub a: *const u16,
    pub b: *const u16,
    /// Accumulators by thread, float32 `[128, n / 2]`.
    pub c: *const f32,
    pub d: *mut f32,
    /// 0: c is not read.
    pub accumulate: u32,
    pub reserved: u32,
}

#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of PidMicroWgmmaParams"][::core::mem::size_of::<PidMicroWgmmaParams>() - 40usize];
    ["Alignment of PidMicroWgmmaParams"][::core::mem::align_of::<PidMicroWgmmaParams>() - 8usize];
    ["Offset of field: PidMicroWgmmaParams::a"][::core::mem::offset_of!(PidMicroWgmmaParams, a) - 0usize];
    ["Offset of field: PidMicroWgmmaParams::b"][::core::mem::offset_of!(PidMicroWgmmaParams, b) - 8usize];
    ["Offset of field: PidMicroWgmmaParams::c"][::core::mem::offset_of!(PidMicroWgmmaParams, c) - 16usize];
    ["Offset of field: PidMicroWgmmaParams::d"][::core::mem::offset_of!(PidMicroWgmmaParams, d) - 24usize];
    ["Offset of field: PidMicroWgmmaParams::accumulate"]
        [::core::mem::offset_of!(PidMicroWgmmaParams, accumulate) - 32usize];
    ["Offset of field: PidMicroWgmmaParams::reserved"]
        [::core::mem::offset_of!(PidMicroWgmmaParams, reserved) - 36usize];
};

/// micro_pipeline: `D = A B^T` by TMA and wgmma. Boxes: a 64 x 64 and b 64 x 64 bf16, swizzle 128; d 32 x 64 float32, no
/// swizzle; columns first.
#[repr(C)]
#[repr(align(128))]
#[derive(Debug, Copy, Clone)]
pub struct PidMicroPipelineParams {
    /// bf16 `[m, k]`.
    pub a: PidTensorMap,
    /// bf16 `[n, k]`.
    pub b: PidTensorMap,
    /// float32 `[m, n]`, written.
    pub d: PidTensorMap,
    /// ceil(k / 64).
    pub num_k_tiles: u32,
    pub reserved: [u32; 31usize],
}

#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of PidMicroPipelineParams"][::core::mem::size_of::<PidMicroPipelineParams>() - 512usize];
    ["Alignment of PidMicroPipelineParams"][::core::mem::align_of::<PidMicroPipelineParams>() - 128usize];
    ["Offset of field: PidMicroPipelineParams::a"][::core::mem::offset_of!(PidMicroPipelineParams, a) - 0usize];
    ["Offset of field: PidMicroPipelineParams::b"][::core::mem::offset_of!(PidMicroPipelineParams, b) - 128usize];
    ["Offset of field: PidMicroPipelineParams::d"][::core::mem::offset_of!(PidMicroPipelineParams, d) - 256usize];
    ["Offset of field: PidMicroPipelineParams::num_k_tiles"]
        [::core::mem::offset_of!(PidMicroPipelineParams, num_k_tiles) - 384usize];
    ["Offset of field: PidMicroPipelineParams::reserved"]
        [::core::mem::offset_of!(PidMicroPipelineParams, reserved) - 388usize];
};
