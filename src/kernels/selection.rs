//! Which kernels a device runs: of each op those of the first family that the device can run and that takes the sizes, and of
//! several what was measured to be the fastest.

use std::sync::Arc;

use super::entry::Entry;
use super::family::{FAMILIES, Family, Variants};
use super::op_call::{OpCall, OpShape};
use super::target::{LaunchError, Target};
use super::{KernelCall, KernelChoice, Tuning};
use crate::weights::RowOrder;
use crate::weights::Weight;

/// See the module's description.
#[derive(Clone, Debug)]
pub struct Selection {
    /// Those that the device can run, the first to be asked first; never empty.
    families: Vec<&'static dyn Family>,
    tuning: Option<Arc<Tuning>>,
    forced: Option<&'static str>,
}

impl Selection {
    /// Of all families, on `target`.
    pub fn new(target: &dyn Target, choice: KernelChoice) -> Self {
        Self::among(FAMILIES, target, choice)
    }

    /// Of `families`, the last of which runs everything.
    pub fn among(families: &[&'static dyn Family], target: &dyn Target, choice: KernelChoice) -> Self {
        let device = target.processor().capabilities();
        let is_there = |family: &dyn Family| family.arch().is_none_or(|arch| target.has_code_for(arch));
        let runs = |family: &&&'static dyn Family| family.runs_on(&device) && is_there(**family);
        let (portable, special) = families.split_last().expect("one family runs everything");
        let mut families = match choice {
            KernelChoice::Auto => special.iter().filter(runs).copied().collect(),
            KernelChoice::Portable => Vec::new(),
        };
        families.push(*portable);
        Self { families, tuning: None, forced: None }
    }

    /// Whether some ops have several kernels.
    pub fn has_variants(&self) -> bool {
        self.families.iter().flat_map(|family| family.variants()).any(|variants| variants.kernels.len() > 1)
    }

    /// With what was measured; shapes that are not in it stay with the default.
    #[must_use]
    pub fn tuned(self, tuning: Option<Arc<Tuning>>) -> Self {
        Self { tuning, ..self }
    }

    /// With `kernel` wherever it can run.
    #[must_use]
    pub fn forcing(&self, kernel: &'static str) -> Self {
        Self { forced: Some(kernel), ..self.clone() }
    }

    /// The kernel that computes `shape`.
    ///
    /// # Errors
    /// When no family has one.
    pub fn kernel(&self, shape: &OpShape) -> Result<&'static Entry, LaunchError> {
        let (_, variants) = self.find(shape.op, shape.n, shape.k)?;
        let forced = self.forced.and_then(|kernel| variants.find(kernel));
        let tuned = || self.tuning.as_ref().and_then(|tuning| variants.find(tuning.kernel(shape)?));
        Ok(forced.or_else(tuned).unwrap_or(variants.default()))
    }

