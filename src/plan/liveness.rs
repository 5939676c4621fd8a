//! When each tensor's bytes are its own, the step loop included.

use std::ops::Range;

use super::arena::Item;
use super::{Launch, PlanError};
use crate::graph::{Graph, Role};

/// Launch range of every used tensor. What is made before the loop and used in it stays to the end, and so
/// does what a step hands to the next.
pub(super) fn live_ranges(
    graph: &Graph,
    launches: &[Launch],
    step_start: usize,
) -> Result<Vec<Option<Range<usize>>>, PlanError> {
    let mut live: Vec<Option<Range<usize>>> = vec![None; graph.tensors.len()];
    let mut written: Vec<bool> = graph.tensors.iter().map(|t| t.role == Role::Input).collect();
    for (position, launch) in launches.iter().enumerate() {
        let node = &graph.nodes[launch.node];
        for id in node.op.reads() {
            if !written[id.index()] {
                return Err(PlanError::Unwritten { node: node.name.clone(), tensor: graph[id].name.clone() });
            }
        }
        for id in node.op.reads().into_iter().chain(node.op.writes()) {
            let range = live[id.index()].get_or_insert(position..position + 1);
            range.end = position + 1;
            written[id.index()] = true;
        }
    }
    for (tensor, range) in graph.tensors.iter().zip(&mut live) {
        if let Some(range) = range {
            if tensor.role == Role::Input {
                range.start = 0;
            }
            let crosses = range.start < step_start && range.end > step_start;
            let input_of_loop = tensor.role == Role::Input && range.end > step_start;
            if crosses || input_of_loop || tensor.role == Role::Output {
                range.end = launches.len();
            }
        }
    }
    Ok(live)
}

/// Live bytes at each launch.
pub(super) fn live_sums(items: &[Item], launches: usize) -> Vec<usize> {
    let mut sums = vec![0; launches];
    for item in items {
        sums[item.live.clone()].iter_mut().for_each(|sum| *sum += item.bytes);
    }
    sums
}
