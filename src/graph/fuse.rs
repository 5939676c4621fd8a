//! From the plain graph to what kernels run: what one op leaves in the format and scale that the next product reads, two ops in
//! one launch, workspaces. The same arithmetic in another order.
//!
//! - A float32 stream whose next readers are products: the op that writes the stream also leaves the product's operand
//!   ([`Emit`]), with the scale of the norm between them folded in, so that the product need not read the stream.
//! - The sampler's step after the last update of the pixels that it reads: done in the update's epilogue, in place of storing
//!   pixels that nobody else reads.
//! - Norms that are summed slab by slab first get room for the sums.

use super::check::check;
use super::op::{Emit, GROUP_NORM_SLABS, Norm, Op};
use super::{ElementType, Graph, GraphError, Role, TensorId};

/// Columns of a slice whose squares are summed by themselves.
const SLICE: usize = 64;

/// Fuses what can be fused in `graph`, whose products are to read operands of `element`. Nodes keep their order.
///
/// # Errors
/// When an op does not fit what it is given: a fault of this pass.
pub fn fuse(graph: &mut Graph, element: ElementType) -> Result<(), GraphError> {
    for node in 0..graph.nodes.len() {
        for stream in written_streams(&graph.nodes[node].op) {
            emit(graph, node, stream, element);
        }
    }
    sample_in_updates(graph);
    for index in 0..graph.nodes.len() {
        if let Op::GroupNormSilu(op) = &graph.nodes[index].op {
            let shape = [op.tokens.batch, op.groups, GROUP_NORM_SLABS, 2];
            let sums = graph.tensor("slab_sums", &shape, ElementType::F32, Role::Temporary);
            if let Op::GroupNormSilu(op) = &mut graph.nodes[index].op {
                op.slab_sums = Some(sums);
            }
        }
    }
    graph.nodes.iter().try_for_each(|node| check(graph, node))
}

/// Streams that the op writes and can leave an operand of.
fn written_streams(op: &Op) -> Vec<TensorId> {
    match op {
        Op::Copy(op) => vec![op.output],
        Op::Lookup(op) => vec![op.output],
        Op::PatchEmbed(op) => vec![op.stream],
        Op::FeatureGate(op) => vec![op.stream],
        Op::AddSilu(op) => vec![op.stream],
        Op::GatedResidual(op) => op.streams.iter().map(|s| s.residual).collect(),
        _ => Vec::new(),
    }
}

/// The norm, if any, through which a product of the op reads `stream`; `None` when no product of it does.
fn product_of(op: &Op, stream: TensorId) -> Option<Option<Norm>> {
    match op {
        Op::QkvProject(op) => op.streams.iter().find(|s| s.input == stream).map(|s| s.norm),
        Op::Glu(op) => op.streams.iter().find(|s| s.input == stream).map(|s| Some(s.norm)),
        // A gate per row is a dot with the stream as it is.
        Op::FeatureGate(op) => (op.stream == stream && op.gate_width > 1).then_some(None),
        Op::PixelModulate(op) => (op.stream == stream).then_some(None),
        Op::PixelUpdate(op) => (op.stream == stream).then_some(None),
        _ => None,
    }
}

/// Lets the op of node `writer` leave the operand of `stream`, and the products that read the stream before it is written
/// again read that, if there are any and all through the same norm.
fn emit(graph: &mut Graph, writer: usize, stream: TensorId, element: ElementType) {
    let later = &graph.nodes[writer + 1..];
    let rewritten = later.iter().position(|n| n.op.writes().contains(&stream));
    // What writes the stream next may read the operand first.
    let end = rewritten.map_or(later.len(), |index| index + 1);
    let readers: Vec<usize> = (0..end).filter(|i| product_of(&later[*i].op, stream).is_some()).collect();
    let norms: Vec<_> = readers.iter().filter_map(|i| product_of(&later[*i].op, stream)).collect();
    let Some(norm) = norms.first().copied().filter(|first| norms.iter().all(|norm| norm == first)) else { return };
    if norm.is_some_and(|norm| !norm.is_foldable()) {
        return;
    }
    let shape = graph[stream].shape.clone();
    let Some(width) = shape.last().copied().filter(|width| width.is_multiple_of(SLICE)) else { return };
    let base = graph[stream].name.trim_end_matches(".stream").to_owned();
    let operand = graph.tensor(format!("{base}.operand"), &shape, element, Role::Temporary);
    let slices: Vec<usize> = shape[..shape.len() - 1].iter().copied().chain([width / SLICE]).collect();
    let sums = graph.tensor(format!("{base}.sums"), &slices, ElementType::F32, Role::Temporary);
    let emitted = Some(Emit { operand, sums, norm });
    match &mut graph.nodes[writer].op {
        Op::Copy(op) => op.emit = emitted,
        Op::Lookup(op) => op.emit = emitted,
        Op::PatchEmbed(op) => op.emit = emitted,
        Op::FeatureGate(op) => op.emit = emitted,
        Op::AddSilu(op) => op.emit = emitted,
        Op::GatedResidual(op) => {
            op.streams.iter_mut().filter(|s| s.residual == stream).for_each(|s| s.emit = emitted);
        }
        _ => {}
    }
    for reader in readers {
        match &mut graph.nodes[writer + 1 + reader].op {
            Op::QkvProject(op) => {
                for s in op.streams.iter_mut().filter(|s| s.input == stream) {
                    (s.input, s.sums) = (operand, s.norm.map(|_| sums));
                }
            }
            Op::Glu(op) => {
                for s in op.streams.iter_mut().filter(|s| s.input == stream) {
                    (s.input, s.sums) = (operand, Some(sums));
                }
            }
            Op::FeatureGate(op) => op.operand = Some(operand),
            Op::PixelModulate(op) => op.stream = operand,
            Op::PixelUpdate(op) => op.stream = operand,
            _ => {}
        }
    }
}

/// Moves a sampler's step into the update just before it, where nobody else wants the pixels or the velocity.
fn sample_in_updates(graph: &mut Graph) {
    for index in (1..graph.nodes.len()).rev() {
        let [before, after] = &graph.nodes[index - 1..=index] else { continue };
        let (Op::PixelUpdate(update), Op::SampleStep(sample)) = (&before.op, &after.op) else { continue };
        let pixels = update.pixels;
        let read_later = graph.nodes[index + 1..].iter().any(|n| n.op.reads().contains(&pixels));
        let observed = sample.velocity.is_some() || before.taps.iter().any(|(id, _)| *id == pixels);
        if sample.pixels != pixels || read_later || observed {
            continue;
        }
        let (sample, taps) = (sample.clone(), after.taps.clone());
        graph.nodes.remove(index);
        if let Op::PixelUpdate(update) = &mut graph.nodes[index - 1].op {
            update.sample = Some(sample);
        }
        graph.nodes[index - 1].taps.extend(taps);
    }
}
