//! The least that an op must do: multiply-adds as FLOP, and bytes of operands and weights, each once.

use crate::graph::op::ConvInput;
use crate::graph::{Graph, Op};

/// Of one launch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Work {
    pub(super) flop: usize,
    pub(super) bytes: usize,
}

/// The work of `op`, a node of `graph`.
pub(super) fn work(graph: &Graph, op: &Op) -> Work {
    let tensors = op.reads().into_iter().chain(op.writes()).map(|id| graph[id].bytes()).sum::<usize>();
    // As kernels have them: bf16, but for vectors, which are few.
    let weights = op.weights().into_iter().map(|id| 2 * graph[id].elements()).sum::<usize>();
    Work { flop: 2 * multiply_adds(op), bytes: tensors + weights }
}

fn multiply_adds(op: &Op) -> usize {
    match op {
        Op::Conv3x3(op) => {
            let channels = match op.source {
                ConvInput::Latent { channels, unpatchify, .. } => channels / (unpatchify * unpatchify),
                ConvInput::Tokens { channels } => channels,
            };
            op.tokens.batch * op.tokens.image() * 9 * channels * op.out_channels
        }
        Op::Linear(op) => op.rows * op.in_features * op.out_features,
        Op::TextEmbed(op) => op.tokens.batch * op.tokens.text * op.in_features * op.out_features,
        Op::PatchEmbed(op) => op.tokens.batch * op.tokens.image() * 3 * op.patch * op.patch * op.hidden,
        Op::LatentGate(op) => op.tokens.batch * op.tokens.image() * op.hidden * op.gate_width,
        Op::QkvProject(op) => op.tokens.batch * op.tokens.joint() * op.in_features * 3 * op.heads * op.head_dim,
        Op::Attention(op) => {
            let queries = op.tokens.joint() - op.query_start;
            2 * op.tokens.batch * op.heads * queries * op.tokens.joint() * op.head_dim
        }
        Op::SwiGlu(op) => op.tokens.batch * rows(op.tokens, op.streams.len()) * op.hidden * 2 * op.inner,
        Op::GatedResidual(op) => op.tokens.batch * rows(op.tokens, op.streams.len()) * op.in_features * op.hidden,
        Op::PixelModulate(op) => {
            op.tokens.batch * op.tokens.image() * op.hidden * op.patch * op.patch * 2 * op.channels
        }
        Op::PixelUpdate(op) => {
            let pixel = op.channels * (4 * op.hidden + op.attention_width + 2 * op.mlp_width);
            op.tokens.batch * op.tokens.image() * op.patch * op.patch * pixel
        }
        Op::GroupNormSilu(_) | Op::Copy(_) | Op::TimeSilu(_) | Op::PixelEmbed(_) | Op::Noise(_) | Op::SampleStep(_) => {
            0
        }
    }
}

/// Rows of a sample: of both streams, or of the image alone.
fn rows(tokens: crate::graph::op::Tokens, streams: usize) -> usize {
    if streams == 2 { tokens.joint() } else { tokens.image() }
}
