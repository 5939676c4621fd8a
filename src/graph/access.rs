//! Which tensors, weights and constants an op touches, and whether it may run on a range of its rows. All that the
//! planner knows of ops.

use super::op::{Activation, Affine, Emit, Norm, Op, SampleStep};
use super::{ConstantId, TensorId, WeightId};

/// What an op touches.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Access {
    /// Tensors whose contents the op needs; those updated in place are among them.
    pub reads: Vec<TensorId>,
    /// Tensors that the op writes or updates.
    pub writes: Vec<TensorId>,
    /// Prepared weights.
    pub weights: Vec<WeightId>,
    /// Constants of a pass of the loop.
    pub constants: Vec<ConstantId>,
}

impl Access {
    fn of(reads: impl IntoIterator<Item = TensorId>, writes: impl IntoIterator<Item = TensorId>) -> Self {
        let (reads, writes) = (reads.into_iter().collect(), writes.into_iter().collect());
        Self { reads, writes, ..Self::default() }
    }

    fn read(&mut self, ids: impl IntoIterator<Item = TensorId>) {
        self.reads.extend(ids);
    }

    fn update(&mut self, id: TensorId) {
        self.reads.push(id);
        self.writes.push(id);
    }

    fn weights(mut self, ids: impl IntoIterator<Item = WeightId>) -> Self {
        self.weights.extend(ids);
        self
    }

    fn affine(mut self, affine: &Affine) -> Self {
        self.add_affine(affine);
        self
    }

    fn add_affine(&mut self, affine: &Affine) {
        self.weights.push(affine.weight);
        self.weights.extend(affine.bias);
    }

    fn add_norm(&mut self, norm: &Norm) {
        self.weights.push(norm.weight);
        self.weights.extend(norm.bias);
        self.add_modulation(norm);
    }

    fn add_modulation(&mut self, norm: &Norm) {
        self.constants.extend(norm.modulation.iter().flat_map(|m| [m.shift, m.scale]));
    }

    /// What a written stream leaves for the next product, whose norm's weight is that op's.
    fn emit(mut self, emit: Option<Emit>) -> Self {
        self.add_emit(emit);
        self
    }

    fn add_emit(&mut self, emit: Option<Emit>) {
        let Some(emit) = emit else { return };
        self.writes.extend([emit.operand, emit.sums]);
        if let Some(norm) = &emit.norm {
            self.add_modulation(norm);
        }
    }

    fn sample(&mut self, op: &SampleStep) {
        self.update(op.image);
        self.read([op.noise]);
        self.writes.extend(op.velocity);
        self.add_affine(&op.affine);
        self.weights.push(op.norm);
    }
}

