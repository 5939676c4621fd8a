//! The adapter's convolutions and norms.

use super::{Calls, Lowering, Operands};
use crate::graph::op::{Conv3x3, ConvInput, GROUP_NORM_SLABS, GroupNormSilu, Padding};
use crate::kernels::OpCall;
use crate::kernels::params::{PidConvParams, PidGemm, PidGroupNormParams};

impl Lowering<'_> {
    pub(super) fn conv3x3(&self, op: &Conv3x3) -> Calls {
        let rows = self.image_rows(op.tokens, None);
        let (name, channels, [height, width, unpatchify]) = match op.source {
            ConvInput::Image { channels, height, width, unpatchify } => {
                ("conv3x3_latent", channels / (unpatchify * unpatchify), [height, width, unpatchify])
            }
            ConvInput::Tokens { channels } => ("conv3x3_tokens", channels, [0, 0, 1]),
        };
        let a = match op.source {
            ConvInput::Image { .. } => std::ptr::null(),
            ConvInput::Tokens { .. } => self.at::<u16>(op.input).cast_const(),
        };
        let operands = Operands { a, weight: op.kernel.weight, bias: op.kernel.bias, rows };
        let gemm = self.gemm(name, &[operands], 9 * channels);
        // The latent's loader fills the columns up to the padded row.
        let gemm = PidGemm { k: gemm.k.next_multiple_of(8), ..gemm };
        let params = PidConvParams {
            gemm,
            latent: self.at(op.input),
            output: self.at(op.output),
            channels: channels as u32,
            grid_rows: op.tokens.grid_rows as u32,
            grid_cols: op.tokens.grid_cols as u32,
            latent_rows: height as u32,
            latent_cols: width as u32,
            unpatchify: unpatchify as u32,
            replicate: u32::from(op.padding == Padding::Replicate),
            silu: u32::from(op.silu),
            accumulate: u32::from(op.accumulate),
            reserved: 0,
        };
        self.one(&OpCall::convolution(name, &params))
    }

    pub(super) fn group_norm_silu(&self, op: &GroupNormSilu) -> Calls {
        let tokens = op.tokens.image();
        let sums = op.slab_sums.expect("bf16 graphs give group norms a workspace");
        let params = PidGroupNormParams {
            input: self.at(op.input),
            output: self.at(op.output),
            weight: self.vector(op.weight),
            bias: self.vector(op.bias),
            sums: self.at(sums),
            batch: op.tokens.batch as u32,
            tokens: tokens as u32,
            channels: op.channels as u32,
            groups: op.groups as u32,
            slabs: GROUP_NORM_SLABS as u32,
            reserved: 0,
        };
        Ok(vec![self.call(&OpCall::group_norm_sums(&params))?, self.call(&OpCall::group_norm_apply(&params))?])
    }
}
