//! A graph, its plan, and what a caller gives each pass of its loop.

use super::{Plan, PlanError, PlanOptions, plan};
use crate::graph::{ConstantId, Format, Graph, GraphConstants};
use crate::sampler::{Sampler, Step};

/// What is computed, and where everything goes. Callers fill tensors of role `Input`, and read those of role `Output`, by name
/// ([`Graph::named`]). Launches before [`Plan::step_start`] run once, the others in every pass of the loop.
#[derive(Clone, Debug)]
pub struct Program {
    /// What is computed.
    pub graph: Graph,
    /// How.
    pub plan: Plan,
    /// For people: number format, and what was done to meet the budget.
    pub form: String,
}

impl Program {
    /// Plans `graph`.
    ///
    /// # Errors
    /// As [`plan`].
    pub fn new(graph: Graph, options: &PlanOptions, form: String) -> Result<Self, PlanError> {
        let plan = plan(&graph, options)?;
        Ok(Self { graph, plan, form })
    }

    /// The same graph with every bf16 tensor in float32, uncut: what the CPU runs to say what this program's launches should have
    /// computed. Tensors, nodes and (of a program that is not cut either) launches have the same indices.
    ///
    /// # Errors
    /// When the graph cannot be planned.
    pub fn float32_twin(&self) -> Result<Self, PlanError> {
        let mut graph = self.graph.clone();
        let narrow = graph.tensors.iter_mut().filter(|t| t.format == Format::BF16);
        narrow.for_each(|t| t.format = Format::F32);
        Self::new(graph, &PlanOptions::default(), format!("{}, in float32", self.form))
    }
}

/// What one pass of the loop is given besides tensors.
#[derive(Clone, Copy, Debug)]
pub struct Iteration<'a> {
    /// Position in the sampler's schedule.
    pub step: Step,
    /// How the sampler moves from one time to the next.
    pub sampler: Sampler,
    /// Values of the graph's constants.
    pub constants: &'a GraphConstants,
}

impl Iteration<'_> {
    /// The values of constant `id`.
    pub fn constant(&self, id: ConstantId) -> &[f32] {
        &self.constants.values[id.index()]
    }
}
