//! The CPU backend: every op in float32 on all cores. It is the definition of the ops in code, the oracle of
//! the kernels, and what runs where there is no GPU.

mod arena;
mod attention;
mod ceilings;
mod conv;
mod folded;
mod gemm;
mod math;
mod pixel;
mod rotary;
mod session;
#[cfg(test)]
mod tests;
mod tokens;

use std::sync::Arc;

use crate::exec::{Backend, Ceilings, ExecError, Observer, Session};
use crate::plan::{Iteration, Program};
use crate::weights::{TensorSource, WeightStore};
use session::CpuSession;

/// Runs programs on the CPU. Weights stay where `source` keeps them (a memory map, as a rule) and are widened
/// panel by panel; only products of two stored matrices are computed ahead, at first use.
#[derive(Debug)]
pub struct CpuBackend {
    weights: WeightStore,
}

impl CpuBackend {
    /// A backend reading weights from `source`.
    pub fn new(source: Arc<dyn TensorSource>) -> Self {
        Self { weights: WeightStore::new(source) }
    }
}

impl Backend for CpuBackend {
    fn session<'a>(
        &'a self,
        program: &'a Program,
        _steps: &'a [Iteration<'a>],
        _observer: &mut dyn Observer,
    ) -> Result<Box<dyn Session + 'a>, ExecError> {
        Ok(Box::new(CpuSession::new(&self.weights, program)?))
    }

    fn name(&self) -> String {
        "cpu".into()
    }

    fn ceilings(&self) -> Result<Option<Ceilings>, ExecError> {
        Ok(Some(ceilings::measure()?))
    }
}
