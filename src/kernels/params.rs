//! Parameter structs of the CUDA kernels.
//!
//! Generated from `kernels/params.h` by `tools/check-bindings`: edit that, then run it.

#![allow(dead_code)]

/// Dimensions of a sampled tensor: at most this many.
pub const PID_SAMPLE_RANK: u32 = 4;
/// A scale.
pub const PID_SAMPLE_SCALE: f32 = 0.5;
#[repr(u32)]
/// What follows the sum.
#[derive(Debug, Copy, Clone, Hash, PartialEq, Eq)]
pub enum PidSampleActivation {
    /// Nothing.
    None = 0,
    /// GELU, by its tanh approximation.
    GeluTanh = 1,
    /// x * sigmoid(x).
    Silu = 2,
}

/// Where a tensor's elements are.
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct PidSampleShape {
    /// Elements along each axis, outermost first.
    pub sizes: [u32; 4usize],
    /// Elements from one index to the next.
    ///
    /// Two paragraphs.
    pub strides: [i64; 4usize],
}

#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of PidSampleShape"][::core::mem::size_of::<PidSampleShape>() - 48usize];
    ["Alignment of PidSampleShape"][::core::mem::align_of::<PidSampleShape>() - 8usize];
    ["Offset of field: PidSampleShape::sizes"][::core::mem::offset_of!(PidSampleShape, sizes) - 0usize];
    ["Offset of field: PidSampleShape::strides"][::core::mem::offset_of!(PidSampleShape, strides) - 16usize];
};

/// Parameters of the sample kernel.
///
/// Rounds once, at the end: `y = activation(x + bias)`.
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct PidSampleParams {
    /// bf16, `shape` elements.
    pub x: *const u16,
    /// One for each of the last axis; null where there is none.
    pub bias: *const f32,
    /// bf16, as `x`.
    pub y: *mut u16,
    pub shape: PidSampleShape,
    pub activation: PidSampleActivation,
    /// Of `x`,
    /// on two lines.
    pub scale: f32,
    pub count: u32,
}

#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of PidSampleParams"][::core::mem::size_of::<PidSampleParams>() - 88usize];
    ["Alignment of PidSampleParams"][::core::mem::align_of::<PidSampleParams>() - 8usize];
    ["Offset of field: PidSampleParams::x"][::core::mem::offset_of!(PidSampleParams, x) - 0usize];
    ["Offset of field: PidSampleParams::bias"][::core::mem::offset_of!(PidSampleParams, bias) - 8usize];
    ["Offset of field: PidSampleParams::y"][::core::mem::offset_of!(PidSampleParams, y) - 16usize];
    ["Offset of field: PidSampleParams::shape"][::core::mem::offset_of!(PidSampleParams, shape) - 24usize];
    ["Offset of field: PidSampleParams::activation"][::core::mem::offset_of!(PidSampleParams, activation) - 72usize];
    ["Offset of field: PidSampleParams::scale"][::core::mem::offset_of!(PidSampleParams, scale) - 76usize];
    ["Offset of field: PidSampleParams::count"][::core::mem::offset_of!(PidSampleParams, count) - 80usize];
};
