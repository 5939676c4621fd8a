//! One decode on the CPU: each launch's operands and weights, handed to the op's function.

use std::collections::HashMap;
use std::ops::Range;

use half::bf16;

use super::arena::{Arena, Operands};
use super::attention::attention;
use super::conv::{Kernel, Then, conv3x3, group_norm_silu};
use super::folded;
use super::pixel::{self, PixelMlp, UpdateWeights};
use super::rotary::RotaryTable;
use super::tokens::{self, GateInputs, Heads, Modulated, QkvWeights};
use crate::exec::{ExecError, Session};
use crate::graph::op::{
    AddSilu, Affine, Attention, Conv3x3, Copy, EmbedRows, Emit, FeatureGate, GatedResidual, Glu, GroupNormSilu, Linear,
    Lookup, Norm, PatchEmbed, PixelEmbed, PixelModulate, PixelUpdate, QkvProject, QkvStream, Rotary, SampleStep,
    Tokens,
};
use crate::graph::{Op, TensorId, WeightId};
use crate::parallel;
use crate::plan::{Iteration, Launch, Program};
use crate::sampler::Noise;
use crate::weights::{Matrix, WeightStore};

pub(super) struct CpuSession<'a> {
    weights: &'a WeightStore,
    program: &'a Program,
    arena: Arena<'a>,
    rotary: HashMap<(Rotary, Tokens, usize), RotaryTable>,
    /// As wide as any row.
    zeros: Vec<f32>,
    ones: Vec<f32>,
}

impl<'a> CpuSession<'a> {
    pub(super) fn new(weights: &'a WeightStore, program: &'a Program) -> Result<Self, ExecError> {
        let widest = program.graph.weights.iter().map(|w| w.rows.max(w.cols)).max().unwrap_or(0);
        let (zeros, ones) = (vec![0.0; widest], vec![1.0; widest]);
        Ok(Self { weights, program, arena: Arena::new(program)?, rotary: HashMap::new(), zeros, ones })
    }

    /// Makes the angles that `op` will need, once per decode.
    fn prepare_rotary(&mut self, op: &QkvProject) {
        for stream in &op.streams {
            let key = (stream.rotary, op.tokens, op.head_dim);
            self.rotary.entry(key).or_insert_with(|| RotaryTable::new(stream.rotary, op.tokens, op.head_dim));
        }
    }
}

impl Session for CpuSession<'_> {
    fn write(&mut self, id: TensorId, values: &[f32]) -> Result<(), ExecError> {
        self.arena.operands().write(id).copy_from_slice(values);
        Ok(())
    }

    fn noise(&mut self, id: TensorId, noise: &mut Noise, draw: usize) -> Result<(), ExecError> {
        Ok(noise.fill(draw, self.arena.operands().write(id))?)
    }

    fn launch(&mut self, launch: &Launch, iteration: &Iteration<'_>) -> Result<(), ExecError> {
        let op = &self.program.graph.nodes[launch.node].op;
        if let Op::QkvProject(op) = op {
            self.prepare_rotary(op);
        }
        let run = Run {
            weights: self.weights,
            program: self.program,
            rotary: &self.rotary,
            zeros: &self.zeros,
            ones: &self.ones,
            operands: self.arena.operands(),
            iteration,
        };
        run.launch(op, launch.rows.clone())?;
        for id in op.writes().into_iter().filter(|id| self.program.graph[*id].rounded) {
            round(self.arena.operands().write(id));
        }
        Ok(())
    }

    fn read(&mut self, id: TensorId) -> Result<Vec<f32>, ExecError> {
        Ok(self.arena.operands().read(id).to_vec())
    }
}

/// Rounds to the nearest bf16.
fn round(values: &mut [f32]) {
    const PIECE: usize = 1 << 16;
    parallel::pieces(values, PIECE, &|_, values| {
        values.iter_mut().for_each(|x| *x = bf16::from_f32(*x).to_f32());
    });
}

/// Everything one launch may touch.
struct Run<'a> {
    weights: &'a WeightStore,
    program: &'a Program,
    rotary: &'a HashMap<(Rotary, Tokens, usize), RotaryTable>,
    /// As wide as any row.
    zeros: &'a [f32],
    ones: &'a [f32],
    operands: Operands<'a>,
    iteration: &'a Iteration<'a>,
}

