//! How a graph is run: launches in order, and where in one arena every tensor lies. A pure function of the
//! graph and the options; the same input gives the same plan, byte for byte.
//!
//! A *chunked* tensor's buffer holds only the rows of the current launch's range: row `rows.start` lies at its
//! beginning.

mod arena;
mod bytes;
mod liveness;
mod program;
mod report;
mod rows;
mod streaming;
mod svg;

pub use bytes::ByteSize;
pub use program::{Iteration, Program};
pub use streaming::{StreamedGroup, Streaming};

use std::collections::HashSet;
use std::ops::Range;

use crate::graph::Graph;

/// Alignment of tensors, and of streamed weights in their slots, in bytes.
pub const ALIGNMENT: usize = 256;

/// Choices of a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlanOptions {
    /// Alignment of every tensor in bytes, a power of two.
    pub alignment: usize,
    /// Row ranges into which wide intermediates are cut; 1 cuts nothing.
    pub chunks: usize,
}

/// One call of a node's kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Launch {
    /// Index in [`Graph::nodes`].
    pub node: usize,
    /// Rows of the op's row space; all of them when `None`.
    pub rows: Option<Range<usize>>,
}

/// See the module's description. Vectors over tensors are indexed by [`crate::graph::TensorId`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Launches before the loop, then those of one step.
    pub launches: Vec<Launch>,
    /// Index of the step's first launch.
    pub step_start: usize,
    /// Byte offset in the arena; `None` for tensors that nobody uses.
    pub offsets: Vec<Option<usize>>,
    /// Launches during which the tensor's bytes are its own.
    pub live: Vec<Option<Range<usize>>>,
    /// Bytes of the tensor's buffer, without alignment.
    pub allocated_bytes: Vec<usize>,
    /// Whether the buffer holds one row range at a time.
    pub chunked: Vec<bool>,
    /// Size of the arena.
    pub arena_bytes: usize,
    /// Largest sum of live (aligned) bytes over the launches: no arena can be smaller.
    pub max_live_bytes: usize,
    /// What the arena would be if no two tensors shared bytes.
    pub unshared_bytes: usize,
    /// Weights that stay.
    pub weights_bytes: usize,
    /// Those that do not.
    pub streaming: Streaming,
    /// Constants of four steps.
    pub constants_bytes: usize,
    /// Weights, slots of streamed ones, constants and arena.
    pub peak_bytes: usize,
    /// First launch at which the live bytes are largest.
    pub peak_launch: usize,
}

/// A graph that cannot be planned.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum PlanError {
    #[error("plan: {node} reads {tensor}, which nothing has written")]
    Unwritten { node: String, tensor: String },
    #[error(
        "the decode needs at least {needed} for weights and activations, the budget is {budget}: {short} short; raise --budget or decode a smaller picture"
    )]
    OverBudget { needed: ByteSize, budget: ByteSize, short: ByteSize },
    #[error("plan: alignment {0} is not a power of two")]
    Alignment(usize),
}

impl Default for PlanOptions {
    fn default() -> Self {
        Self { alignment: ALIGNMENT, chunks: 1 }
    }
}

impl PlanError {
    /// The smallest plan does not fit. The budget that is named works when it is typed.
    pub fn over_budget(budget: ByteSize, needed: ByteSize) -> Self {
        let needed = needed.rounded_up();
        Self::OverBudget { needed, budget, short: ByteSize(needed.0.saturating_sub(budget.0)) }
    }
}

/// What is known of a plan before its arena is packed.
struct Unpacked {
    schedule: rows::LaunchOrder,
    live: Vec<Option<Range<usize>>>,
    items: Vec<arena::Item>,
    live_sums: Vec<usize>,
}

fn unpacked(graph: &Graph, options: &PlanOptions) -> Result<Unpacked, PlanError> {
    if !options.alignment.is_power_of_two() {
        return Err(PlanError::Alignment(options.alignment));
    }
    let schedule = rows::schedule(graph, options.chunks);
    let live = liveness::live_ranges(graph, &schedule.launches, schedule.step_start)?;
    let items: Vec<arena::Item> = live
        .iter()
        .enumerate()
        .filter_map(|(tensor, live)| {
            let bytes = schedule.allocated_bytes[tensor].next_multiple_of(options.alignment);
            Some(arena::Item { tensor, bytes, live: live.clone()? })
        })
        .collect();
    let live_sums = liveness::live_sums(&items, schedule.launches.len());
    Ok(Unpacked { schedule, live, items, live_sums })
}

/// Bytes that no plan of `graph` can do without: weights, constants and the largest live sum. Much quicker than a plan.
///
/// # Errors
/// As [`plan`].
pub fn least_bytes(graph: &Graph, options: &PlanOptions) -> Result<usize, PlanError> {
    let live = unpacked(graph, options)?.live_sums.into_iter().max().unwrap_or(0);
    Ok(weights_bytes(graph) + constants_bytes(graph) + live)
}

fn weights_bytes(graph: &Graph) -> usize {
    graph.weights.iter().map(|w| w.bytes()).sum()
}

/// Plans `graph`.
///
/// # Errors
/// When a node reads what nothing has written, or the alignment is not a power of two.
pub fn plan(graph: &Graph, options: &PlanOptions) -> Result<Plan, PlanError> {
    let Unpacked { schedule, live, items, live_sums } = unpacked(graph, options)?;
    let packed = arena::pack(&items, &live_sums);
    let mut offsets = vec![None; graph.tensors.len()];
    for (item, offset) in items.iter().zip(&packed.offsets) {
        offsets[item.tensor] = Some(*offset);
    }
    let max_live_bytes = live_sums.iter().copied().max().unwrap_or(0);
    let peak_launch = live_sums.iter().position(|sum| *sum == max_live_bytes).unwrap_or(0);
    let weights_bytes = weights_bytes(graph);
    let constants_bytes = constants_bytes(graph);
    Ok(Plan {
        step_start: schedule.step_start,
        launches: schedule.launches,
        offsets,
        live,
        allocated_bytes: schedule.allocated_bytes,
        chunked: schedule.chunked,
        arena_bytes: packed.bytes,
        max_live_bytes,
        unshared_bytes: items.iter().map(|i| i.bytes).sum(),
        weights_bytes,
        streaming: Streaming::default(),
        constants_bytes,
        peak_bytes: weights_bytes + constants_bytes + packed.bytes,
        peak_launch,
    })
}

/// Passes of the loop whose constants are kept.
const PASSES: usize = 4;

/// Bytes of the constants that ops read, in float32.
fn constants_bytes(graph: &Graph) -> usize {
    let read: HashSet<_> = graph.nodes.iter().flat_map(|n| n.op.constants()).collect();
    PASSES * read.iter().map(|id| graph[*id].len * 4).sum::<usize>()
}
