//! Kernels of sm_90a (`kernels/sm90/`): bulk copies by tensor maps, mbarriers and wgmma, warps with different work. They
//! exist in several tile shapes.

mod attention;
mod outputs;
mod product;

use std::sync::LazyLock;

use super::{Family, Variants, no_launch};
use crate::kernels::call::KernelCall;
use crate::kernels::capabilities::Capability;
use crate::kernels::entry::Entry;
use crate::kernels::op_call::{OpCall, Work};
use crate::kernels::table::ENTRIES;
use crate::kernels::target::{LaunchError, Target};

/// See the module's description.
#[derive(Clone, Copy, Debug)]
pub struct Sm90;

/// What runs where nothing was measured: of each op what an H200 ran fastest at 2048x2048 (`kernels/gemm/TUNING.md`,
/// `kernels/attention/TUNING.md`), but of the online attention, which was not measured. A device's own table
/// (`crate::kernels::tuning`) is what it measured itself.
const DEFAULTS: &[&str] = &[
    "gemm_linear_128x128_pingpong_sm90",
    "gemm_qkv_folded_d64_128x256_pair_bulk_sm90",
    "gemm_qkv_d72_128x144_pingpong_sm90",
    "gemm_swiglu_128x256_pair_bulk_sm90",
    "gemm_residual_128x128_pingpong_sm90",
    "gemm_latent_gate_128x256_pair_sm90",
    "gemm_pixel_modulate_128x128_pingpong_sm90",
    "gemm_pixel_update_128x256_sm90",
    "gemm_pixel_update_sample_128x256_pair_sm90",
    "conv3x3_tokens_128x256_pair_sm90",
    "attention_bounded_d64_q192_k64_s4_poly2_sm90",
    "attention_online_d64_q192_k64_s4_poly1_sm90",
    "attention_bounded_d72_q256_k64_s3_poly0_pingpong_sm90",
    "attention_online_d72_q128_k96_s3_poly0_sm90",
];

static VARIANTS: LazyLock<Vec<Variants>> = LazyLock::new(|| Variants::of_family("sm90", DEFAULTS, ENTRIES));

impl Family for Sm90 {
    fn name(&self) -> &'static str {
        "sm90"
    }

    fn arch(&self) -> Option<&'static str> {
        Some("sm_90a")
    }

    fn needs(&self) -> &'static [Capability] {
        &[Capability::Wgmma, Capability::BulkCopies, Capability::Multicast]
    }

    fn emulated(&self) -> (u32, u32) {
        (9, 0)
    }

    fn variants(&self) -> &'static [Variants] {
        &VARIANTS
    }

    fn launch(&self, target: &dyn Target, entry: &Entry, call: &OpCall<'_>) -> Result<KernelCall, LaunchError> {
        if entry.op != call.op {
            return Err(no_launch(entry));
        }
        match call.work {
            Work::Product(of) => product::gemm(target, entry, &of),
            Work::PixelUpdate(params) => product::pixel_update(target, entry, params),
            Work::Convolution(params) => product::conv3x3(target, entry, params),
            Work::Attention(params) => attention::launch(target, entry, params),
            Work::Items(..) => Err(no_launch(entry)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_op_has_one_default() {
        for variants in Sm90.variants() {
            let defaults = variants.kernels.iter().filter(|name| DEFAULTS.contains(name)).count();
            assert_eq!(defaults, 1, "{}", variants.op);
            assert!(DEFAULTS.contains(&variants.default().name), "{}", variants.op);
        }
        assert_eq!(DEFAULTS.len(), Sm90.variants().len());
    }
}
