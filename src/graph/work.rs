//! What ops cost on any device: arithmetic, exponentials, and bytes that must move. Functions of shapes alone.

use std::ops::{AddAssign, Range};

use super::op::{Affine, Attention, ConvInput, Emit, GatedResidual, Glu, Mask, Op, Stream, Tokens};
use super::{Graph, Node, TensorId, WeightId};

/// Cost of a launch. Element-wise arithmetic is not counted: memory bounds the ops that have little else.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Work {
    /// Of products and convolutions; a fused multiply-add counts 2.
    pub flop: u64,
    /// Exponentials: of softmax, and one for each sigmoid, silu and gelu.
    pub exp: u64,
    /// Operands read once and results written once; weights as kernels hold them (vectors float32, matrices bf16).
    pub bytes: u64,
}

impl AddAssign for Work {
    fn add_assign(&mut self, other: Self) {
        self.flop += other.flop;
        self.exp += other.exp;
        self.bytes += other.bytes;
    }
}

impl Work {
    /// The same, `times` times.
    pub fn times(self, times: usize) -> Self {
        let times = times as u64;
        Self { flop: self.flop * times, exp: self.exp * times, bytes: self.bytes * times }
    }
}

impl Graph {
    /// Cost of running `node` on rows `rows` of its row space, or on all.
    pub fn work(&self, node: &Node, rows: Option<&Range<usize>>) -> Work {
        let mut counter = Counter { graph: self, rows: rows.cloned(), flop: 0, exp: 0, bytes: 0 };
        counter.op(&node.op);
        Work { flop: counter.flop as u64, exp: counter.exp as u64, bytes: counter.bytes as u64 }
    }
}

struct Counter<'a> {
    graph: &'a Graph,
    rows: Option<Range<usize>>,
    flop: usize,
    exp: usize,
    bytes: usize,
}

