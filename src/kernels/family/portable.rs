//! Kernels for every device: `cp.async`, `ldmatrix` and `mma.sync` (`kernels/*/*.cu`). A block computes one tile.

use std::sync::LazyLock;

use super::{Family, Variants, no_launch};
use crate::kernels::call::{KernelCall, Params};
use crate::kernels::capabilities::Capability;
use crate::kernels::entry::Entry;
use crate::kernels::op_call::{OpCall, Work};
use crate::kernels::params::{PidAttentionParams, PidGemm};
use crate::kernels::table::ENTRIES;
use crate::kernels::target::{LaunchError, Target};

/// See the module's description.
#[derive(Clone, Copy, Debug)]
pub struct Portable;

impl Portable {
    /// [`Family::emulated`].
    pub const EMULATED: (u32, u32) = (8, 0);
}

static VARIANTS: LazyLock<Vec<Variants>> = LazyLock::new(|| Variants::of_family("portable", &[], ENTRIES));

impl Family for Portable {
    fn name(&self) -> &'static str {
        "portable"
    }

    fn arch(&self) -> Option<&'static str> {
        None
    }

    fn needs(&self) -> &'static [Capability] {
        &[Capability::Bf16Mma]
    }

    fn emulated(&self) -> (u32, u32) {
        Self::EMULATED
    }

    fn variants(&self) -> &'static [Variants] {
        &VARIANTS
    }

    fn launch(&self, _target: &dyn Target, entry: &Entry, call: &OpCall<'_>) -> Result<KernelCall, LaunchError> {
        launch(entry, call)
    }
}

/// As [`Family::launch`]; a family of kernels that are launched alike can call it.
pub(super) fn launch(entry: &Entry, call: &OpCall<'_>) -> Result<KernelCall, LaunchError> {
    if entry.op != call.op {
        return Err(no_launch(entry));
    }
    match call.work {
        Work::Product(product) => gemm(entry, product.gemm, product.params),
        Work::PixelUpdate(params) => gemm(entry, &params.gemm, Params::of(params)),
        Work::Convolution(params) => gemm(entry, &params.gemm, Params::of(params)),
        Work::Attention(params) => Ok(attention(entry, params)),
        Work::Items([x, y, z], params) => {
            // At most 2^31 - 1 blocks along x: 2^41 values of noise.
            let blocks = x.div_ceil(entry.tile[0].into()) as u32;
            Ok(KernelCall::of(entry, [blocks, y as u32, z as u32], params))
        }
    }
}

/// A block for every tile of every group.
fn gemm(entry: &Entry, gemm: &PidGemm, params: Params<'_>) -> Result<KernelCall, LaunchError> {
    entry.check(gemm.n, gemm.k)?;
    let [rows, columns, _] = entry.tile;
    let groups = &gemm.group[..gemm.num_groups as usize];
    let row_tiles: u32 = groups.iter().map(|group| group.rows.count.div_ceil(rows)).sum();
    Ok(KernelCall::of(entry, [row_tiles * gemm.n.div_ceil(columns), 1, 1], params))
}

/// A block for every tile of queries of every head.
fn attention(entry: &Entry, params: &PidAttentionParams) -> KernelCall {
    let grid = [(params.tokens - params.query_start).div_ceil(entry.tile[0]), params.batch * params.heads, 1];
    KernelCall::of(entry, grid, Params::of(params))
}
