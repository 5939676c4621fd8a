//! Kernels of sm_90a, which exist in several tile shapes, and the one that runs where nothing was measured.

use super::order::RowOrder;

/// The sm_90a kernels that do what a portable one does.
#[derive(Clone, Copy, Debug)]
pub struct Variants {
    /// The portable kernel.
    pub base: &'static str,
    /// The order in which they want the rows of the product's second operand; [`RowOrder::Plain`] where there is none.
    pub order: RowOrder,
    /// Their names.
    pub kernels: &'static [&'static str],
    /// One of them.
    pub default: &'static str,
}

macro_rules! product {
    ($base:literal, $order:expr, $default:literal) => {
        Variants {
            base: $base,
            order: $order,
            kernels: &[
                concat!($base, "_128x256_sm90"),
                concat!($base, "_128x256_pair_sm90"),
                concat!($base, "_128x128_pingpong_sm90"),
                concat!($base, "_128x128_pingpong_pair_sm90"),
            ],
            default: concat!($base, "_", $default, "_sm90"),
        }
    };
}

const HEADS_OF_64: RowOrder = RowOrder::Consecutive16 { head: 64 };
const HEADS_OF_72: RowOrder = RowOrder::Consecutive16 { head: 72 };

/// All of them. Defaults follow from bytes of shared memory and of L2 a clock; a device's own table (`super::tuning`) is
/// what measurements say.
pub const ALL: &[Variants] = &[
    product!("gemm_linear", HEADS_OF_64, "128x256_pair"),
    product!("gemm_qkv_folded_d64", HEADS_OF_64, "128x256_pair"),
    Variants {
        base: "gemm_qkv_d72",
        order: HEADS_OF_72,
        kernels: &[
            "gemm_qkv_d72_128x216_sm90",
            "gemm_qkv_d72_128x144_pingpong_sm90",
            "gemm_qkv_d72_128x144_pingpong_pair_sm90",
        ],
        default: "gemm_qkv_d72_128x216_sm90",
    },
    product!("gemm_swiglu", HEADS_OF_64, "128x256_pair"),
    product!("gemm_residual", HEADS_OF_64, "128x128_pingpong_pair"),
    product!("gemm_latent_gate", HEADS_OF_64, "128x128_pingpong_pair"),
    product!("gemm_pixel_modulate", RowOrder::Groups16, "128x256_pair"),
    product!("gemm_pixel_update", RowOrder::Groups16, "128x256_pair"),
    product!("gemm_pixel_update_sample", RowOrder::Groups16, "128x256_pair"),
    product!("conv3x3_tokens", HEADS_OF_64, "128x128_pingpong"),
];

impl Variants {
    /// Whether it multiplies by a matrix that is stored.
    pub(crate) fn is_product(&self) -> bool {
        self.order != RowOrder::Plain
    }
}

/// Those of `base`; `None` where the portable kernel is all there is.
pub fn of(base: &str) -> Option<&'static Variants> {
    ALL.iter().find(|v| v.base == base)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_variants_and_names_are_told_apart() {
        let mut names: Vec<&str> = ALL.iter().flat_map(|v| v.kernels).copied().collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
        for variants in ALL {
            assert!(variants.kernels.contains(&variants.default), "{}", variants.default);
            assert_eq!(of(variants.base).map(|v| v.default), Some(variants.default));
        }
    }

    /// Every name, and its portable kernel's, is one that the emulator has, and that nvcc has built.
    #[test]
    #[cfg(feature = "emulator")]
    fn kernels_exist() {
        use crate::backend::emulator::Emulator;
        use crate::kernels::cubins::PTXAS;
        let emulated = Emulator::kernels();
        let is_built = PTXAS.iter().any(|row| row.arch == "sm_90a");
        for variants in ALL {
            for name in variants.kernels.iter().chain([&variants.base]) {
                assert!(emulated.iter().any(|kernel| kernel == name), "the emulator has no {name}");
                let on_sm_90a = PTXAS.iter().any(|row| row.arch == "sm_90a" && row.kernel == *name);
                assert!(on_sm_90a || !is_built, "no {name} for sm_90a");
            }
        }
        if !is_built {
            println!("skipped: no kernels of nvcc's for sm_90a");
        }
    }
}