impl Counter<'_> {
    fn tensors(&mut self, ids: impl IntoIterator<Item = TensorId>) {
        self.bytes += ids.into_iter().map(|id| self.graph[id].bytes()).sum::<usize>();
    }

    /// `rows` of the tensor's rows of `width` elements.
    fn part(&mut self, id: TensorId, rows: usize, width: usize) {
        self.bytes += rows * width * self.graph[id].format.element.size();
    }

    fn weights(&mut self, ids: impl IntoIterator<Item = WeightId>) {
        self.bytes += ids.into_iter().map(|id| self.graph[id].bytes()).sum::<usize>();
    }

    fn affine(&mut self, affine: &Affine) {
        self.weights([affine.weight].into_iter().chain(affine.bias));
    }

    fn product(&mut self, rows: usize, cols: usize, inner: usize) {
        self.flop += 2 * rows * cols * inner;
    }

    /// Everything the op reads and writes, whole.
    fn whole(&mut self, op: &Op) {
        self.tensors(op.reads());
        self.tensors(op.writes());
        self.weights(op.weights());
    }

    fn op(&mut self, op: &Op) {
        match op {
            Op::Attention(op) => return self.attention(op),
            Op::Glu(op) => return self.glu(op),
            Op::GatedResidual(op) => return self.gated_residual(op),
            Op::Linear(op) => {
                let rows = self.rows.as_ref().map_or(op.rows, Range::len);
                self.product(rows, op.out_features, op.in_features);
                self.part(op.input, rows, op.in_features);
                self.part(op.output, rows, op.out_features);
                return self.affine(&op.affine);
            }
            Op::PixelModulate(op) => {
                let rows = self.rows.as_ref().map_or(op.tokens.batch * op.tokens.image(), Range::len);
                let row = op.patch * op.patch * op.channels;
                self.product(rows, 2 * row, op.hidden);
                self.part(op.stream, rows, op.hidden);
                self.part(op.pixels, rows, row);
                self.part(op.output, rows, row);
                self.affine(&op.modulation);
                return self.weights([op.norm]);
            }
            _ => {}
        }
        self.whole(op);
        self.arithmetic(op);
    }

    /// Of the ops that are never cut.
    fn arithmetic(&mut self, op: &Op) {
        match op {
            Op::Conv3x3(op) => {
                let channels = match op.source {
                    ConvInput::Image { channels, unpatchify, .. } => channels / (unpatchify * unpatchify),
                    ConvInput::Tokens { channels } => channels,
                };
                let rows = op.tokens.batch * op.tokens.image();
                self.product(rows, op.out_channels, 9 * channels);
                self.exp += if op.silu { rows * op.out_channels } else { 0 };
            }
            Op::GroupNormSilu(op) => self.exp += op.tokens.batch * op.tokens.image() * op.channels,
            Op::Lookup(op) => {
                // As many rows of the table as there are ids.
                let table = &self.graph[op.table];
                self.bytes -= table.bytes() - table.bytes() / table.rows * op.rows.min(table.rows);
            }
            Op::EmbedRows(op) => {
                self.product(op.tokens.batch * op.tokens.text, op.out_features, op.in_features);
                // Only as many positions as there are tokens.
                let position = &self.graph[op.position];
                self.bytes -= position.bytes() / position.rows * (position.rows - op.tokens.text);
            }
            Op::PatchEmbed(op) => {
                self.product(op.tokens.batch * op.tokens.image(), op.hidden, 3 * op.patch * op.patch);
            }
            Op::FeatureGate(op) => {
                let rows = op.tokens.batch * op.tokens.image();
                self.product(rows, op.gate_width, op.hidden);
                self.exp += rows * op.gate_width;
            }
            Op::QkvProject(op) => {
                let width = (op.heads + 2 * op.kv_heads) * op.head_dim;
                let rows: usize = op.streams.iter().map(|s| covered(op.tokens, s.stream, None)).sum();
                self.product(rows, width, op.in_features);
            }
            Op::AddSilu(op) => self.exp += op.tokens.batch * op.tokens.image() * op.hidden,
            Op::PixelEmbed(op) => self.product(pixels(op.tokens, op.patch), op.channels, 3),
            Op::PixelUpdate(op) => {
                let (rows, pixels) = (op.tokens.batch * op.tokens.image(), pixels(op.tokens, op.patch));
                let row = op.patch * op.patch * op.channels;
                self.product(rows, 4 * row, op.hidden);
                self.product(rows, row, op.attention_width);
                self.product(pixels, 2 * op.mlp_width, op.channels);
                self.exp += pixels * op.mlp_width;
                if op.sample.is_some() {
                    self.product(pixels, 3, op.channels);
                }
            }
            Op::SampleStep(op) => self.product(pixels(op.tokens, op.patch), 3, op.channels),
            // Nothing but bytes, or counted by their own functions.
            Op::Copy(_)
            | Op::Noise(_)
            | Op::Attention(_)
            | Op::Glu(_)
            | Op::GatedResidual(_)
            | Op::Linear(_)
            | Op::PixelModulate(_) => {}
        }
    }

    fn attention(&mut self, op: &Attention) {
        let (joint, width) = (op.tokens.joint(), op.heads * op.head_dim);
        let queries = op.tokens.batch * (joint - op.query_start);
        // A causal query sees itself and what is before it.
        let pairs = match op.mask {
            Mask::None => queries * joint,
            Mask::Causal => op.tokens.batch * (op.query_start + 1..=joint).sum::<usize>(),
        };
        // Scores, then values.
        self.product(pairs, 1, 2 * width);
        self.exp += pairs * op.heads;
        self.part(op.q, queries, width);
        self.part(op.output, queries, width);
        self.tensors([op.k, op.v]);
    }

    fn glu(&mut self, op: &Glu) {
        for s in &op.streams {
            let rows = covered(op.tokens, s.stream, self.rows.as_ref());
            if rows == 0 {
                continue;
            }
            self.product(rows, 2 * op.inner, op.hidden);
            self.exp += rows * op.inner;
            self.part(s.input, rows, op.hidden);
            if let Some(sums) = s.sums {
                self.part(sums, rows, op.hidden / 64);
            }
            self.part(op.output, rows, op.inner);
            self.weights([s.weight, s.norm.weight]);
        }
    }

    fn gated_residual(&mut self, op: &GatedResidual) {
        for s in &op.streams {
            let rows = covered(op.tokens, s.stream, self.rows.as_ref());
            if rows == 0 {
                continue;
            }
            self.product(rows, op.hidden, op.in_features);
            self.part(op.input, rows, op.in_features);
            // Read and written.
            self.part(s.residual, 2 * rows, op.hidden);
            if let Some(Emit { operand, sums, .. }) = s.emit {
                self.part(operand, rows, op.hidden);
                self.part(sums, rows, op.hidden / 64);
            }
            self.affine(&s.affine);
        }
    }
}

fn pixels(tokens: Tokens, patch: usize) -> usize {
    tokens.batch * tokens.image() * patch * patch
}

/// Rows of `stream` within joint rows `range`.
fn covered(tokens: Tokens, stream: Stream, range: Option<&Range<usize>>) -> usize {
    match range {
        None => tokens.batch * tokens.part(stream).1,
        Some(range) => {
            tokens.segments(range).iter().filter(|segment| segment.stream == stream).map(|s| s.rows.len()).sum()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn joint_ranges_split_into_streams() {
        let tokens = Tokens { batch: 2, text: 3, grid_rows: 2, grid_cols: 2 };
        let both = |range: Range<usize>| [Stream::Text, Stream::Image].map(|s| covered(tokens, s, Some(&range)));
        assert_eq!([Stream::Text, Stream::Image].map(|s| covered(tokens, s, None)), [6, 8]);
        assert_eq!(both(0..14), [6, 8]);
        assert_eq!(both(2..9), [3, 4]);
        assert_eq!(both(11..12), [0, 1]);
    }
}
