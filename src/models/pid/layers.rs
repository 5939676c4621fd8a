//! Pieces of the graph that repeat: weights by name, and a joint text-image patch block.

use super::Policy;
use super::config::Config;
use super::constants::{Part, of_block};
use crate::graph::op::{
    Activation, Affine, Attention, GatedResidual, GatedResidualStream, Glu, GluStream, Modulation, Norm, QkvProject,
    QkvStream, Rotary, Stream, Tokens,
};
use crate::graph::{Format, Graph, GraphError, Op, Phase, Role, TensorId, WeightId};
use crate::weights::{Recipe, Weight};

/// The stored tensor `name` as `[rows, cols]`.
pub(super) fn stored(graph: &mut Graph, name: &str, rows: usize, cols: usize) -> WeightId {
    graph.weight(Weight::new(rows, cols, Recipe::Stored(name.into())))
}

/// The stored vector `name`.
pub(super) fn vector(graph: &mut Graph, name: &str, len: usize) -> WeightId {
    stored(graph, name, 1, len)
}

/// `name.weight` and `name.bias`.
pub(super) fn linear(graph: &mut Graph, name: &str, out: usize, input: usize) -> Affine {
    let weight = stored(graph, &format!("{name}.weight"), out, input);
    Affine { weight, bias: Some(vector(graph, &format!("{name}.bias"), out)) }
}

/// Slots `start .. start + count` of the six of pixel block `p`'s adaLN, as a linear of its own.
pub(super) fn pixel_slots(graph: &mut Graph, config: &Config, p: &str, start: usize, count: usize) -> Affine {
    let (channels, slots) = (config.pixel_hidden_size, 6);
    let rows = config.patch_size * config.patch_size * count * channels;
    let mut part = |name: &str, cols| {
        let source = format!("{p}.adaLN_modulation.0.{name}");
        let recipe = Recipe::PixelSlots { source, start, count, slots, channels };
        graph.weight(Weight::new(rows, cols, recipe))
    };
    Affine { weight: part("weight", config.hidden_size), bias: Some(part("bias", 1)) }
}

/// `(x or y, img or txt)`: how the checkpoint names a stream's tensors.
const fn letter(stream: Stream) -> &'static str {
    match stream {
        Stream::Image => "x",
        Stream::Text => "y",
    }
}

/// Half of a patch block.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Half {
    Attention,
    FeedForward,
}

/// One patch block, pushed onto a graph.
pub(super) struct PatchBlock<'a> {
    pub config: &'a Config,
    pub tokens: Tokens,
    pub block: usize,
    /// Number formats of what is between the streams.
    pub policy: Policy,
    /// Whether anybody reads the text stream after this block; the last block's feeds nothing.
    pub text_output: bool,
}

