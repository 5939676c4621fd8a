//! The attention of sm_90a (`kernels/attention/hopper.cuh`): tensor maps beside the portable kernel's parameters, and a
//! launch shape that follows from the variant in the kernel's name.

use crate::backend::device::{DeviceError, Driver};
use crate::kernels::KernelCall;
use crate::kernels::params::{PidAttentionParams, PidAttentionSm90Params};
use crate::kernels::tensor_map::{Planes, Swizzle};

/// Rows of a box of q and of the output: one warp's.
const SLAB_ROWS: u32 = 16;
/// Columns of a box of q, k and v: 128 bytes.
const BOX_COLUMNS: u32 = 64;

/// What `attention_bounded_d64_q192_k128_s3_poly4_sm90` says.
struct Variant {
    head_dim: u32,
    /// Queries of a block.
    queries: u32,
    /// Keys of a tile.
    keys: u32,
    /// Slots for tiles of k, and as many for v.
    stages: u32,
}

impl Variant {
    fn of(kernel: &str) -> Result<Self, DeviceError> {
        let number = |letter: char| {
            let numbers = kernel.split('_').filter_map(|word| word.strip_prefix(letter)?.parse().ok());
            numbers.into_iter().next().ok_or_else(|| {
                DeviceError::Driver(format!("{kernel}: expected attention_<form>_d<n>_q<n>_k<n>_s<n>_<..>_sm90"))
            })
        };
        Ok(Self { head_dim: number('d')?, queries: number('q')?, keys: number('k')?, stages: number('s')? })
    }

    /// Warpgroups that compute: 64 queries each, or 128 where there are 256.
    fn consumers(&self) -> u32 {
        if self.queries == 192 { 3 } else { 2 }
    }

    /// Slabs, slots, and the mbarriers: one for each warp's queries, full and empty for each slot.
    fn shared_bytes(&self) -> u32 {
        let row_bytes = self.head_dim.div_ceil(BOX_COLUMNS) * 128;
        let barriers = 4 * self.consumers() + 4 * self.stages;
        ((self.queries + 2 * self.stages * self.keys) * row_bytes + barriers * 8).next_multiple_of(1024)
    }
}

/// Attention on compute capability 9.0 (`attention_<bounded|online>_d<64|72>_<variant>_sm90`, or a fault of it).
///
/// # Errors
/// When the name says no variant, or the driver refuses a tensor map.
pub fn attention_sm90(
    kernel: &'static str,
    driver: &dyn Driver,
    params: &PidAttentionParams,
) -> Result<KernelCall, DeviceError> {
    let variant = Variant::of(kernel)?;
    let (head_dim, PidAttentionParams { tokens, query_start, batch, heads, .. }) = (variant.head_dim, *params);
    let map = |address, dims, box_dims, swizzle| Planes { address, dims, apart: tokens, box_dims, swizzle }.map(driver);
    let operand = |pointer: *const u16, rows| {
        map(pointer as u64, [head_dim, tokens, batch * heads], [BOX_COLUMNS, rows], Swizzle::Bytes128)
    };
    // Rows of 128 bytes are swizzled; those of 144 spread over the banks as they are.
    let swizzle = if head_dim == BOX_COLUMNS { Swizzle::Bytes128 } else { Swizzle::None };
    let dims = [heads * head_dim, tokens, batch];
    let params = PidAttentionSm90Params {
        q: operand(params.q, SLAB_ROWS)?,
        k: operand(params.k, variant.keys)?,
        v: operand(params.v, variant.keys)?,
        output: map(params.output as u64, dims, [head_dim, SLAB_ROWS], swizzle)?,
        op: *params,
        reserved: [0; 4],
    };
    let grid = [(tokens - query_start).div_ceil(variant.queries), batch * heads, 1];
    let threads = 128 * (1 + variant.consumers());
    Ok(KernelCall::new(kernel, grid, threads, variant.shared_bytes(), &params))
}
