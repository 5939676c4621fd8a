//! Pieces of the graph that repeat: weights by name, and a joint text-image patch block.

use super::config::Config;
use crate::graph::op::{
    Affine, Attention, GatedResidual, GatedResidualStream, Modulation, ModulationHalf, NormModulate, QkvProject,
    QkvStream, Rotary, Stream, SwiGlu, SwiGluStream, Tokens,
};
use crate::graph::{ElementType, Graph, GraphError, Op, Phase, Recipe, Role, TensorId, Weight, WeightId};

/// The stored tensor `name` as `[rows, cols]`.
pub(super) fn stored(graph: &mut Graph, name: &str, rows: usize, cols: usize) -> WeightId {
    graph.weight(Weight { rows, cols, recipe: Recipe::Stored(name.into()) })
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
        graph.weight(Weight { rows, cols, recipe })
    };
    Affine { weight: part("weight", config.hidden_size), bias: Some(part("bias", 1)) }
}

/// One patch block, pushed onto a graph.
pub(super) struct PatchBlock<'a> {
    pub config: &'a Config,
    pub tokens: Tokens,
    pub block: usize,
    /// Image stream `[B, L, D]`.
    pub s: TensorId,
    /// Text stream `[B, T, D]`.
    pub y: TensorId,
    /// Element type of the activations between the streams.
    pub element: ElementType,
    /// Whether anybody reads the text stream after this block; the last block's feeds nothing.
    pub text_output: bool,
}

/// `(x or y, img or txt)`: how the checkpoint names a stream's tensors.
const fn letter(stream: Stream) -> &'static str {
    match stream {
        Stream::Image => "x",
        Stream::Text => "y",
    }
}

