//! Products and attention on the token streams.

use std::ops::Range;

use super::{Calls, Lowering, Operands, PidRowsKey, for_both, plain_rows};
use crate::graph::op::{
    Attention, EmbedRows, GatedResidual, GatedResidualStream, Glu, GluStream, Linear, PatchEmbed, QkvProject,
    QkvStream, Rotary,
};
use crate::kernels::needs::query_factor;
use crate::kernels::params::{
    PidAttentionParams, PidEmbedParams, PidFold, PidLinearParams, PidQkvParams, PidQkvStream, PidResidualParams,
    PidResidualStream, PidRowsParams, PidSwiGluParams,
};
use crate::kernels::{Constant, OpCall, RotaryKey, RowsOfA};
use crate::weights::Form;
use crate::weights::order::RowOrder;

impl Lowering<'_> {
    pub(super) fn linear(&self, op: &Linear, range: Option<&Range<usize>>) -> Calls {
        const OP: &str = "gemm_linear";
        let operands = Operands {
            a: self.row_zero(op.input, op.rows, range),
            weight: op.affine.weight,
            bias: op.affine.bias,
            rows: plain_rows(op.rows, op.rows, range),
        };
        let gemm = self.gemm(OP, &[operands], op.in_features);
        let params = PidLinearParams { gemm, output: self.row_zero(op.output, op.rows, range) };
        self.one(&OpCall::product(OP, RowsOfA::Stream, &params))
    }

    pub(super) fn embed_rows(&self, op: &EmbedRows) -> Calls {
        const OP: &str = "gemm_embed_rows";
        let total = op.tokens.batch * op.tokens.text;
        let rows = plain_rows(total, op.tokens.text, None);
        let operands = Operands { a: std::ptr::null(), weight: op.affine.weight, bias: op.affine.bias, rows };
        let gemm = self.gemm(OP, &[operands], op.in_features);
        let (source, output) = (self.at(op.input), self.at(op.output));
        let params = PidEmbedParams { gemm, source, output, emit: self.emit(None), height: 0, width: 0 };
        let norm = PidRowsParams {
            stream: output,
            source: output,
            vector: self.vector(op.norm),
            position: self.places.matrix(op.position, RowOrder::Plain).address as *const u16,
            emit: self.emit(None),
            num_rows: total as u32,
            rows_per_sample: op.tokens.text as u32,
            hidden: op.out_features as u32,
            reserved: 0,
        };
        Ok(vec![
            self.call(&OpCall::product(OP, RowsOfA::Loaded, &params))?,
            self.call(&OpCall::rows("rows_text_norm", total as u32, &norm))?,
        ])
    }

    pub(super) fn patch_embed(&self, op: &PatchEmbed) -> Calls {
        const OP: &str = "gemm_embed_patch";
        let rows = self.image_rows(op.tokens, None);
        let operands = Operands { a: std::ptr::null(), weight: op.affine.weight, bias: op.affine.bias, rows };
        let gemm = self.gemm(OP, &[operands], 3 * op.patch * op.patch);
        let params = PidEmbedParams {
            gemm,
            source: self.at(op.image),
            output: self.at(op.stream),
            emit: self.emit(op.emit),
            height: (op.tokens.grid_rows * op.patch) as u32,
            width: (op.tokens.grid_cols * op.patch) as u32,
        };
        self.one(&OpCall::product(OP, RowsOfA::Loaded, &params))
    }

    pub(super) fn qkv_project(&self, op: &QkvProject) -> Calls {
        let folded = op.streams.iter().all(|s| s.sums.is_some());
        let name = if folded { "gemm_qkv_folded_d64" } else { "gemm_qkv_d72" };
        self.grouped(
            op.tokens,
            &op.streams,
            |s| s.stream,
            None,
            |groups| {
                let operands = |(s, rows): &(&QkvStream, PidRowsKey)| Operands {
                    a: self.at(s.input),
                    weight: s.weight,
                    bias: None,
                    rows: *rows,
                };
                let gemm = self.gemm(name, &groups.iter().map(operands).collect::<Vec<_>>(), op.in_features);
                let params = PidQkvParams {
                    gemm,
                    stream: for_both(groups, |(s, _)| self.qkv_stream(op, s)),
                    q: self.at(op.q),
                    k: self.at(op.k),
                    v: self.at(op.v),
                    heads: op.heads as u32,
                    reserved: 0,
                };
                self.call(&OpCall::product(name, RowsOfA::Stream, &params))
            },
        )
    }

    fn qkv_stream(&self, op: &QkvProject, stream: &QkvStream) -> PidQkvStream {
        let key = RotaryKey { rotary: stream.rotary, tokens: op.tokens, head_dim: op.head_dim };
        let (even, odd) = self.places.rotary(key);
        let fold = match (&stream.norm, stream.sums) {
            (Some(norm), Some(sums)) => {
                PidFold { sums: self.at(sums), shift_product: self.shift_product(norm, stream.weight) }
            }
            _ => PidFold { sums: std::ptr::null(), shift_product: std::ptr::null() },
        };
        let q_form = Form::scaled(query_factor(op.head_dim));
        PidQkvStream {
            fold,
            q_norm: self.places.vector(stream.q_norm, q_form) as *const f32,
            k_norm: self.vector(stream.k_norm),
            rotary_even: even as *const f32,
            rotary_odd: odd as *const f32,
            grid_cols: match stream.rotary {
                Rotary::Image { .. } => op.tokens.grid_cols as u32,
                Rotary::Text => 0,
            },
            reserved: 0,
        }
    }

    pub(super) fn attention(&self, op: &Attention) -> Calls {
        let tokens = op.tokens.joint();
        let params = PidAttentionParams {
            q: self.at(op.q),
            k: self.at(op.k),
            v: self.at(op.v),
            output: self.at(op.output),
            batch: op.tokens.batch as u32,
            heads: op.heads as u32,
            tokens: tokens as u32,
            query_start: op.query_start as u32,
        };
        let bounded = self.places.is_bounded(op.q);
        let name = match (op.head_dim, bounded) {
            (64, true) => "attention_bounded_d64",
            (64, false) => "attention_online_d64",
            (_, true) => "attention_bounded_d72",
            (_, false) => "attention_online_d72",
        };
        self.one(&OpCall::attention(name, &params))
    }

    pub(super) fn glu(&self, op: &Glu, range: Option<&Range<usize>>) -> Calls {
        const OP: &str = "gemm_swiglu";
        let total = op.tokens.batch * op.tokens.joint();
        self.grouped(
            op.tokens,
            &op.streams,
            |s| s.stream,
            range,
            |groups| {
                let operands = |(s, rows): &(&GluStream, PidRowsKey)| Operands {
                    a: self.at(s.input),
                    weight: s.weight,
                    bias: None,
                    rows: *rows,
                };
                let gemm = self.gemm(OP, &groups.iter().map(operands).collect::<Vec<_>>(), op.hidden);
                let fold = |(s, _): &(&GluStream, PidRowsKey)| PidFold {
                    sums: s.sums.map_or(std::ptr::null_mut(), |sums| self.at(sums)),
                    shift_product: self.shift_product(&s.norm, s.weight),
                };
                let output = self.row_zero(op.output, total, range);
                let params = PidSwiGluParams { gemm, fold: for_both(groups, fold), output };
                self.call(&OpCall::product(OP, RowsOfA::Stream, &params))
            },
        )
    }

    pub(super) fn gated_residual(&self, op: &GatedResidual, range: Option<&Range<usize>>) -> Calls {
        const OP: &str = "gemm_residual";
        let input = self.row_zero(op.input, op.tokens.batch * op.tokens.joint(), range);
        self.grouped(
            op.tokens,
            &op.streams,
            |s| s.stream,
            range,
            |groups| {
                let operands = |(s, rows): &(&GatedResidualStream, PidRowsKey)| Operands {
                    a: input,
                    weight: s.affine.weight,
                    bias: s.affine.bias,
                    rows: *rows,
                };
                let gemm = self.gemm(OP, &groups.iter().map(operands).collect::<Vec<_>>(), op.in_features);
                let stream = |(s, _): &(&GatedResidualStream, PidRowsKey)| PidResidualStream {
                    residual: self.at(s.residual),
                    gate: match s.gate {
                        Some(gate) => self.constant(Constant::Vector(gate)),
                        None => self.places.ones() as *const f32,
                    },
                    emit: self.emit(s.emit),
                };
                let params = PidResidualParams { gemm, stream: for_both(groups, stream) };
                self.call(&OpCall::product(OP, RowsOfA::Joint, &params))
            },
        )
    }

    /// All rows of the image stream.
    pub(super) fn image_rows(&self, tokens: crate::graph::op::Tokens, range: Option<&Range<usize>>) -> PidRowsKey {
        plain_rows(tokens.batch * tokens.image(), tokens.image(), range)
    }
}
