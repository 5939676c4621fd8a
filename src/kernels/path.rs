//! Which kernels a device runs: the portable ones, or those made for its architecture where they fit.

use std::sync::Arc;

use super::order::RowOrder;
use super::{CallShape, KernelChoice, Tuning, variants};
use crate::graph::Weight;

/// The only compute capability with kernels of its own: they use wgmma, which no other has.
const SM_90: (u32, u32) = (9, 0);

/// See the module's description.
#[derive(Clone, Debug, Default)]
pub(crate) struct Path {
    is_sm_90: bool,
    tuning: Option<Arc<Tuning>>,
    forced: Option<&'static str>,
}

impl Path {
    /// On a device of compute capability `capability`.
    pub(crate) fn new(capability: (u32, u32), choice: KernelChoice) -> Self {
        Self { is_sm_90: capability == SM_90 && choice == KernelChoice::Auto, tuning: None, forced: None }
    }

    /// Whether some kernels exist in several variants.
    pub(crate) fn has_variants(&self) -> bool {
        self.is_sm_90
    }

    /// With what was measured; shapes that are not in it stay with the default.
    pub(crate) fn tuned(self, tuning: Option<Arc<Tuning>>) -> Self {
        Self { tuning, ..self }
    }

    /// With `kernel` wherever it can run.
    pub(crate) fn forcing(&self, kernel: &'static str) -> Self {
        Self { forced: Some(kernel), ..self.clone() }
    }

    /// The kernel made for the architecture that does `call`; `None` where the portable one does.
    pub(crate) fn kernel(&self, call: &CallShape) -> Option<&'static str> {
        let variants = self.variants(call.base, call.n as usize, call.k as usize)?;
        let forced = self.forced.filter(|kernel| variants.kernels.contains(kernel));
        let tuned = || self.tuning.as_ref().and_then(|tuning| tuning.kernel(call));
        Some(forced.or_else(tuned).unwrap_or(variants.default()))
    }

    /// The order in which the kernel that stands for `base` reads the rows of `weight`.
    pub(crate) fn order(&self, base: &str, weight: &Weight) -> RowOrder {
        self.variants(base, weight.rows, weight.cols).map_or(RowOrder::Plain, |v| v.order)
    }

    /// All kernels of one call need the same order of rows: any of them can be taken when the weights are there.
    fn variants(&self, base: &str, n: usize, k: usize) -> Option<&'static variants::Variants> {
        let variants = self.is_sm_90.then(|| variants::of(base)).flatten()?;
        // Bulk copies and stores are of 16 bytes.
        let fits = n.is_multiple_of(8) && k.is_multiple_of(8);
        (!variants.is_product() || fits).then_some(variants)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::Recipe;

    fn call(base: &'static str, n: u32) -> CallShape {
        CallShape { base, rows: 300, n, k: 1536 }
    }

    #[test]
    fn kernels_follow_the_architecture() {
        let kernel = |capability, choice, n| Path::new(capability, choice).kernel(&call("gemm_linear", n));
        let default = variants::of("gemm_linear").map(variants::Variants::default);
        assert_eq!(kernel(SM_90, KernelChoice::Auto, 1536), default);
        assert_eq!(kernel(SM_90, KernelChoice::Portable, 1536), None);
        // wgmma is neither in 8.9 nor in 10.0 or 12.0.
        for other in [(8, 0), (8, 9), (10, 0), (12, 0)] {
            assert_eq!(kernel(other, KernelChoice::Auto, 1536), None, "{other:?}");
        }
        assert_eq!(kernel(SM_90, KernelChoice::Auto, 1), None, "rows of 2 bytes");
        assert_eq!(Path::new(SM_90, KernelChoice::Auto).kernel(&call("gemm_embed_rows", 1536)), None);
    }

    #[test]
    fn a_forced_kernel_stays_with_its_own_op() {
        let path = Path::new(SM_90, KernelChoice::Auto).forcing("gemm_linear_128x256_sm90");
        assert_eq!(path.kernel(&call("gemm_linear", 64)), Some("gemm_linear_128x256_sm90"));
        assert_eq!(path.kernel(&call("gemm_swiglu", 64)), variants::of("gemm_swiglu").map(variants::Variants::default));
    }

    #[test]
    fn orders_follow_the_kernel() {
        let weight = |rows| Weight { rows, cols: 64, recipe: Recipe::Stored("w".into()) };
        let path = Path::new(SM_90, KernelChoice::Auto);
        assert_eq!(path.order("gemm_qkv_d72", &weight(216)), RowOrder::Consecutive16 { head: 72 });
        assert_eq!(path.order("gemm_linear", &weight(216)), RowOrder::Consecutive16 { head: 64 });
        assert_eq!(path.order("gemm_linear", &weight(1)), RowOrder::Plain);
        assert_eq!(path.order("gemm_embed_rows", &weight(64)), RowOrder::Plain);
        assert_eq!(Path::default().order("gemm_linear", &weight(64)), RowOrder::Plain);
    }
}
