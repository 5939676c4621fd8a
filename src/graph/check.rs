//! Shape rules of the ops, checked when a node is pushed.

use super::op::{Affine, ConvInput, Emit, GROUP_NORM_SLABS, Norm, NormKind, Op, SampleStep, Stream, Tokens};
use super::{ConstantId, ElementType, Graph, Node, Phase, Scale, TensorId, WeightId};

/// An operand that does not fit its op.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("graph: {node}: {message}")]
pub struct GraphError {
    /// Node's name.
    pub node: String,
    /// What is wrong, with values.
    pub message: String,
}

/// Checks `node` as the next of `graph`: as [`check`], and its place.
pub(super) fn check_next(graph: &Graph, node: &Node) -> Result<(), GraphError> {
    let late = graph.nodes.last().is_some_and(|n| n.phase == Phase::Step) && node.phase == Phase::Once;
    if late {
        let message = "runs once but stands after nodes of the loop".into();
        return Err(GraphError { node: node.name.clone(), message });
    }
    check(graph, node)
}

/// Checks every operand of `node` against its op.
pub(super) fn check(graph: &Graph, node: &Node) -> Result<(), GraphError> {
    let mut rules = Rules { graph, problem: None };
    let idle = node.phase == Phase::Step || node.op.constants().is_empty();
    rules.require(idle, || "runs before the loop but reads constants of its passes".into());
    rules.op(&node.op);
    rules.formats(&node.op);
    match rules.problem {
        Some(message) => Err(GraphError { node: node.name.clone(), message }),
        None => Ok(()),
    }
}

/// Keeps the first broken rule.
struct Rules<'a> {
    graph: &'a Graph,
    problem: Option<String>,
}

