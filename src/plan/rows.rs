//! The launch order, and exact row-chunking: a run of row-wise ops executes range by range, and the tensor
//! between them holds one range. Every row is computed exactly as before.

use std::ops::Range;

use super::Launch;
use crate::graph::{Graph, Phase, Role, TensorId};

/// Boundaries of ranges are multiples of this, the row tile of the kernels.
const GRANULE: usize = 128;

pub(super) struct LaunchOrder {
    pub launches: Vec<Launch>,
    pub step_start: usize,
    pub allocated_bytes: Vec<usize>,
    pub chunked: Vec<bool>,
}

/// Launches of `graph` with wide intermediates cut into up to `chunks` ranges.
pub(super) fn schedule(graph: &Graph, chunks: usize) -> LaunchOrder {
    let mut order = LaunchOrder {
        launches: Vec::new(),
        step_start: 0,
        allocated_bytes: graph.tensors.iter().map(|t| t.bytes()).collect(),
        chunked: vec![false; graph.tensors.len()],
    };
    let mut node = 0;
    while node < graph.nodes.len() {
        let run = run_from(graph, node);
        let inner = if chunks > 1 { intermediates(graph, &run) } else { Vec::new() };
        if inner.is_empty() {
            order.launches.push(Launch { node, rows: None });
            node += 1;
        } else {
            cut(graph, &run, &inner, chunks, &mut order);
            node = run.end;
        }
        if graph.nodes[node - 1].phase == Phase::Once {
            order.step_start = order.launches.len();
        }
    }
    order
}

/// Nodes from `start` on with the same phase and rows.
fn run_from(graph: &Graph, start: usize) -> Range<usize> {
    let key = |n: usize| (graph.nodes[n].phase, graph.nodes[n].op.row_domain());
    let first = key(start);
    let mut end = start + 1;
    while first.1.is_some() && end < graph.nodes.len() && key(end) == first {
        end += 1;
    }
    start..end
}

/// Temporaries that live within the run alone and are rows of its row space.
fn intermediates(graph: &Graph, run: &Range<usize>) -> Vec<TensorId> {
    let Some(rows) = graph.nodes[run.start].op.row_domain() else { return Vec::new() };
    let written: Vec<TensorId> = graph.nodes[run.clone()].iter().flat_map(|n| n.op.writes()).collect();
    let outside = |id: TensorId| {
        graph.nodes.iter().enumerate().any(|(i, n)| {
            !run.contains(&i) && (n.op.reads().contains(&id) || n.op.writes().contains(&id) || taps(n, id))
        })
    };
    let mut found: Vec<TensorId> = Vec::new();
    for id in written {
        let read_first = first_use_reads(graph, run, id);
        let rows_fit = graph[id].elements().is_multiple_of(rows);
        let tapped = graph.nodes[run.clone()].iter().any(|n| taps(n, id));
        let inner = graph[id].role == Role::Temporary && rows_fit && !read_first && !tapped && !outside(id);
        let read = graph.nodes[run.clone()].iter().any(|n| n.op.reads().contains(&id));
        if inner && read && !found.contains(&id) {
            found.push(id);
        }
    }
    found
}

fn taps(node: &crate::graph::Node, id: TensorId) -> bool {
    node.taps.iter().any(|(t, _)| *t == id)
}

fn first_use_reads(graph: &Graph, run: &Range<usize>, id: TensorId) -> bool {
    let first = graph.nodes[run.clone()].iter().find(|n| n.op.reads().contains(&id) || n.op.writes().contains(&id));
    first.is_some_and(|n| n.op.reads().contains(&id))
}

fn cut(graph: &Graph, run: &Range<usize>, inner: &[TensorId], chunks: usize, order: &mut LaunchOrder) {
    let rows = graph.nodes[run.start].op.row_domain().unwrap_or(0);
    let step = rows.div_ceil(chunks).next_multiple_of(GRANULE).min(rows.max(1));
    for start in (0..rows).step_by(step) {
        let range = start..(start + step).min(rows);
        order.launches.extend(run.clone().map(|node| Launch { node, rows: Some(range.clone()) }));
    }
    for id in inner {
        order.chunked[id.index()] = true;
        order.allocated_bytes[id.index()] = graph[*id].bytes() / rows * step;
    }
}
