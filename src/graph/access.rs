//! Which tensors and weights an op touches, and whether it may run on a range of its rows. All that the
//! planner knows of ops.

use super::op::{Affine, Emit, Norm, Op};
use super::{ConstantId, TensorId, WeightId};

/// A stream that is written, and what is left of it for the next product.
fn with_emit(stream: TensorId, emit: Option<Emit>) -> impl Iterator<Item = TensorId> {
    [stream].into_iter().chain(emit.into_iter().flat_map(|e| [e.operand, e.sums]))
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
            Self::SwiGlu(_) => "swiglu",
            Self::GatedResidual(_) => "gated_residual",
            Self::AddSilu(_) => "add_silu",
            Self::PixelEmbed(_) => "pixel_embed",
            Self::PixelModulate(_) => "pixel_modulate",
            Self::PixelUpdate(_) => "pixel_update",
            Self::Noise(_) => "noise",
            Self::SampleStep(_) => "sample_step",
        }
    }

    /// Tensors whose contents the op needs; those updated in place are among them.
    pub fn reads(&self) -> Vec<TensorId> {
        match self {
            Self::Conv3x3(op) if op.accumulate => vec![op.input, op.output],
            Self::Conv3x3(op) => vec![op.input],
            Self::GroupNormSilu(op) => vec![op.input],
            Self::Linear(op) => vec![op.input],
            Self::EmbedRows(op) => vec![op.input],
            Self::Lookup(op) => vec![op.ids],
            Self::Copy(op) => vec![op.input],
            Self::PatchEmbed(op) => vec![op.image],
            Self::FeatureGate(op) => {
                [op.stream, op.features, op.feature_half, op.level].into_iter().chain(op.operand).collect()
            }
            Self::QkvProject(op) => op.streams.iter().flat_map(|s| [s.input].into_iter().chain(s.sums)).collect(),
            Self::Attention(op) => vec![op.q, op.k, op.v],
            Self::SwiGlu(op) => op.streams.iter().flat_map(|s| [s.input].into_iter().chain(s.sums)).collect(),
            Self::GatedResidual(op) => [op.input].into_iter().chain(op.streams.iter().map(|s| s.residual)).collect(),
            Self::AddSilu(op) => vec![op.stream],
            Self::PixelEmbed(op) => vec![op.image],
            Self::PixelModulate(op) => vec![op.stream, op.pixels],
            Self::PixelUpdate(op) => {
                let sample = op.sample.iter().flat_map(|s| [s.image, s.noise]);
                [op.stream, op.attention, op.pixels].into_iter().chain(sample).collect()
            }
            Self::Noise(_) => Vec::new(),
            Self::SampleStep(op) => vec![op.pixels, op.image, op.noise],
        }
    }

    /// Tensors that the op writes or updates.
    pub fn writes(&self) -> Vec<TensorId> {
        match self {
            Self::Conv3x3(op) => vec![op.output],
            Self::GroupNormSilu(op) => [op.output].into_iter().chain(op.slab_sums).collect(),
            Self::Linear(op) => vec![op.output],
            Self::EmbedRows(op) => vec![op.output],
            Self::Lookup(op) => with_emit(op.output, op.emit).collect(),
            Self::Copy(op) => with_emit(op.output, op.emit).collect(),
            Self::PatchEmbed(op) => with_emit(op.stream, op.emit).collect(),
            Self::FeatureGate(op) => with_emit(op.stream, op.emit).collect(),
            Self::QkvProject(op) => vec![op.q, op.k, op.v],
            Self::Attention(op) => vec![op.output],
            Self::SwiGlu(op) => vec![op.output],
            Self::GatedResidual(op) => op.streams.iter().flat_map(|s| with_emit(s.residual, s.emit)).collect(),
            Self::AddSilu(op) => with_emit(op.stream, op.emit).collect(),
            Self::PixelEmbed(op) => vec![op.pixels],
            Self::PixelModulate(op) => vec![op.output],
            Self::PixelUpdate(op) => match &op.sample {
                Some(sample) => vec![sample.image],
                None => vec![op.pixels],
            },
            Self::Noise(op) => vec![op.output],
            Self::SampleStep(op) => [op.image].into_iter().chain(op.velocity).collect(),
        }
    }

    /// Prepared weights that the op reads.
    pub fn weights(&self) -> Vec<WeightId> {
        fn both(affine: &Affine) -> impl Iterator<Item = WeightId> {
            [affine.weight].into_iter().chain(affine.bias)
        }
        match self {
            Self::Conv3x3(op) => both(&op.kernel).collect(),
            Self::GroupNormSilu(op) => vec![op.weight, op.bias],
            Self::Linear(op) => both(&op.affine).collect(),
            Self::EmbedRows(op) => both(&op.affine).chain([op.norm, op.position]).collect(),
            Self::Lookup(op) => vec![op.table],
            Self::PatchEmbed(op) => both(&op.affine).collect(),
            Self::FeatureGate(op) => vec![op.weight, op.log_slope],
            Self::QkvProject(op) => op
                .streams
                .iter()
                .flat_map(|s| [s.weight, s.q_norm, s.k_norm].into_iter().chain(s.norm.map(|n| n.weight)))
                .collect(),
            Self::SwiGlu(op) => op.streams.iter().flat_map(|s| [s.weight, s.norm.weight]).collect(),
            Self::GatedResidual(op) => op.streams.iter().flat_map(|s| both(&s.affine)).collect(),
            Self::PixelEmbed(op) => both(&op.affine).collect(),
            Self::PixelModulate(op) => both(&op.modulation).chain([op.norm]).collect(),
            Self::PixelUpdate(op) => {
                let affines = [op.modulation, op.expand, op.fc1, op.fc2];
                let sample = op.sample.iter().flat_map(|s| both(&s.affine).chain([s.norm]));
                affines.iter().flat_map(both).chain([op.norm]).chain(sample).collect()
            }
            Self::SampleStep(op) => both(&op.affine).chain([op.norm]).collect(),
            Self::Copy(_) | Self::Attention(_) | Self::AddSilu(_) | Self::Noise(_) => Vec::new(),
        }
    }

    /// Number of rows when the op treats each row of its row space by itself, so that a launch may cover a
    /// range of them; joint rows for the ops on both streams.
    pub fn row_domain(&self) -> Option<usize> {
        match self {
            Self::SwiGlu(op) => Some(op.tokens.batch * op.tokens.joint()),
            Self::GatedResidual(op) => Some(op.tokens.batch * op.tokens.joint()),
            Self::PixelModulate(op) => Some(op.tokens.batch * op.tokens.image()),
            Self::Linear(op) => Some(op.rows),
            _ => None,
        }
    }

    /// Constants that the op reads.
    pub fn constants(&self) -> Vec<ConstantId> {
        fn of_norm(norm: Norm) -> impl Iterator<Item = ConstantId> {
            norm.modulation.into_iter().flat_map(|m| [m.shift, m.scale])
        }
        let emitted = |emit: Option<Emit>| emit.and_then(|e| e.norm).map(of_norm).into_iter().flatten();
        match self {
            Self::QkvProject(op) => op.streams.iter().filter_map(|s| s.norm).flat_map(of_norm).collect(),
            Self::SwiGlu(op) => op.streams.iter().flat_map(|s| of_norm(s.norm)).collect(),
            Self::GatedResidual(op) => {
                op.streams.iter().flat_map(|s| s.gate.into_iter().chain(emitted(s.emit))).collect()
            }
            Self::AddSilu(op) => [op.vector].into_iter().chain(emitted(op.emit)).collect(),
            Self::Copy(op) => emitted(op.emit).collect(),
            Self::Lookup(op) => emitted(op.emit).collect(),
            Self::PatchEmbed(op) => emitted(op.emit).collect(),
            Self::FeatureGate(op) => emitted(op.emit).collect(),
            _ => Vec::new(),
        }
    }
}