impl PatchBlock<'_> {
    pub(super) fn build(&self, graph: &mut Graph) -> Result<(), GraphError> {
        let both = [Stream::Text, Stream::Image];
        let outputs = if self.text_output { &both[..] } else { &both[1..] };
        let attended = self.attention(graph, &both)?;
        self.residual(graph, outputs, attended, "attn.proj", ModulationHalf::Attention)?;
        let inner = self.feed_forward(graph, outputs)?;
        self.residual(graph, outputs, inner, "mlp.w2", ModulationHalf::FeedForward)
    }

    fn name(&self, rest: &str) -> String {
        format!("patch_blocks.{}.{rest}", self.block)
    }

    fn tensor(&self, stream: Stream) -> TensorId {
        match stream {
            Stream::Image => self.s,
            Stream::Text => self.y,
        }
    }

    fn temporary(&self, graph: &mut Graph, name: &str, shape: &[usize]) -> TensorId {
        graph.tensor(name, shape, self.element, Role::Temporary)
    }

    fn modulation(&self, stream: Stream, half: ModulationHalf) -> Modulation {
        Modulation { block: self.block, stream, half }
    }

    fn norm(&self, graph: &mut Graph, stream: Stream, half: ModulationHalf) -> NormModulate {
        let number = if half == ModulationHalf::Attention { 1 } else { 2 };
        let name = self.name(&format!("norm_{}{number}.weight", letter(stream)));
        NormModulate {
            weight: vector(graph, &name, self.config.hidden_size),
            modulation: self.modulation(stream, half),
        }
    }

    fn attention(&self, graph: &mut Graph, streams: &[Stream]) -> Result<TensorId, GraphError> {
        let (config, tokens) = (self.config, self.tokens);
        let (d, heads, head_dim) = (config.hidden_size, config.num_groups, config.head_dim());
        let shape = [tokens.batch, heads, tokens.joint(), head_dim];
        let [q, k, v] = ["patch.q", "patch.k", "patch.v"].map(|name| self.temporary(graph, name, &shape));
        let attended = self.temporary(graph, "patch.attended", &[tokens.batch, tokens.joint(), d]);
        let streams = streams.iter().map(|&stream| self.qkv_stream(graph, stream)).collect();
        let op = QkvProject { tokens, streams, q, k, v, in_features: d, heads, head_dim };
        graph.push(self.name("attn.qkv"), Phase::Step, Op::QkvProject(op))?;
        let query_start = if self.text_output { 0 } else { tokens.text };
        let op = Attention { tokens, q, k, v, output: attended, heads, head_dim, query_start };
        graph.push(self.name("attn"), Phase::Step, Op::Attention(op))?;
        Ok(attended)
    }

    fn qkv_stream(&self, graph: &mut Graph, stream: Stream) -> QkvStream {
        let (config, x) = (self.config, letter(stream));
        let (d, head_dim) = (config.hidden_size, config.head_dim());
        let reference_rows = config.rope_ref_h / config.patch_size;
        let reference_cols = config.rope_ref_w / config.patch_size;
        QkvStream {
            stream,
            input: self.tensor(stream),
            norm: Some(self.norm(graph, stream, ModulationHalf::Attention)),
            weight: stored(graph, &self.name(&format!("attn.qkv_{x}.weight")), 3 * d, d),
            q_norm: vector(graph, &self.name(&format!("attn.q_norm_{x}.weight")), head_dim),
            k_norm: vector(graph, &self.name(&format!("attn.k_norm_{x}.weight")), head_dim),
            rotary: match stream {
                Stream::Image => Rotary::Image { reference_rows, reference_cols },
                Stream::Text => Rotary::Text,
            },
        }
    }

    fn feed_forward(&self, graph: &mut Graph, streams: &[Stream]) -> Result<TensorId, GraphError> {
        let (tokens, hidden, inner) = (self.tokens, self.config.hidden_size, self.config.ffn_inner());
        let output = self.temporary(graph, "patch.inner", &[tokens.batch, tokens.joint(), inner]);
        let streams = streams
            .iter()
            .map(|&stream| {
                let mlp = self.name(&format!("mlp_{}", letter(stream)));
                let recipe = Recipe::Interleave { even: format!("{mlp}.w1.weight"), odd: format!("{mlp}.w3.weight") };
                SwiGluStream {
                    stream,
                    input: self.tensor(stream),
                    norm: self.norm(graph, stream, ModulationHalf::FeedForward),
                    weight: graph.weight(Weight { rows: 2 * inner, cols: hidden, recipe }),
                }
            })
            .collect();
        let op = SwiGlu { tokens, streams, output, hidden, inner };
        graph.push(self.name("mlp.w13"), Phase::Step, Op::SwiGlu(op))?;
        Ok(output)
    }

    /// `kind` is `attn.proj` (with bias) or `mlp.w2` (without).
    fn residual(
        &self,
        graph: &mut Graph,
        streams: &[Stream],
        input: TensorId,
        kind: &str,
        half: ModulationHalf,
    ) -> Result<(), GraphError> {
        let (tokens, hidden) = (self.tokens, self.config.hidden_size);
        let in_features = match half {
            ModulationHalf::Attention => hidden,
            ModulationHalf::FeedForward => self.config.ffn_inner(),
        };
        let streams = streams
            .iter()
            .map(|&stream| {
                let x = letter(stream);
                let affine = match half {
                    ModulationHalf::Attention => {
                        linear(graph, &self.name(&format!("attn.proj_{x}")), hidden, in_features)
                    }
                    ModulationHalf::FeedForward => {
                        let name = self.name(&format!("mlp_{x}.w2.weight"));
                        Affine { weight: stored(graph, &name, hidden, in_features), bias: None }
                    }
                };
                let gate = self.modulation(stream, half);
                GatedResidualStream { stream, residual: self.tensor(stream), affine, gate }
            })
            .collect();
        let op = GatedResidual { tokens, input, streams, in_features, hidden };
        graph.push(self.name(kind), Phase::Step, Op::GatedResidual(op))
    }
}