impl<'a> Run<'a> {
    fn launch(&self, op: &Op, rows: Option<Range<usize>>) -> Result<(), ExecError> {
        match op {
            Op::Conv3x3(op) => self.conv3x3(op),
            Op::GroupNormSilu(op) => self.group_norm_silu(op),
            Op::Linear(op) => self.linear(op, rows),
            Op::EmbedRows(op) => self.embed_rows(op),
            Op::Copy(op) => self.copy(op),
            Op::Lookup(op) => self.lookup(op),
            Op::PatchEmbed(op) => self.patch_embed(op),
            Op::FeatureGate(op) => self.feature_gate(op),
            Op::QkvProject(op) => self.qkv_project(op),
            Op::Attention(op) => self.attention(op),
            Op::Glu(op) => self.glu(op, rows),
            Op::GatedResidual(op) => self.gated_residual(op, rows),
            Op::AddSilu(op) => self.add_silu(op),
            Op::PixelEmbed(op) => self.pixel_embed(op),
            Op::PixelModulate(op) => self.pixel_modulate(op, rows),
            Op::PixelUpdate(op) => self.pixel_update(op),
            // Filled by `Session::noise`.
            Op::Noise(_) => Ok(()),
            Op::SampleStep(op) => self.sample_step(op),
        }
    }

