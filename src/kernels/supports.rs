//! Which graphs the kernels can run.

use crate::graph::op::{Activation, Mask, Norm};
use crate::graph::{Graph, Node, Op};

/// An op in sizes that the kernels are not written for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{node}: {what} {value}: the kernels are written for {expected}; use --device cpu")]
pub struct UnsupportedOp {
    /// The node's name.
    pub node: String,
    /// The size.
    pub what: &'static str,
    /// Its value.
    pub value: usize,
    /// What would do.
    pub expected: &'static str,
}

/// A size, whether it will do, and what would.
type Rule = (&'static str, usize, bool, &'static str);

/// Checks that the kernels can run `graph`, whatever the device.
///
/// # Errors
/// Names the first size that they cannot take.
pub fn supports(graph: &Graph) -> Result<(), UnsupportedOp> {
    graph.nodes.iter().try_for_each(|node| match rules(node).into_iter().find(|(_, _, holds, _)| !holds) {
        Some((what, value, _, expected)) => Err(UnsupportedOp { node: node.name.clone(), what, value, expected }),
        None => Ok(()),
    })
}

const fn multiple(what: &'static str, value: usize, of: usize, expected: &'static str) -> Rule {
    (what, value, value.is_multiple_of(of), expected)
}

/// Rows that kernels keep in registers or cut into slices of 64.
fn stream(hidden: usize) -> [Rule; 2] {
    [multiple("rows of", hidden, 64, "multiples of 64"), ("rows of", hidden, hidden <= 2048, "at most 2048")]
}

/// Norms that are folded into a product.
fn foldable<'a>(norms: impl Iterator<Item = &'a Norm>) -> Rule {
    let others = norms.filter(|norm| !norm.is_foldable()).count();
    ("norms of other kinds:", others, others == 0, "rms with eps 1e-6")
}

fn pixels(patch: usize, channels: usize) -> [Rule; 2] {
    [("patches of", patch, patch == 16, "16"), ("pixels of", channels, channels == 16, "16 channels")]
}

fn rules(node: &Node) -> Vec<Rule> {
    const EIGHT: &str = "multiples of 8";
    match &node.op {
        Op::Conv3x3(op) => vec![
            multiple("channels", op.out_channels, 32, "multiples of 32"),
            ("a stride of", op.stride, op.stride == 1, "1"),
            ("rows of border before the first:", op.before, op.before == 1, "1"),
        ],
        Op::GroupNormSilu(op) => vec![multiple("channels", op.channels, 32, "multiples of 32")],
        Op::Linear(op) => vec![multiple("inputs", op.in_features, 8, EIGHT)],
        Op::EmbedRows(op) => {
            let [first, second] = stream(op.out_features);
            vec![multiple("inputs", op.in_features, 8, EIGHT), first, second]
        }
        Op::Lookup(op) => stream(op.width).to_vec(),
        Op::PatchEmbed(op) => stream(op.hidden).to_vec(),
        Op::FeatureGate(op) => stream(op.hidden).to_vec(),
        Op::AddSilu(op) => stream(op.hidden).to_vec(),
        Op::QkvProject(op) => {
            let normed = op.streams.iter().any(|s| s.norm.is_some());
            let norms = op.streams.iter().filter_map(|s| s.norm.as_ref());
            let (head, expected) = if normed { (64, "heads of 64") } else { (72, "heads of 72") };
            vec![
                ("heads of", op.head_dim, op.head_dim == head, expected),
                ("key heads", op.kv_heads, op.kv_heads == op.heads, "as many as of queries"),
                foldable(norms),
                multiple("inputs", op.in_features, 8, EIGHT),
            ]
        }
        Op::Attention(op) => {
            vec![
                ("heads of", op.head_dim, matches!(op.head_dim, 64 | 72), "heads of 64 or 72"),
                ("key heads", op.kv_heads, op.kv_heads == op.heads, "as many as of queries"),
                ("causal masks", usize::from(op.mask == Mask::Causal), op.mask == Mask::None, "none"),
                ("lists of lengths", usize::from(op.lengths.is_some()), op.lengths.is_none(), "none"),
                ("scores capped to", op.soft_cap.unwrap_or(0) as usize, op.soft_cap.is_none(), "scores as they are"),
            ]
        }
        Op::Glu(op) => {
            let is_silu = op.activation == Activation::Silu;
            vec![
                multiple("outputs", op.inner, 32, "multiples of 32"),
                ("gates by gelu:", usize::from(!is_silu), is_silu, "silu"),
                foldable(op.streams.iter().map(|s| &s.norm)),
            ]
        }
        Op::GatedResidual(op) => stream(op.hidden).to_vec(),
        Op::PixelEmbed(op) => pixels(op.patch, op.channels).to_vec(),
        Op::PixelModulate(op) => pixels(op.patch, op.channels).to_vec(),
        Op::PixelUpdate(op) => pixels(op.patch, op.channels).to_vec(),
        Op::SampleStep(op) => pixels(op.patch, op.channels).to_vec(),
        Op::Copy(_) | Op::Noise(_) => Vec::new(),
    }
}
