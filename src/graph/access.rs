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
    fn read(&mut self, ids: impl IntoIterator<Item = TensorId>) {
        self.reads.extend(ids);
    }

    fn write(&mut self, ids: impl IntoIterator<Item = TensorId>) {
        self.writes.extend(ids);
    }

    fn update(&mut self, id: TensorId) {
        self.read([id]);
        self.write([id]);
    }

    fn weight(&mut self, ids: impl IntoIterator<Item = WeightId>) {
        self.weights.extend(ids);
    }

    fn affine(&mut self, affine: &Affine) {
        self.weight([affine.weight].into_iter().chain(affine.bias));
    }

    fn norm(&mut self, norm: &Norm) {
        self.weight([norm.weight].into_iter().chain(norm.bias));
        self.modulation(norm);
    }

    fn modulation(&mut self, norm: &Norm) {
        self.constants.extend(norm.modulation.iter().flat_map(|m| [m.shift, m.scale]));
    }

    /// What a written stream leaves for the next product: with a modulation its factor is a constant, else the norm's weight.
    fn emit(&mut self, emit: Option<Emit>) {
        let Some(Emit { operand, sums, norm }) = emit else { return };
        self.write([operand, sums]);
        match &norm {
            Some(norm) if norm.modulation.is_some() => self.modulation(norm),
            Some(norm) => self.weight([norm.weight]),
            None => {}
        }
    }

    fn sample(&mut self, op: &SampleStep) {
        self.update(op.image);
        self.read([op.noise]);
        self.write(op.velocity);
        self.affine(&op.affine);
        self.weight([op.norm]);
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
        let mut access = Access::default();
        match self {
            Self::Conv3x3(op) => {
                access.read([op.input].into_iter().chain(op.accumulate.then_some(op.output)));
                access.write([op.output]);
                access.affine(&op.kernel);
            }
            Self::GroupNormSilu(op) => {
                access.read([op.input]);
                access.write([op.output].into_iter().chain(op.slab_sums));
                access.weight([op.weight, op.bias]);
            }
            Self::Linear(op) => {
                access.read([op.input]);
                access.write([op.output]);
                access.affine(&op.affine);
            }
            Self::EmbedRows(op) => {
                access.read([op.input]);
                access.write([op.output]);
                access.affine(&op.affine);
                access.weight([op.norm, op.position]);
            }
            Self::Lookup(op) => {
                access.read([op.ids]);
                access.write([op.output]);
                access.weight([op.table]);
                access.emit(op.emit);
            }
            Self::Copy(op) => {
                access.read([op.input]);
                access.write([op.output]);
                access.emit(op.emit);
            }
            Self::PatchEmbed(op) => {
                access.read([op.image]);
                access.write([op.stream]);
                access.affine(&op.affine);
                access.emit(op.emit);
            }
            Self::FeatureGate(op) => {
                access.update(op.stream);
                access.read([op.features, op.feature_half, op.level].into_iter().chain(op.operand));
                access.weight([op.weight, op.log_slope]);
                access.emit(op.emit);
            }
            Self::QkvProject(op) => {
                for stream in &op.streams {
                    access.read([stream.input].into_iter().chain(stream.sums));
                    access.weight([stream.weight, stream.q_norm, stream.k_norm]);
                    stream.norm.iter().for_each(|norm| access.norm(norm));
                }
                access.write([op.q, op.k, op.v]);
            }
            Self::Attention(op) => {
                access.read([op.q, op.k, op.v].into_iter().chain(op.lengths));
                access.write([op.output]);
            }
            Self::Glu(op) => {
                for stream in &op.streams {
                    access.read([stream.input].into_iter().chain(stream.sums));
                    access.weight([stream.weight]);
                    access.norm(&stream.norm);
                }
                access.write([op.output]);
            }
            Self::GatedResidual(op) => {
                access.read([op.input]);
                for stream in &op.streams {
                    access.update(stream.residual);
                    access.affine(&stream.affine);
                    access.constants.extend(stream.gate);
                    access.emit(stream.emit);
                }
            }
            Self::AddSilu(op) => {
                access.update(op.stream);
                access.constants.push(op.vector);
                access.emit(op.emit);
            }
            Self::PixelEmbed(op) => {
                access.read([op.image]);
                access.write([op.pixels]);
                access.affine(&op.affine);
            }
            Self::PixelModulate(op) => {
                access.read([op.stream, op.pixels]);
                access.write([op.output]);
                access.affine(&op.modulation);
                access.weight([op.norm]);
            }
            Self::PixelUpdate(op) => {
                access.read([op.stream, op.attention, op.pixels]);
                [op.modulation, op.expand, op.fc1, op.fc2].iter().for_each(|affine| access.affine(affine));
                access.weight([op.norm]);
                match &op.sample {
                    Some(sample) => access.sample(sample),
                    None => access.write([op.pixels]),
                }
            }
            Self::Noise(op) => access.write([op.output]),
            Self::SampleStep(op) => {
                access.read([op.pixels]);
                access.sample(op);
            }
        }
        access
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