impl Rules<'_> {
    fn require(&mut self, holds: bool, message: impl FnOnce() -> String) {
        if !holds && self.problem.is_none() {
            self.problem = Some(message());
        }
    }

    fn shape(&mut self, id: TensorId, expected: &[usize]) {
        match self.graph.tensors.get(id.index()) {
            Some(t) => {
                self.require(t.shape == expected, || format!("{}: {:?}, expected {expected:?}", t.name, t.shape));
            }
            None => self.require(false, || format!("tensor {} does not exist", id.0)),
        }
    }

    /// `rows x cols` elements, first extents free.
    fn rows(&mut self, id: TensorId, rows: usize, cols: usize) {
        match self.graph.tensors.get(id.index()) {
            Some(t) => self.require(t.shape.last() == Some(&cols) && t.elements() == rows * cols, || {
                format!("{}: {:?}, expected {rows} rows of {cols}", t.name, t.shape)
            }),
            None => self.require(false, || format!("tensor {} does not exist", id.0)),
        }
    }

    fn elements(&mut self, id: TensorId, expected: &[ElementType]) {
        if let Some(t) = self.graph.tensors.get(id.index()) {
            let names: Vec<String> = expected.iter().map(ToString::to_string).collect();
            self.require(t.format.scale == Scale::None && expected.contains(&t.format.element), || {
                format!("{}: {}, expected {}", t.name, t.format, names.join(" or "))
            });
        }
    }

    fn matrix(&mut self, id: WeightId, rows: usize, cols: usize) {
        match self.graph.weights.get(id.index()) {
            Some(w) => self.require((w.rows, w.cols) == (rows, cols), || {
                format!("weight {:?}: [{}, {}], expected [{rows}, {cols}]", w.sources(), w.rows, w.cols)
            }),
            None => self.require(false, || format!("weight {} does not exist", id.0)),
        }
    }

    fn vector(&mut self, id: WeightId, len: usize) {
        match self.graph.weights.get(id.index()) {
            Some(w) => self.require(w.elements() == len, || {
                format!("weight {:?}: {} elements, expected {len}", w.sources(), w.elements())
            }),
            None => self.require(false, || format!("weight {} does not exist", id.0)),
        }
    }

    fn affine(&mut self, affine: Affine, out: usize, input: usize) {
        self.matrix(affine.weight, out, input);
        if let Some(bias) = affine.bias {
            self.vector(bias, out);
        }
    }

    fn norm(&mut self, norm: &Norm, width: usize) {
        self.vector(norm.weight, width);
        norm.bias.into_iter().for_each(|bias| self.vector(bias, width));
        self.require(norm.bias.is_none() || norm.kind == NormKind::Layer, || "a bias of an rms norm".into());
        let eps = norm.eps.value();
        self.require(eps.is_finite() && eps >= 0.0, || format!("a norm's eps of {eps}"));
        if let Some(modulation) = &norm.modulation {
            self.constant(modulation.shift, width);
            self.constant(modulation.scale, width);
        }
    }

    /// Sums of squares make no other norm than that of [`Norm::rms`].
    fn folded(&mut self, sums: Option<TensorId>, norm: Option<&Norm>) {
        let holds = sums.is_none() || norm.is_none_or(Norm::is_foldable);
        self.require(holds, || "sums of squares for a norm that is not rms with eps 1e-6".into());
    }

    fn constant(&mut self, id: ConstantId, len: usize) {
        match self.graph.constants.get(id.index()) {
            Some(c) => self.require(c.len == len, || format!("{}: {} elements, expected {len}", c.name, c.len)),
            None => self.require(false, || format!("constant {} does not exist", id.0)),
        }
    }

    /// `[B, T or L, width]`.
    fn stream(&mut self, id: TensorId, stream: Stream, tokens: Tokens, width: usize) {
        let count = match stream {
            Stream::Text => tokens.text,
            Stream::Image => tokens.image(),
        };
        self.require(count > 0, || format!("a {stream:?} stream without tokens"));
        self.shape(id, &[tokens.batch, count, width]);
    }

    /// What is left of a stream of that many rows for the next product.
    fn emit(&mut self, emit: Option<Emit>, rows: usize, width: usize) {
        let Some(emit) = emit else { return };
        self.require(width.is_multiple_of(64), || format!("a stream {width} wide, expected a multiple of 64"));
        self.rows(emit.operand, rows, width);
        self.rows(emit.sums, rows, width / 64);
        if let Some(norm) = &emit.norm {
            self.norm(norm, width);
        }
    }

    fn sums(&mut self, sums: Option<TensorId>, stream: Stream, tokens: Tokens, width: usize) {
        if let Some(sums) = sums {
            self.stream(sums, stream, tokens, width / 64);
        }
    }

    fn image(&mut self, id: TensorId, tokens: Tokens, patch: usize) {
        self.shape(id, &[tokens.batch, 3, tokens.grid_rows * patch, tokens.grid_cols * patch]);
    }

    fn pixels(&mut self, id: TensorId, tokens: Tokens, patch: usize, channels: usize) {
        self.shape(id, &[tokens.batch, tokens.image(), patch * patch, channels]);
    }

    /// Elements are values of the kind that the op computes with.
    fn formats(&mut self, op: &Op) {
        let (f32, numbers, ids) =
            (&[ElementType::F32][..], &[ElementType::F32, ElementType::Bf16], &[ElementType::I32]);
        for id in op.reads().into_iter().chain(op.writes()) {
            let is_ids = match op {
                Op::Lookup(o) => o.ids == id,
                Op::Attention(o) => o.lengths == Some(id),
                _ => false,
            };
            self.elements(id, if is_ids { ids } else { numbers });
        }
        let exact: Vec<TensorId> = match op {
            Op::Lookup(o) => vec![o.output],
            Op::EmbedRows(o) => vec![o.output],
            Op::PatchEmbed(o) => vec![o.image, o.stream],
            Op::FeatureGate(o) => vec![o.stream, o.level],
            Op::GatedResidual(o) => o.streams.iter().map(|s| s.residual).collect(),
            Op::AddSilu(o) => vec![o.stream],
            Op::PixelEmbed(o) => vec![o.image],
            Op::Noise(o) => vec![o.output],
            Op::SampleStep(o) => [o.image, o.noise].into_iter().chain(o.velocity).collect(),
            _ => Vec::new(),
        };
        exact.into_iter().for_each(|id| self.elements(id, f32));
        for id in op.weights() {
            if let Some(w) = self.graph.weights.get(id.index()) {
                self.require(w.format.scale == Scale::None && numbers.contains(&w.format.element), || {
                    format!("weight {:?}: {}, expected f32 or bf16", w.sources(), w.format)
                });
            }
        }
    }

    fn op(&mut self, op: &Op) {
        match op {
            Op::Conv3x3(_) | Op::GroupNormSilu(_) => self.adapter(op),
            Op::QkvProject(_) | Op::Attention(_) => self.attention(op),
            Op::PixelEmbed(_) | Op::PixelModulate(_) | Op::PixelUpdate(_) | Op::SampleStep(_) => self.pixel(op),
            Op::Linear(o) => {
                self.rows(o.input, o.rows, o.in_features);
                self.rows(o.output, o.rows, o.out_features);
                self.affine(o.affine, o.out_features, o.in_features);
            }
            Op::EmbedRows(o) => {
                self.stream(o.input, Stream::Text, o.tokens, o.in_features);
                self.stream(o.output, Stream::Text, o.tokens, o.out_features);
                self.affine(o.affine, o.out_features, o.in_features);
                self.vector(o.norm, o.out_features);
                let rows = self.graph.weights.get(o.position.index()).map_or(0, |w| w.rows);
                self.require(rows >= o.tokens.text, || format!("{} positions for {} tokens", rows, o.tokens.text));
                self.matrix(o.position, rows, o.out_features);
            }
            Op::Lookup(o) => {
                let found = self.graph.tensors.get(o.ids.index()).map_or(0, |t| t.elements());
                self.require(found == o.rows, || format!("{found} ids for {} rows", o.rows));
                self.rows(o.output, o.rows, o.width);
                self.matrix(o.table, o.entries, o.width);
                self.emit(o.emit, o.rows, o.width);
            }
            Op::Copy(o) => {
                let shape = self.graph.tensors.get(o.input.index()).map(|t| t.shape.clone()).unwrap_or_default();
                self.shape(o.output, &shape);
                self.require(o.input != o.output, || "copies a tensor onto itself".into());
                let width = shape.last().copied().unwrap_or(1).max(1);
                self.emit(o.emit, shape.iter().product::<usize>() / width, width);
            }
            Op::PatchEmbed(o) => {
                self.image(o.image, o.tokens, o.patch);
                self.stream(o.stream, Stream::Image, o.tokens, o.hidden);
                self.affine(o.affine, o.hidden, 3 * o.patch * o.patch);
                self.emit(o.emit, o.tokens.batch * o.tokens.image(), o.hidden);
            }
            Op::FeatureGate(o) => {
                self.stream(o.stream, Stream::Image, o.tokens, o.hidden);
                self.stream(o.features, Stream::Image, o.tokens, o.hidden);
                self.stream(o.feature_half, Stream::Image, o.tokens, o.gate_width);
                self.shape(o.level, &[o.tokens.batch]);
                self.matrix(o.weight, o.gate_width, o.hidden);
                self.vector(o.log_slope, 1);
                self.emit(o.emit, o.tokens.batch * o.tokens.image(), o.hidden);
                if let Some(operand) = o.operand {
                    self.stream(operand, Stream::Image, o.tokens, o.hidden);
                    let apart = o.emit.is_none_or(|e| e.operand != operand);
                    self.require(apart, || "emits into the operand that it still reads".into());
                }
                self.require(o.gate_width == 1 || o.gate_width == o.hidden, || {
                    format!("gate width {}, expected 1 or {}", o.gate_width, o.hidden)
                });
            }
            Op::Glu(o) => {
                self.rows(o.output, o.tokens.batch * o.tokens.joint(), o.inner);
                for s in &o.streams {
                    self.stream(s.input, s.stream, o.tokens, o.hidden);
                    self.sums(s.sums, s.stream, o.tokens, o.hidden);
                    self.norm(&s.norm, o.hidden);
                    self.folded(s.sums, Some(&s.norm));
                    self.matrix(s.weight, 2 * o.inner, o.hidden);
                }
            }
            Op::GatedResidual(o) => {
                self.rows(o.input, o.tokens.batch * o.tokens.joint(), o.in_features);
                for s in &o.streams {
                    self.stream(s.residual, s.stream, o.tokens, o.hidden);
                    self.affine(s.affine, o.hidden, o.in_features);
                    let count = if s.stream == Stream::Text { o.tokens.text } else { o.tokens.image() };
                    if let Some(gate) = s.gate {
                        self.constant(gate, o.hidden);
                    }
                    self.emit(s.emit, o.tokens.batch * count, o.hidden);
                }
            }
            Op::AddSilu(o) => {
                self.constant(o.vector, o.hidden);
                self.stream(o.stream, Stream::Image, o.tokens, o.hidden);
                self.emit(o.emit, o.tokens.batch * o.tokens.image(), o.hidden);
            }
            Op::Noise(o) => {
                let rank = self.graph.tensors.get(o.output.index()).map_or(0, |t| t.shape.len());
                self.require(rank == 4, || format!("noise of rank {rank}, expected [B, 3, H, W]"));
            }
        }
    }

    fn adapter(&mut self, op: &Op) {
        match op {
            Op::Conv3x3(o) => {
                let channels = match o.source {
                    ConvInput::Image { channels, height, width, unpatchify: f } => {
                        self.shape(o.input, &[o.tokens.batch, channels, height, width]);
                        self.require(f > 0 && channels.is_multiple_of(f * f), || {
                            format!("{channels} channels cannot be unpatchified by {f}")
                        });
                        channels / (f * f).max(1)
                    }
                    ConvInput::Tokens { channels } => {
                        self.stream(o.input, Stream::Image, o.tokens.before_stride(o.stride), channels);
                        channels
                    }
                };
                let strided = matches!(o.source, ConvInput::Tokens { .. });
                self.require(o.stride == 1 || o.stride == 2 && strided, || format!("a stride of {}", o.stride));
                self.require(o.before <= 1, || format!("{} rows of border", o.before));
                self.require(o.input != o.output, || "convolves in place".into());
                self.stream(o.output, Stream::Image, o.tokens, o.out_channels);
                self.affine(o.kernel, o.out_channels, 9 * channels);
            }
            Op::GroupNormSilu(o) => {
                self.stream(o.input, Stream::Image, o.tokens, o.channels);
                self.stream(o.output, Stream::Image, o.tokens, o.channels);
                self.vector(o.weight, o.channels);
                self.vector(o.bias, o.channels);
                self.require(o.groups > 0 && o.channels.is_multiple_of(o.groups), || {
                    format!("{} channels in {} groups", o.channels, o.groups)
                });
                if let Some(sums) = o.slab_sums {
                    self.shape(sums, &[o.tokens.batch, o.groups, GROUP_NORM_SLABS, 2]);
                }
            }
            _ => {}
        }
    }

    fn attention(&mut self, op: &Op) {
        match op {
            Op::QkvProject(o) => {
                self.heads(o.tokens, [o.q, o.k, o.v], [o.heads, o.kv_heads, o.head_dim]);
                for s in &o.streams {
                    self.stream(s.input, s.stream, o.tokens, o.in_features);
                    self.sums(s.sums, s.stream, o.tokens, o.in_features);
                    self.require(s.sums.is_none() || s.norm.is_some(), || "sums of squares without a norm".into());
                    self.folded(s.sums, s.norm.as_ref());
                    self.matrix(s.weight, (o.heads + 2 * o.kv_heads) * o.head_dim, o.in_features);
                    self.vector(s.q_norm, o.head_dim);
                    self.vector(s.k_norm, o.head_dim);
                    if let Some(norm) = &s.norm {
                        self.norm(norm, o.in_features);
                    }
                }
                self.require(o.head_dim.is_multiple_of(4), || {
                    format!("head of {}, expected a multiple of 4", o.head_dim)
                });
            }
            Op::Attention(o) => {
                self.heads(o.tokens, [o.q, o.k, o.v], [o.heads, o.kv_heads, o.head_dim]);
                if let Some(lengths) = o.lengths {
                    self.shape(lengths, &[o.tokens.batch]);
                }
                self.require(o.soft_cap != Some(0), || "scores capped to 0".into());
                self.shape(o.output, &[o.tokens.batch, o.tokens.joint(), o.heads * o.head_dim]);
                self.require(o.query_start < o.tokens.joint(), || "no queries".into());
            }
            _ => {}
        }
    }

    /// Queries, and keys and values, in `[heads, kv_heads, head_dim]`.
    fn heads(&mut self, tokens: Tokens, qkv: [TensorId; 3], [heads, kv_heads, head_dim]: [usize; 3]) {
        self.require(kv_heads > 0 && heads.is_multiple_of(kv_heads), || {
            format!("{heads} heads of queries for {kv_heads} of keys, expected a multiple")
        });
        for (id, heads) in qkv.into_iter().zip([heads, kv_heads, kv_heads]) {
            self.shape(id, &[tokens.batch, heads, tokens.joint(), head_dim]);
        }
    }

    fn pixel(&mut self, op: &Op) {
        match op {
            Op::PixelEmbed(o) => {
                self.image(o.image, o.tokens, o.patch);
                self.pixels(o.pixels, o.tokens, o.patch, o.channels);
                self.affine(o.affine, o.channels, 3);
            }
            Op::PixelModulate(o) => {
                let row = o.patch * o.patch * o.channels;
                self.stream(o.stream, Stream::Image, o.tokens, o.hidden);
                self.pixels(o.pixels, o.tokens, o.patch, o.channels);
                self.stream(o.output, Stream::Image, o.tokens, row);
                self.affine(o.modulation, 2 * row, o.hidden);
                self.vector(o.norm, o.channels);
            }
            Op::PixelUpdate(o) => {
                let row = o.patch * o.patch * o.channels;
                self.stream(o.stream, Stream::Image, o.tokens, o.hidden);
                self.stream(o.attention, Stream::Image, o.tokens, o.attention_width);
                self.pixels(o.pixels, o.tokens, o.patch, o.channels);
                self.affine(o.modulation, 4 * row, o.hidden);
                self.affine(o.expand, row, o.attention_width);
                self.vector(o.norm, o.channels);
                self.affine(o.fc1, o.mlp_width, o.channels);
                self.affine(o.fc2, o.channels, o.mlp_width);
                if let Some(sample) = &o.sample {
                    self.require(sample.pixels == o.pixels, || "samples from other pixels".into());
                    self.sample(sample);
                }
            }
            Op::SampleStep(o) => self.sample(o),
            _ => {}
        }
    }

    fn sample(&mut self, o: &SampleStep) {
        self.pixels(o.pixels, o.tokens, o.patch, o.channels);
        for id in [Some(o.image), Some(o.noise), o.velocity].into_iter().flatten() {
            self.image(id, o.tokens, o.patch);
        }
        self.vector(o.norm, o.channels);
        self.affine(o.affine, 3, o.channels);
    }
}