    fn matrix(&self, id: WeightId) -> Result<Matrix<'a>, ExecError> {
        Ok(self.weights.matrix(&self.program.graph[id])?)
    }

    fn vector(&self, id: WeightId) -> Result<Vec<f32>, ExecError> {
        Ok(self.matrix(id)?.to_vector())
    }

    fn affine(&self, affine: Affine) -> Result<(Matrix<'a>, Option<Vec<f32>>), ExecError> {
        Ok((self.matrix(affine.weight)?, affine.bias.map(|b| self.vector(b)).transpose()?))
    }

    fn biased(&self, affine: Affine) -> Result<(Matrix<'a>, Vec<f32>), ExecError> {
        let (weight, bias) = self.affine(affine)?;
        let bias = bias.unwrap_or_else(|| vec![0.0; weight.rows()]);
        Ok((weight, bias))
    }

    /// Rows `range` of a tensor of `total` rows; a chunked tensor holds nothing but that range.
    fn rows_of(&self, id: TensorId, total: usize, range: &Range<usize>) -> Range<usize> {
        let graph = &self.program.graph;
        let width = graph[id].elements() / total;
        if self.program.plan.chunked[id.index()] {
            0..range.len() * width
        } else {
            range.start * width..range.end * width
        }
    }

    fn conv3x3(&self, op: &Conv3x3) -> Result<(), ExecError> {
        let (weight, bias) = self.biased(op.kernel)?;
        let then = match (op.silu, op.accumulate) {
            (true, _) => Then::Silu,
            (false, true) => Then::Accumulate,
            (false, false) => Then::Nothing,
        };
        let (input, output) = (self.operands.read(op.input), self.operands.write(op.output));
        let kernel =
            Kernel { weight: &weight, bias: &bias, padding: op.padding, stride: op.stride, before: op.before, then };
        conv3x3(op.source, op.tokens, input, &kernel, output);
        Ok(())
    }

    fn group_norm_silu(&self, op: &GroupNormSilu) -> Result<(), ExecError> {
        let (weight, bias) = (self.vector(op.weight)?, self.vector(op.bias)?);
        let input = (op.input != op.output).then(|| self.operands.read(op.input));
        group_norm_silu(input, self.operands.write(op.output), op.tokens.image(), op.groups, &weight, &bias);
        Ok(())
    }

    fn linear(&self, op: &Linear, rows: Option<Range<usize>>) -> Result<(), ExecError> {
        let (weight, bias) = self.biased(op.affine)?;
        let rows = rows.unwrap_or(0..op.rows);
        let input = &self.operands.read(op.input)[self.rows_of(op.input, op.rows, &rows)];
        let output = &mut self.operands.write(op.output)[self.rows_of(op.output, op.rows, &rows)];
        tokens::linear(input, &weight, &bias, output);
        Ok(())
    }

    fn embed_rows(&self, op: &EmbedRows) -> Result<(), ExecError> {
        let (weight, bias) = self.biased(op.affine)?;
        let (norm, position) = (self.vector(op.norm)?, self.vector(op.position)?);
        let output = self.operands.write(op.output);
        tokens::embed_rows(self.operands.read(op.input), &weight, &bias, &norm, &position, op.tokens.text, output);
        Ok(())
    }

    fn lookup(&self, op: &Lookup) -> Result<(), ExecError> {
        let table = self.matrix(op.table)?;
        let output = self.operands.write(op.output);
        for (id, row) in self.operands.read(op.ids).iter().zip(output.chunks_exact_mut(op.width)) {
            // Ids are kept as bits.
            match usize::try_from(id.to_bits().cast_signed()) {
                Ok(id) if id < op.entries => table.widen_rows(id..id + 1, row),
                _ => row.fill(f32::NAN),
            }
        }
        self.emit(op.emit, output)
    }

    fn copy(&self, op: &Copy) -> Result<(), ExecError> {
        let output = self.operands.write(op.output);
        output.copy_from_slice(self.operands.read(op.input));
        self.emit(op.emit, output)
    }

    fn patch_embed(&self, op: &PatchEmbed) -> Result<(), ExecError> {
        let (weight, bias) = self.biased(op.affine)?;
        let (image, stream) = (self.operands.read(op.image), self.operands.write(op.stream));
        tokens::patch_embed(image, op.tokens, op.patch, &weight, &bias, stream);
        self.emit(op.emit, stream)
    }

    /// Leaves for the next product what `emit` says of the whole `stream`.
    fn emit(&self, emit: Option<Emit>, stream: &[f32]) -> Result<(), ExecError> {
        let Some(emit) = emit else { return Ok(()) };
        let factor = match emit.norm {
            Some(Norm { weight, modulation, .. }) => {
                let weight = self.vector(weight)?;
                Some(match modulation.map(|m| self.iteration.constant(m.scale)) {
                    Some(scale) => weight.iter().zip(scale).map(|(w, s)| w * (1.0 + s)).collect::<Vec<f32>>(),
                    None => weight,
                })
            }
            None => None,
        };
        let (operand, sums) = (self.operands.write(emit.operand), self.operands.write(emit.sums));
        folded::emit(stream, factor.as_deref(), operand, sums);
        Ok(())
    }

    fn feature_gate(&self, op: &FeatureGate) -> Result<(), ExecError> {
        let weight = self.matrix(op.weight)?;
        let slope = self.vector(op.log_slope)?[0].exp();
        let image = op.tokens.image();
        let written = self.operands.write(op.stream);
        let stream = written.chunks_exact_mut(image * op.hidden);
        let features = self.operands.read(op.features).chunks_exact(image * op.hidden);
        let half = self.operands.read(op.feature_half).chunks_exact(image * op.gate_width);
        let operand = op.operand.map(|id| self.operands.read(id));
        let inputs = features.zip(half).zip(self.operands.read(op.level)).enumerate();
        for (stream, (sample, ((features, half), level))) in stream.zip(inputs) {
            let operand = operand.map(|o| &o[sample * stream.len()..][..stream.len()]);
            tokens::feature_gate(stream, GateInputs { features, half, operand }, &weight, slope * level);
        }
        self.emit(op.emit, written)
    }

    /// The norm's weight, and its bias, empty without one.
    fn norm_vectors(&self, norm: &Norm) -> Result<[Vec<f32>; 2], ExecError> {
        Ok([self.vector(norm.weight)?, norm.bias.map(|id| self.vector(id)).transpose()?.unwrap_or_default()])
    }

    fn modulated<'b>(&'b self, [weight, bias]: &'b [Vec<f32>; 2], norm: &Norm) -> Modulated<'b> {
        let [shift, scale] = match norm.modulation {
            Some(m) => [m.shift, m.scale].map(|id| self.iteration.constant(id)),
            None => [&self.zeros[..weight.len()]; 2],
        };
        let bias = norm.bias.map(|_| &**bias);
        Modulated { kind: norm.kind, eps: norm.eps.value(), weight, bias, shift, scale, sums: None }
    }

    fn qkv_project(&self, op: &QkvProject) -> Result<(), ExecError> {
        let [q, k, v] = [op.q, op.k, op.v].map(|id| self.operands.write(id));
        for stream in &op.streams {
            self.qkv_stream(op, stream, [&mut *q, &mut *k, &mut *v])?;
        }
        Ok(())
    }

    fn qkv_stream(&self, op: &QkvProject, stream: &QkvStream, qkv: [&mut [f32]; 3]) -> Result<(), ExecError> {
        let weight = self.matrix(stream.weight)?;
        let (q_norm, k_norm) = (self.vector(stream.q_norm)?, self.vector(stream.k_norm)?);
        let norm = stream.norm.map(|n| Ok::<_, ExecError>((self.norm_vectors(&n)?, n))).transpose()?;
        let mut weights = QkvWeights {
            weight: &weight,
            norm: norm.as_ref().map(|(vectors, norm)| self.modulated(vectors, norm)),
            q_norm: &q_norm,
            k_norm: &k_norm,
            rotary: &self.rotary[&(stream.rotary, op.tokens, op.head_dim)],
        };
        let heads = Heads { heads: op.heads, kv_heads: op.kv_heads, head_dim: op.head_dim, joint: op.tokens.joint() };
        let (first, count) = op.tokens.part(stream.stream);
        let per_head = op.tokens.joint() * op.head_dim;
        let [q, k, v] = qkv;
        let q = q.chunks_exact_mut(op.heads * per_head);
        let [k, v] = [k, v].map(|t| t.chunks_exact_mut(op.kv_heads * per_head));
        let inputs = self.operands.read(stream.input).chunks_exact(count * op.in_features).enumerate();
        let sums = stream.sums.map(|id| self.operands.read(id));
        for (((sample, x), q), (k, v)) in inputs.zip(q).zip(k.zip(v)) {
            if let Some(norm) = &mut weights.norm {
                norm.sums = sums.map(|s| folded::rows_sums(s, op.in_features, sample * count..(sample + 1) * count));
            }
            tokens::qkv_project(x, &weights, heads, first, [q, k, v]);
        }
        Ok(())
    }

    fn attention(&self, op: &Attention) -> Result<(), ExecError> {
        let joint = op.tokens.joint();
        let per_head = joint * op.head_dim;
        let q = self.operands.read(op.q).chunks_exact(op.heads * per_head);
        let [k, v] = [op.k, op.v].map(|id| self.operands.read(id).chunks_exact(op.kv_heads * per_head));
        let outputs = self.operands.write(op.output).chunks_exact_mut(op.heads * per_head);
        let lengths = op.lengths.map(|id| self.operands.read(id));
        for (sample, (((q, k), v), out)) in q.zip(k).zip(v).zip(outputs).enumerate() {
            // Integers are bits. Without a key there would be nothing to sum: the first is always seen.
            let length = |lengths: &[f32]| usize::try_from(lengths[sample].to_bits() as i32).unwrap_or(0);
            let keys = lengths.map_or(joint, length).clamp(1, joint);
            attention(q, k, v, out, op, keys);
        }
        Ok(())
    }

    fn glu(&self, op: &Glu, rows: Option<Range<usize>>) -> Result<(), ExecError> {
        let total = op.tokens.batch * op.tokens.joint();
        let rows = rows.unwrap_or(0..total);
        let output = &mut self.operands.write(op.output)[self.rows_of(op.output, total, &rows)];
        let segments = op.tokens.segments(&rows);
        for stream in &op.streams {
            let (weight, vectors) = (self.matrix(stream.weight)?, self.norm_vectors(&stream.norm)?);
            let mut norm = self.modulated(&vectors, &stream.norm);
            let input = self.operands.read(stream.input);
            let sums = stream.sums.map(|id| self.operands.read(id));
            for segment in segments.iter().filter(|s| s.stream == stream.stream) {
                norm.sums = sums.map(|s| folded::rows_sums(s, op.hidden, segment.rows.clone()));
                let x = &input[segment.rows.start * op.hidden..segment.rows.end * op.hidden];
                let at = (segment.joint - rows.start) * op.inner;
                tokens::glu(x, &norm, &weight, op.activation, &mut output[at..at + segment.rows.len() * op.inner]);
            }
        }
        Ok(())
    }

    fn gated_residual(&self, op: &GatedResidual, rows: Option<Range<usize>>) -> Result<(), ExecError> {
        let total = op.tokens.batch * op.tokens.joint();
        let rows = rows.unwrap_or(0..total);
        let input = &self.operands.read(op.input)[self.rows_of(op.input, total, &rows)];
        let segments = op.tokens.segments(&rows);
        for stream in &op.streams {
            let (weight, bias) = self.affine(stream.affine)?;
            let gate = match stream.gate {
                Some(id) => self.iteration.constant(id),
                None => &self.ones[..op.hidden],
            };
            let residual = self.operands.write(stream.residual);
            for segment in segments.iter().filter(|s| s.stream == stream.stream) {
                let at = (segment.joint - rows.start) * op.in_features;
                let x = &input[at..at + segment.rows.len() * op.in_features];
                let residual = &mut residual[segment.rows.start * op.hidden..segment.rows.end * op.hidden];
                tokens::gated_residual(x, &weight, bias.as_deref(), gate, residual);
            }
            self.emit(stream.emit, residual)?;
        }
        Ok(())
    }

    fn add_silu(&self, op: &AddSilu) -> Result<(), ExecError> {
        let stream = self.operands.write(op.stream);
        tokens::add_silu(stream, self.iteration.constant(op.vector));
        self.emit(op.emit, stream)
    }

    fn pixel_embed(&self, op: &PixelEmbed) -> Result<(), ExecError> {
        let (weight, bias) = self.biased(op.affine)?;
        let (image, pixels) = (self.operands.read(op.image), self.operands.write(op.pixels));
        pixel::pixel_embed(image, op.tokens, op.patch, &weight.to_vector(), &bias, pixels);
        Ok(())
    }

    fn pixel_modulate(&self, op: &PixelModulate, rows: Option<Range<usize>>) -> Result<(), ExecError> {
        let (weight, bias) = self.biased(op.modulation)?;
        let norm = self.vector(op.norm)?;
        let total = op.tokens.batch * op.tokens.image();
        let rows = rows.unwrap_or(0..total);
        let stream = &self.operands.read(op.stream)[self.rows_of(op.stream, total, &rows)];
        let pixels = &self.operands.read(op.pixels)[self.rows_of(op.pixels, total, &rows)];
        let output = &mut self.operands.write(op.output)[self.rows_of(op.output, total, &rows)];
        pixel::pixel_modulate(stream, pixels, &weight, &bias, &norm, output);
        Ok(())
    }

    fn pixel_update(&self, op: &PixelUpdate) -> Result<(), ExecError> {
        let (modulation, modulation_bias) = self.biased(op.modulation)?;
        let (expand, expand_bias) = self.biased(op.expand)?;
        let norm = self.vector(op.norm)?;
        let (fc1, bias1) = self.biased(op.fc1)?;
        let (fc2, bias2) = self.biased(op.fc2)?;
        let weights = UpdateWeights {
            modulation: &modulation,
            modulation_bias: &modulation_bias,
            expand: &expand,
            expand_bias: &expand_bias,
            norm: &norm,
            mlp: PixelMlp::new(&fc1.to_vector(), bias1, &fc2.to_vector(), bias2),
        };
        let (stream, attention) = (self.operands.read(op.stream), self.operands.read(op.attention));
        let Some(sample) = &op.sample else {
            pixel::pixel_update(stream, attention, &weights, self.operands.write(op.pixels));
            return Ok(());
        };
        // The last block's pixels go into the sampler's step; nobody else reads them.
        let mut pixels = self.operands.read(op.pixels).to_vec();
        pixel::pixel_update(stream, attention, &weights, &mut pixels);
        self.sample(sample, &pixels)
    }

    fn sample_step(&self, op: &SampleStep) -> Result<(), ExecError> {
        self.sample(op, self.operands.read(op.pixels))
    }

    /// The step from `pixels`, wherever they are.
    fn sample(&self, op: &SampleStep, pixels: &[f32]) -> Result<(), ExecError> {
        let (weight, bias) = self.biased(op.affine)?;
        let norm = self.vector(op.norm)?;
        let velocity = pixel::velocity(pixels, op.tokens, op.patch, &norm, &weight.to_vector(), &bias);
        pixel::sample_step(self.operands.write(op.image), &velocity, self.operands.read(op.noise), self.iteration);
        if let Some(id) = op.velocity {
            self.operands.write(id).copy_from_slice(&velocity);
        }
        Ok(())
    }
}
