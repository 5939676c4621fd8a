//! The attention of sm_90a (`kernels/sm90/attention.cuh`): tensor maps beside the portable kernel's parameters.

use crate::kernels::call::{KernelCall, Params};
use crate::kernels::entry::Entry;
use crate::kernels::params::{PidAttentionParams, PidAttentionSm90Params};
use crate::kernels::target::{LaunchError, Target};
use crate::kernels::tensor_map::{Planes, Swizzle};

/// Columns of a box of q, k and v: 128 bytes.
const BOX_COLUMNS: u32 = 64;

/// A block for every tile of queries of every head.
pub(super) fn launch(
    target: &dyn Target,
    entry: &Entry,
    params: &PidAttentionParams,
) -> Result<KernelCall, LaunchError> {
    let [queries, keys, head_dim] = entry.tile;
    // Queries come and results go by the same rows, one warp's.
    let [_, slab_rows] = entry.store_box;
    let PidAttentionParams { tokens, query_start, batch, heads, .. } = *params;
    let map = |address, dims, box_dims, swizzle| Planes { address, dims, apart: tokens, box_dims, swizzle }.map(target);
    let operand = |pointer: *const u16, rows| {
        map(pointer as u64, [head_dim, tokens, batch * heads], [BOX_COLUMNS, rows], Swizzle::Bytes128)
    };
    // Rows of 128 bytes are swizzled; those of 144 spread over the banks as they are.
    let swizzle = if head_dim == BOX_COLUMNS { Swizzle::Bytes128 } else { Swizzle::None };
    let dims = [heads * head_dim, tokens, batch];
    let params = PidAttentionSm90Params {
        q: operand(params.q, slab_rows)?,
        k: operand(params.k, keys)?,
        v: operand(params.v, keys)?,
        output: map(params.output as u64, dims, entry.store_box, swizzle)?,
        op: *params,
        reserved: [0; 20],
    };
    let grid = [(tokens - query_start).div_ceil(queries), batch * heads, 1];
    Ok(KernelCall::of(entry, grid, Params::of(&params)))
}
