//! Kernels of sm_90a, which exist in several tile shapes, and the one that runs where nothing was measured.

use super::order::RowOrder;

/// The sm_90a kernels that do what a portable one does.
#[derive(Clone, Copy, Debug)]
pub struct Variants {
    /// The portable kernel.
    pub base: &'static str,
    /// The order in which they want the rows of the product's second operand; [`RowOrder::Plain`] where there is none.
    pub order: RowOrder,
    /// Their names; the first runs where nothing was measured.
    pub kernels: &'static [&'static str],
}

/// The variants of `$base` whose names say `$name`, the default first.
macro_rules! variants {
    ($base:literal, $order:expr, [$default:literal $(, $name:literal)*]) => {
        Variants {
            base: $base,
            order: $order,
            kernels: &[
                concat!($base, "_", $default, "_sm90"),
                $(concat!($base, "_", $name, "_sm90")),*
            ],
        }
    };
}

const HEADS_OF_64: RowOrder = RowOrder::Consecutive16 { head: 64 };
const HEADS_OF_72: RowOrder = RowOrder::Consecutive16 { head: 72 };
const GROUPS: RowOrder = RowOrder::Groups16;

/// All of them. The first of each is what an H200 ran fastest at 2048x2048 (`kernels/gemm/TUNING.md`,
/// `kernels/attention/TUNING.md`), but of the online attention, which was not measured; a device's own table
/// (`super::tuning`) is what it measured itself.
#[rustfmt::skip]
pub const ALL: &[Variants] = &[
    variants!("gemm_linear", HEADS_OF_64, ["128x128_pingpong", "128x256_pair", "128x256", "128x256_pair_bulk",
        "128x128_pingpong_pair"]),
    variants!("gemm_qkv_folded_d64", HEADS_OF_64, ["128x256_pair_bulk", "128x256_pair", "128x256", "128x128_pingpong",
        "128x128_pingpong_pair"]),
    variants!("gemm_qkv_d72", HEADS_OF_72, ["128x144_pingpong", "128x216", "128x144_pingpong_pair"]),
    variants!("gemm_swiglu", HEADS_OF_64, ["128x256_pair_bulk", "128x256_pair", "128x256", "128x128_pingpong",
        "128x128_pingpong_pair"]),
    variants!("gemm_residual", GROUPS, ["128x128_pingpong", "128x256_pair", "128x256", "128x128_pingpong_pair"]),
    variants!("gemm_latent_gate", GROUPS, ["128x256_pair", "128x256"]),
    variants!("gemm_pixel_modulate", GROUPS, ["128x128_pingpong", "128x256_pair", "128x256", "128x128_pingpong_pair"]),
    variants!("gemm_pixel_update", GROUPS, ["128x256", "128x256_pair"]),
    variants!("gemm_pixel_update_sample", GROUPS, ["128x256_pair", "128x256"]),
    variants!("conv3x3_tokens", HEADS_OF_64, ["128x256_pair", "128x256", "128x128_pingpong", "128x128_pingpong_pair"]),
    variants!("attention_bounded_d64", RowOrder::Plain, ["q192_k64_s4_poly2", "q128_k96_s4_poly2",
        "q256_k64_s4_poly2_pingpong", "q256_k80_s4_poly0", "q256_k80_s4_poly2", "q256_k64_s4_poly2", "q256_k80_s4_poly4"]),
    variants!("attention_online_d64", RowOrder::Plain, ["q192_k64_s4_poly1", "q192_k64_s4_poly0", "q192_k64_s4_poly2",
        "q192_k64_s4_poly1_pingpong", "q128_k128_s3_poly1"]),
    variants!("attention_bounded_d72", RowOrder::Plain, ["q256_k64_s3_poly0_pingpong", "q256_k64_s4_poly0_pingpong",
        "q256_k64_s4_poly0", "q256_k64_s4_poly2", "q128_k96_s3_poly0"]),
    variants!("attention_online_d72", RowOrder::Plain, ["q128_k96_s3_poly0", "q128_k96_s3_poly2",
        "q128_k96_s3_poly0_pingpong"]),
];

impl Variants {
    /// The kernel that runs where nothing was measured.
    pub fn default(&self) -> &'static str {
        self.kernels[0]
    }

    /// Whether it multiplies by a matrix that is stored.
    pub fn is_product(&self) -> bool {
        self.order != RowOrder::Plain
    }
}

/// The order in which `kernel`, or a faulty copy of it, wants the rows of its second operand.
pub fn order_of(kernel: &str) -> RowOrder {
    let is_one = |v: &&Variants| v.kernels.iter().any(|name| kernel.starts_with(name));
    ALL.iter().find(is_one).map_or(RowOrder::Plain, |v| v.order)
}

/// Those of `base`; `None` where the portable kernel is all there is.
pub fn of(base: &str) -> Option<&'static Variants> {
    ALL.iter().find(|v| v.base == base)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_told_apart() {
        let mut names: Vec<&str> = ALL.iter().flat_map(|v| v.kernels).copied().collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
        for variants in ALL {
            assert_eq!(of(variants.base).map(Variants::default), Some(variants.kernels[0]));
        }
    }

    #[test]
    fn orders_are_those_of_the_variants() {
        for variants in ALL {
            assert_eq!(order_of(variants.base), RowOrder::Plain, "{}", variants.base);
            assert!(variants.kernels.iter().all(|name| order_of(name) == variants.order), "{}", variants.base);
        }
        assert_eq!(order_of("gemm_linear_128x256_sm90_no_row_bound"), HEADS_OF_64);
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
        let is_variant = |name: &&String| name.ends_with("_sm90");
        for kernel in emulated.iter().filter(is_variant) {
            assert!(ALL.iter().any(|v| v.kernels.contains(&&**kernel)), "{kernel} is in no table");
        }
        if !is_built {
            println!("skipped: no kernels of nvcc's for sm_90a");
        }
    }
}
