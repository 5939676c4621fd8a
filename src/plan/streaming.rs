//! Weights that do not stay on the device: what a few launches read is copied into one of two slots while the launches
//! before them run from the other.

use std::collections::HashMap;
use std::ops::Range;

use super::{ALIGNMENT, Launch, Plan};
use crate::graph::{Graph, Phase, WeightId};

/// Of all weights' bytes, those of a weight that is worth copying: smaller ones stay.
const SMALLEST_SHARE: usize = 2000;

/// Which weights are copied, and when. Results do not depend on it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Streaming {
    /// In the order in which launches need them; none when all weights stay.
    pub groups: Vec<StreamedGroup>,
    /// Bytes of each of the two slots; 0 without groups.
    pub slot_bytes: usize,
    /// Bytes copied before the loop.
    pub once_bytes: usize,
    /// Bytes copied in every step.
    pub step_bytes: usize,
}

/// Weights that are copied together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamedGroup {
    /// Nodes, all of one phase; no other node reads the weights, and no other node's launches stand between theirs.
    pub nodes: Range<usize>,
    /// The weights, in the order in which they lie in the slot.
    pub weights: Vec<WeightId>,
    /// Which slot: neighbours have different ones.
    pub slot: usize,
}

impl Streaming {
    /// The group of node `node`'s weights, by position.
    pub fn group_of(&self, node: usize) -> Option<usize> {
        self.groups.iter().position(|group| group.nodes.contains(&node))
    }
}

/// Nodes whose launches stand together, and what they alone read.
#[derive(Clone, Debug)]
struct Unit {
    nodes: Range<usize>,
    phase: Phase,
    weights: Vec<WeightId>,
    bytes: usize,
}

impl Plan {
    /// Lets as few weights be streamed as bring the peak down to `most_bytes`; all that can be where that does not suffice.
    pub(crate) fn stream_weights(&mut self, graph: &Graph, most_bytes: usize) {
        let units = units(graph, &self.launches);
        for count in 1..=units.len() {
            let streaming = form_groups(&chosen(&units, count), graph);
            let streamed: usize = streaming.groups.iter().flat_map(|g| &g.weights).map(|w| graph[*w].bytes()).sum();
            let weights_bytes = graph.weights.iter().map(|w| w.bytes()).sum::<usize>() - streamed;
            let peak_bytes = weights_bytes + 2 * streaming.slot_bytes + self.constants_bytes + self.arena_bytes;
            if count == 1 || peak_bytes < self.peak_bytes {
                (self.weights_bytes, self.peak_bytes, self.streaming) = (weights_bytes, peak_bytes, streaming);
            }
            if self.peak_bytes <= most_bytes {
                return;
            }
        }
    }
}

/// Every run of nodes whose launches do not mix with others', where it has weights of its own that are worth copying.
fn units(graph: &Graph, launches: &[Launch]) -> Vec<Unit> {
    let total: usize = graph.weights.iter().map(|w| w.bytes()).sum();
    let mut readers: HashMap<WeightId, Range<usize>> = HashMap::new();
    for (index, node) in graph.nodes.iter().enumerate() {
        for weight in node.op.weights() {
            let range = readers.entry(weight).or_insert(index..index + 1);
            range.end = index + 1;
        }
    }
    // The first node that is still to come after each launch: a run cut into ranges of rows goes back to its own first.
    let mut to_come = vec![graph.nodes.len(); launches.len()];
    for position in (1..launches.len()).rev() {
        to_come[position - 1] = to_come[position].min(launches[position].node);
    }
    let mut units = Vec::new();
    let (mut first, mut last) = (0, 0);
    for (launch, to_come) in launches.iter().zip(to_come) {
        last = last.max(launch.node);
        if to_come <= last {
            continue;
        }
        let nodes = first..last + 1;
        first = last + 1;
        let own = |weight: &WeightId| {
            let range = &readers[weight];
            let worth = graph[*weight].bytes() * SMALLEST_SHARE >= total;
            !graph[*weight].is_vector() && worth && nodes.contains(&range.start) && range.end <= nodes.end
        };
        let mut weights: Vec<WeightId> = Vec::new();
        for weight in graph.nodes[nodes.clone()].iter().flat_map(|n| n.op.weights()).filter(own) {
            if !weights.contains(&weight) {
                weights.push(weight);
            }
        }
        if !weights.is_empty() {
            let bytes = weights.iter().map(|w| graph[*w].bytes().next_multiple_of(ALIGNMENT)).sum();
            units.push(Unit { phase: graph.nodes[nodes.start].phase, nodes, weights, bytes });
        }
    }
    units
}

/// `count` of the units: first those before the loop, which are copied once, then those of the step at even distances, so
/// that each copy has much work to hide behind.
fn chosen(units: &[Unit], count: usize) -> Vec<Unit> {
    let (once, step): (Vec<&Unit>, Vec<&Unit>) = units.iter().partition(|unit| unit.phase == Phase::Once);
    let of_step = count.saturating_sub(once.len());
    let even = (0..of_step).map(|i| step[i * step.len() / of_step]);
    once.iter().take(count).copied().chain(even).cloned().collect()
}

/// Neighbours joined as far as the largest unit's bytes allow, slots in turn.
fn form_groups(units: &[Unit], graph: &Graph) -> Streaming {
    let slot_bytes = units.iter().map(|unit| unit.bytes).max().unwrap_or(0);
    let mut streaming = Streaming { slot_bytes, ..Streaming::default() };
    for phase in [Phase::Once, Phase::Step] {
        let units: Vec<&Unit> = units.iter().filter(|unit| unit.phase == phase).collect();
        let mut parts = joined(&units, slot_bytes);
        // The step's last group and the next step's first must not meet in one slot.
        if phase == Phase::Step
            && parts.len() % 2 == 1
            && let Some(long) = parts.iter().position(|part| part.len() > 1)
        {
            let half = parts[long].len() / 2;
            let tail = parts[long].split_off(half);
            parts.insert(long + 1, tail);
        }
        let count = parts.len();
        for (index, part) in parts.iter().enumerate() {
            // What is last before the loop leaves the first slot to the loop's first group.
            let slot = if phase == Phase::Once { (count - index) % 2 } else { index % 2 };
            let weights: Vec<WeightId> = part.iter().flat_map(|unit| unit.weights.iter().copied()).collect();
            let bytes: usize = weights.iter().map(|w| graph[*w].bytes()).sum();
            match phase {
                Phase::Once => streaming.once_bytes += bytes,
                Phase::Step => streaming.step_bytes += bytes,
            }
            let nodes = part[0].nodes.start..part[part.len() - 1].nodes.end;
            streaming.groups.push(StreamedGroup { nodes, weights, slot });
        }
    }
    streaming
}

fn joined<'a>(units: &[&'a Unit], slot_bytes: usize) -> Vec<Vec<&'a Unit>> {
    let mut parts: Vec<Vec<&Unit>> = Vec::new();
    let mut filled = 0;
    for unit in units {
        match parts.last_mut() {
            Some(part) if filled + unit.bytes <= slot_bytes => part.push(unit),
            _ => {
                filled = 0;
                parts.push(vec![unit]);
            }
        }
        filled += unit.bytes;
    }
    parts
}