impl Op {
    /// For people and reports.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Conv3x3(_) => "conv3x3",
            Self::GroupNormSilu(_) => "group_norm_silu",
            Self::Linear(_) => "linear",
            Self::EmbedRows(_) => "embed_rows",
            Self::Lookup(_) => "lookup",
            Self::Copy(_) => "copy",
            Self::PatchEmbed(_) => "patch_embed",
            Self::FeatureGate(_) => "feature_gate",
            Self::QkvProject(_) => "qkv_project",
            Self::Attention(_) => "attention",
            Self::Glu(op) => match op.activation {
                Activation::Silu => "swiglu",
                Activation::GeluTanh => "geglu",
            },
            Self::GatedResidual(_) => "gated_residual",
            Self::AddSilu(_) => "add_silu",
            Self::PixelEmbed(_) => "pixel_embed",
            Self::PixelModulate(_) => "pixel_modulate",
            Self::PixelUpdate(_) => "pixel_update",
            Self::Noise(_) => "noise",
            Self::SampleStep(_) => "sample_step",
        }
    }

    /// What the op touches.
    pub fn access(&self) -> Access {
        match self {
            Self::Conv3x3(op) => {
                let before = op.accumulate.then_some(op.output);
                Access::of([op.input].into_iter().chain(before), [op.output]).affine(&op.kernel)
            }
            Self::GroupNormSilu(op) => {
                Access::of([op.input], [op.output].into_iter().chain(op.slab_sums)).weights([op.weight, op.bias])
            }
            Self::Linear(op) => Access::of([op.input], [op.output]).affine(&op.affine),
            Self::EmbedRows(op) => {
                Access::of([op.input], [op.output]).affine(&op.affine).weights([op.norm, op.position])
            }
            Self::Lookup(op) => Access::of([op.ids], [op.output]).weights([op.table]).emit(op.emit),
            Self::Copy(op) => Access::of([op.input], [op.output]).emit(op.emit),
            Self::PatchEmbed(op) => Access::of([op.image], [op.stream]).affine(&op.affine).emit(op.emit),
            Self::FeatureGate(op) => {
                let reads = [op.stream, op.features, op.feature_half, op.level].into_iter().chain(op.operand);
                Access::of(reads, [op.stream]).weights([op.weight, op.log_slope]).emit(op.emit)
            }
            Self::QkvProject(op) => {
                let mut access = Access::of([], [op.q, op.k, op.v]);
                for stream in &op.streams {
                    access.read([stream.input].into_iter().chain(stream.sums));
                    access.weights.extend([stream.weight, stream.q_norm, stream.k_norm]);
                    stream.norm.iter().for_each(|norm| access.add_norm(norm));
                }
                access
            }
            Self::Attention(op) => Access::of([op.q, op.k, op.v].into_iter().chain(op.lengths), [op.output]),
            Self::Glu(op) => {
                let mut access = Access::of([], [op.output]);
                for stream in &op.streams {
                    access.read([stream.input].into_iter().chain(stream.sums));
                    access.weights.push(stream.weight);
                    access.add_norm(&stream.norm);
                }
                access
            }
            Self::GatedResidual(op) => {
                let mut access = Access::of([op.input], []);
                for stream in &op.streams {
                    access.update(stream.residual);
                    access.add_affine(&stream.affine);
                    access.constants.extend(stream.gate);
                    access.add_emit(stream.emit);
                }
                access
            }
            Self::AddSilu(op) => {
                let mut access = Access::of([op.stream], [op.stream]);
                access.constants.push(op.vector);
                access.emit(op.emit)
            }
            Self::PixelEmbed(op) => Access::of([op.image], [op.pixels]).affine(&op.affine),
            Self::PixelModulate(op) => {
                Access::of([op.stream, op.pixels], [op.output]).affine(&op.modulation).weights([op.norm])
            }
            Self::PixelUpdate(op) => {
                let mut access = Access::of([op.stream, op.attention, op.pixels], []);
                [op.modulation, op.expand, op.fc1, op.fc2].iter().for_each(|affine| access.add_affine(affine));
                access.weights.push(op.norm);
                match &op.sample {
                    Some(sample) => access.sample(sample),
                    None => access.writes.push(op.pixels),
                }
                access
            }
            Self::Noise(op) => Access::of([], [op.output]),
            Self::SampleStep(op) => {
                let mut access = Access::of([op.pixels], []);
                access.sample(op);
                access
            }
        }
    }

    /// Tensors whose contents the op needs; those updated in place are among them.
    pub fn reads(&self) -> Vec<TensorId> {
        self.access().reads
    }

    /// Tensors that the op writes or updates.
    pub fn writes(&self) -> Vec<TensorId> {
        self.access().writes
    }

    /// Prepared weights that the op reads.
    pub fn weights(&self) -> Vec<WeightId> {
        self.access().weights
    }

    /// Constants that the op reads.
    pub fn constants(&self) -> Vec<ConstantId> {
        self.access().constants
    }

    /// Number of rows when the op treats each row of its row space by itself, so that a launch may cover a
    /// range of them; joint rows for the ops on both streams.
    pub fn row_domain(&self) -> Option<usize> {
        match self {
            Self::Glu(op) => Some(op.tokens.batch * op.tokens.joint()),
            Self::GatedResidual(op) => Some(op.tokens.batch * op.tokens.joint()),
            Self::PixelModulate(op) => Some(op.tokens.batch * op.tokens.image()),
            Self::Linear(op) => Some(op.rows),
            _ => None,
        }
    }
}