    /// The kernels that could compute `shape`.
    pub fn variants(&self, shape: &OpShape) -> Option<&'static Variants> {
        self.find(shape.op, shape.n, shape.k).ok().map(|(_, variants)| variants)
    }

    /// The order in which the kernel for `op` reads the rows of the matrices that it multiplies by, of which `weight` is the
    /// (first) second operand.
    pub fn order(&self, op: &str, weight: &Weight) -> RowOrder {
        self.find(op, weight.rows as u32, weight.cols as u32).map_or(RowOrder::Plain, |(_, variants)| variants.order())
    }

    /// The launch for `call`.
    ///
    /// # Errors
    /// When the kernel does not take the sizes, or the target a tensor map.
    pub fn launch(&self, target: &dyn Target, call: &OpCall<'_>) -> Result<KernelCall, LaunchError> {
        let shape = call.shape();
        let entry = self.kernel(&shape)?;
        let (family, variants) = self.find(shape.op, shape.n, shape.k)?;
        let launch = family.launch(target, entry, call)?;
        Ok(if variants.kernels.len() > 1 { launch.of_shape(shape) } else { launch })
    }

    /// The first family with kernels for `op` that take the sizes, else the last with any, whose launch says what is wrong
    /// with them.
    fn find(&self, op: &str, n: u32, k: u32) -> Result<(&'static dyn Family, &'static Variants), LaunchError> {
        let mut found = None;
        for family in &self.families {
            if let Some(variants) = family.of(op) {
                found = Some((*family, variants));
                if variants.take(n, k) {
                    break;
                }
            }
        }
        found.ok_or_else(|| LaunchError::NoKernel { op: op.into() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::params::PidTensorMap;
    use crate::kernels::tensor_map::Tiled;
    use crate::kernels::{Processor, family};
    use crate::weights::Recipe;

    const SM_90: (u32, u32) = (9, 0);

    fn selection(capability: (u32, u32), choice: KernelChoice) -> Selection {
        Selection::new(&Processor { capability, multiprocessors: 4 }, choice)
    }

    fn shape(op: &'static str, n: u32) -> OpShape {
        OpShape { op, rows: 300, n, k: 1536 }
    }

    fn default(op: &str) -> &'static str {
        family::Sm90.of(op).expect("sm90 has the op").default().name
    }

    #[test]
    fn kernels_follow_the_architecture() {
        let kernel = |capability, choice, n| {
            selection(capability, choice).kernel(&shape("gemm_linear", n)).expect("some kernel").name
        };
        assert_eq!(kernel(SM_90, KernelChoice::Auto, 1536), default("gemm_linear"));
        assert_eq!(kernel(SM_90, KernelChoice::Portable, 1536), "gemm_linear");
        // wgmma is neither in 8.9 nor in 10.0 or 12.0.
        for other in [(8, 0), (8, 9), (10, 0), (12, 0)] {
            assert_eq!(kernel(other, KernelChoice::Auto, 1536), "gemm_linear", "{other:?}");
        }
        assert_eq!(kernel(SM_90, KernelChoice::Auto, 1), "gemm_linear", "rows of 2 bytes");
        let auto = selection(SM_90, KernelChoice::Auto);
        assert_eq!(auto.kernel(&shape("gemm_embed_rows", 1536)).map(|e| e.name), Ok("gemm_embed_rows"));
        assert!(auto.kernel(&shape("gemm_square", 64)).unwrap_err().to_string().contains("gemm_square"));
        assert!(auto.has_variants() && !selection(SM_90, KernelChoice::Portable).has_variants());
    }

    /// A build for other architectures lacks what was made for this one alone.
    #[test]
    fn kernels_that_were_not_built_are_not_chosen() {
        struct Without(Processor);
        impl Target for Without {
            fn processor(&self) -> Processor {
                self.0
            }
            fn has_code_for(&self, _arch: &str) -> bool {
                false
            }
            fn tensor_map(&self, tiled: &Tiled<'_>) -> Result<PidTensorMap, LaunchError> {
                self.0.tensor_map(tiled)
            }
        }
        let target = Without(Processor { capability: SM_90, multiprocessors: 4 });
        let kernel = Selection::new(&target, KernelChoice::Auto).kernel(&shape("gemm_linear", 64));
        assert_eq!(kernel.map(|entry| entry.name), Ok("gemm_linear"));
    }

    #[test]
    fn a_forced_kernel_stays_with_its_own_op() {
        let forced = selection(SM_90, KernelChoice::Auto).forcing("gemm_linear_128x256_sm90");
        let kernel = |op| forced.kernel(&shape(op, 64)).map(|entry| entry.name);
        assert_eq!(kernel("gemm_linear"), Ok("gemm_linear_128x256_sm90"));
        assert_eq!(kernel("gemm_swiglu"), Ok(default("gemm_swiglu")));
    }

    #[test]
    fn orders_follow_the_kernel() {
        let weight = |rows| Weight::new(rows, 64, Recipe::Stored("w".into()));
        let auto = selection(SM_90, KernelChoice::Auto);
        assert_eq!(auto.order("gemm_qkv_d72", &weight(216)), RowOrder::Consecutive16 { head: 72 });
        assert_eq!(auto.order("gemm_linear", &weight(216)), RowOrder::Consecutive16 { head: 64 });
        assert_eq!(auto.order("gemm_linear", &weight(1)), RowOrder::Plain);
        assert_eq!(auto.order("gemm_embed_rows", &weight(64)), RowOrder::Plain);
        let portable = selection((8, 0), KernelChoice::Auto);
        assert_eq!(portable.order("gemm_linear", &weight(64)), RowOrder::Plain);
    }
}
