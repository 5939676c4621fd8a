//! The pixel blocks and the sampler's step.

use std::ops::Range;

use super::{Calls, Lowering, Operands};
use crate::graph::op::{PixelEmbed, PixelModulate, PixelUpdate, SampleStep};
use crate::kernels::params::{
    PidPixelEmbedParams, PidPixelModulateParams, PidPixelUpdateParams, PidSample, PidSampleStepParams,
};
use crate::kernels::{OpCall, RowsOfA};
use crate::sampler::Sampler;
use crate::weights::order::RowOrder;

impl Lowering<'_> {
    pub(super) fn pixel_embed(&self, op: &PixelEmbed) -> Calls {
        let params = PidPixelEmbedParams {
            image: self.at(op.image),
            pixels: self.at(op.pixels),
            weight: self.vector(op.affine.weight),
            bias: self.places.bias(op.affine.bias) as *const f32,
            batch: op.tokens.batch as u32,
            grid_rows: op.tokens.grid_rows as u32,
            grid_cols: op.tokens.grid_cols as u32,
            reserved: 0,
        };
        self.one(&OpCall::pixel_embed(&params))
    }

    pub(super) fn pixel_modulate(&self, op: &PixelModulate, range: Option<&Range<usize>>) -> Calls {
        const OP: &str = "gemm_pixel_modulate";
        let total = op.tokens.batch * op.tokens.image();
        let operands = Operands {
            a: self.row_zero(op.stream, total, range),
            weight: op.modulation.weight,
            bias: op.modulation.bias,
            rows: self.image_rows(op.tokens, range),
        };
        let gemm = self.gemm(OP, &[operands], op.hidden);
        let params = PidPixelModulateParams {
            gemm,
            pixels: self.row_zero(op.pixels, total, range),
            output: self.row_zero(op.output, total, range),
            norm: self.vector(op.norm),
        };
        self.one(&OpCall::product(OP, RowsOfA::Stream, &params))
    }

    pub(super) fn pixel_update(&self, op: &PixelUpdate) -> Calls {
        let name = if op.sample.is_some() { "gemm_pixel_update_sample" } else { "gemm_pixel_update" };
        let operands = Operands {
            a: self.at(op.stream),
            weight: op.modulation.weight,
            bias: op.modulation.bias,
            rows: self.image_rows(op.tokens, None),
        };
        let gemm = self.gemm(name, &[operands], op.hidden);
        let expand = self.matrix_beside(name, op.modulation.weight, op.expand.weight);
        let small = |id| self.places.matrix(id, RowOrder::Plain).address as *const u16;
        let params = PidPixelUpdateParams {
            gemm,
            attention: self.at(op.attention),
            expand: expand.address as *const u16,
            expand_bias: self.places.bias(op.expand.bias) as *const f32,
            pixels: self.at(op.pixels),
            norm: self.vector(op.norm),
            fc1: small(op.fc1.weight),
            fc1_bias: self.places.bias(op.fc1.bias) as *const f32,
            fc2: small(op.fc2.weight),
            fc2_bias: self.places.bias(op.fc2.bias) as *const f32,
            expand_k: op.attention_width as u32,
            expand_ldb: expand.stride as u32,
            sample: self.sample(op.sample.as_ref()),
        };
        self.one(&OpCall::pixel_update(name, &params))
    }

    pub(super) fn sample_step(&self, op: &SampleStep) -> Calls {
        let params = PidSampleStepParams {
            pixels: self.at(op.pixels),
            sample: self.sample(Some(op)),
            batch: op.tokens.batch as u32,
            reserved: 0,
        };
        self.one(&OpCall::sample_step(&params))
    }

    fn sample(&self, op: Option<&SampleStep>) -> PidSample {
        let (t, next) = (self.iteration.step.t, self.iteration.step.t_next);
        // The last step ends at x0, by either way.
        let is_ode = self.iteration.sampler == Sampler::Ode && next > 0.0;
        PidSample {
            image: op.map_or(std::ptr::null_mut(), |op| self.at(op.image)),
            noise: op.map_or(std::ptr::null_mut(), |op| self.at(op.noise)),
            velocity: op.and_then(|op| op.velocity).map_or(std::ptr::null_mut(), |id| self.at(id)),
            norm: op.map_or(std::ptr::null(), |op| self.vector(op.norm)),
            weight: op.map_or(std::ptr::null(), |op| self.vector(op.affine.weight)),
            bias: op.map_or(std::ptr::null(), |op| self.places.bias(op.affine.bias) as *const f32),
            t: t as f32,
            keep: (1.0 - next) as f32,
            noise_scale: next as f32,
            velocity_scale: (next - t) as f32,
            add_noise: u32::from(next > 0.0 && !is_ode),
            is_ode: u32::from(is_ode),
            store_velocity: u32::from(op.is_some_and(|op| op.velocity.is_some())),
            grid_rows: op.map_or(0, |op| op.tokens.grid_rows as u32),
            grid_cols: op.map_or(0, |op| op.tokens.grid_cols as u32),
            reserved: 0,
        }
    }
}