impl PatchBlock<'_> {
    /// Pushes the block, which updates the text and the image stream.
    pub(super) fn build(&self, graph: &mut Graph, text: TensorId, image: TensorId) -> Result<(), GraphError> {
        let both = [(Stream::Text, text), (Stream::Image, image)];
        let updated = if self.text_output { &both[..] } else { &both[1..] };
        let attended = self.attention(graph, &both)?;
        self.residual(graph, updated, attended, Half::Attention)?;
        let inner = self.feed_forward(graph, updated)?;
        self.residual(graph, updated, inner, Half::FeedForward)
    }

    fn name(&self, rest: &str) -> String {
        format!("patch_blocks.{}.{rest}", self.block)
    }

    fn temporary(&self, graph: &mut Graph, name: &str, shape: &[usize], format: Format) -> TensorId {
        graph.tensor(name, shape, format, Role::Temporary)
    }

    fn norm(&self, graph: &mut Graph, stream: Stream, half: Half) -> Norm {
        let number = if half == Half::Attention { 1 } else { 2 };
        let name = self.name(&format!("norm_{}{number}.weight", letter(stream)));
        let parts = match half {
            Half::Attention => [Part::ShiftAttention, Part::ScaleAttention],
            Half::FeedForward => [Part::ShiftFeedForward, Part::ScaleFeedForward],
        };
        let [shift, scale] = parts.map(|part| of_block(self.block, stream, part));
        Norm::rms(vector(graph, &name, self.config.hidden_size), Some(Modulation { shift, scale }))
    }

    fn attention(&self, graph: &mut Graph, streams: &[(Stream, TensorId)]) -> Result<TensorId, GraphError> {
        let (config, tokens) = (self.config, self.tokens);
        let (d, heads, head_dim) = (config.hidden_size, config.num_groups, config.head_dim());
        let shape = [tokens.batch, heads, tokens.joint(), head_dim];
        let [q, k, v] =
            ["patch.q", "patch.k", "patch.v"].map(|name| self.temporary(graph, name, &shape, self.policy.attention));
        let shape = [tokens.batch, tokens.joint(), d];
        let attended = self.temporary(graph, "patch.attended", &shape, self.policy.attention);
        let streams = streams.iter().map(|&(stream, input)| self.qkv_stream(graph, stream, input)).collect();
        let op = QkvProject { tokens, streams, q, k, v, in_features: d, heads, kv_heads: heads, head_dim };
        graph.push(self.name("attn.qkv"), Phase::Step, Op::QkvProject(op))?;
        let query_start = if self.text_output { 0 } else { tokens.text };
        let op = Attention::of_all([q, k, v], attended, tokens, [heads, head_dim], query_start);
        graph.push(self.name("attn"), Phase::Step, Op::Attention(op))?;
        Ok(attended)
    }

    fn qkv_stream(&self, graph: &mut Graph, stream: Stream, input: TensorId) -> QkvStream {
        let (config, x) = (self.config, letter(stream));
        let (d, head_dim) = (config.hidden_size, config.head_dim());
        let reference_rows = config.rope_ref_h / config.patch_size;
        let reference_cols = config.rope_ref_w / config.patch_size;
        QkvStream {
            stream,
            input,
            sums: None,
            norm: Some(self.norm(graph, stream, Half::Attention)),
            weight: stored(graph, &self.name(&format!("attn.qkv_{x}.weight")), 3 * d, d),
            q_norm: vector(graph, &self.name(&format!("attn.q_norm_{x}.weight")), head_dim),
            k_norm: vector(graph, &self.name(&format!("attn.k_norm_{x}.weight")), head_dim),
            rotary: match stream {
                Stream::Image => Rotary::Image { reference_rows, reference_cols },
                Stream::Text => Rotary::Text,
            },
        }
    }

    fn feed_forward(&self, graph: &mut Graph, streams: &[(Stream, TensorId)]) -> Result<TensorId, GraphError> {
        let (tokens, hidden, inner) = (self.tokens, self.config.hidden_size, self.config.ffn_inner());
        let shape = [tokens.batch, tokens.joint(), inner];
        let output = self.temporary(graph, "patch.inner", &shape, self.policy.activations);
        let streams = streams
            .iter()
            .map(|&(stream, input)| {
                let mlp = self.name(&format!("mlp_{}", letter(stream)));
                let recipe = Recipe::Interleave { even: format!("{mlp}.w1.weight"), odd: format!("{mlp}.w3.weight") };
                GluStream {
                    stream,
                    input,
                    sums: None,
                    norm: self.norm(graph, stream, Half::FeedForward),
                    weight: graph.weight(Weight::new(2 * inner, hidden, recipe)),
                }
            })
            .collect();
        let op = Glu { tokens, streams, output, hidden, inner, activation: Activation::Silu };
        graph.push(self.name("mlp.w13"), Phase::Step, Op::Glu(op))?;
        Ok(output)
    }

    /// The linear back to the streams: `attn.proj` (with bias) or `mlp.w2` (without).
    fn residual(
        &self,
        graph: &mut Graph,
        streams: &[(Stream, TensorId)],
        input: TensorId,
        half: Half,
    ) -> Result<(), GraphError> {
        let (tokens, hidden) = (self.tokens, self.config.hidden_size);
        let (kind, gate, in_features) = match half {
            Half::Attention => ("attn.proj", Part::GateAttention, hidden),
            Half::FeedForward => ("mlp.w2", Part::GateFeedForward, self.config.ffn_inner()),
        };
        let mut ops = Vec::new();
        for &(stream, residual) in streams {
            let affine = self.residual_affine(graph, stream, half);
            let gate = Some(of_block(self.block, stream, gate));
            ops.push(GatedResidualStream { stream, residual, affine, gate, emit: None });
        }
        let op = GatedResidual { tokens, input, streams: ops, in_features, hidden };
        graph.push(self.name(kind), Phase::Step, Op::GatedResidual(op))
    }

    fn residual_affine(&self, graph: &mut Graph, stream: Stream, half: Half) -> Affine {
        let (x, hidden) = (letter(stream), self.config.hidden_size);
        match half {
            Half::Attention => linear(graph, &self.name(&format!("attn.proj_{x}")), hidden, hidden),
            Half::FeedForward => {
                let name = self.name(&format!("mlp_{x}.w2.weight"));
                Affine { weight: stored(graph, &name, hidden, self.config.ffn_inner()), bias: None }
            }
        }
    }
}
