//! Products and attention on the token streams.

use std::ops::Range;

use super::{GroupWeights, Lowering, PidRowsKey, StreamRows, plain_rows, stream_rows};
use crate::graph::op::{
    Attention, GatedResidual, Linear, PatchEmbed, QkvProject, QkvStream, Rotary, Stream, SwiGlu, TextEmbed,
};
use crate::kernels::needs::query_factor;
use crate::kernels::params::{
    PidAttentionParams, PidEmbedParams, PidFold, PidLinearParams, PidQkvParams, PidQkvStream, PidResidualParams,
    PidResidualStream, PidRowsParams, PidSwiGluParams,
};
use crate::kernels::{Constant, Form, KernelCall, RotaryKey, launch};

impl Lowering<'_> {
    pub(super) fn linear(&self, op: &Linear, range: Option<&Range<usize>>) -> Vec<KernelCall> {
        let rows = plain_rows(op.rows, op.rows, range);
        let weights = GroupWeights { weight: op.affine.weight, bias: op.affine.bias };
        let group = self.group(self.row_zero(op.input, op.rows, range), weights, rows);
        let gemm = self.gemm(&[group], op.affine.weight, op.in_features);
        let params = PidLinearParams { gemm, output: self.row_zero(op.output, op.rows, range) };
        vec![launch::gemm("gemm_linear", &gemm, &params)]
    }

    pub(super) fn text_embed(&self, op: &TextEmbed) -> Vec<KernelCall> {
        let total = op.tokens.batch * op.tokens.text;
        let weights = GroupWeights { weight: op.affine.weight, bias: op.affine.bias };
        let group = self.group(std::ptr::null(), weights, plain_rows(total, op.tokens.text, None));
        let gemm = self.gemm(&[group], op.affine.weight, op.in_features);
        let (source, output) = (self.at(op.caption), self.at(op.output));
        let params = PidEmbedParams { gemm, source, output, emit: self.emit(None), height: 0, width: 0 };
        let norm = PidRowsParams {
            stream: output,
            source: output,
            vector: self.vector(op.norm),
            position: self.tables.matrix(op.position).address as *const u16,
            emit: self.emit(None),
            num_rows: total as u32,
            rows_per_sample: op.tokens.text as u32,
            hidden: op.out_features as u32,
            reserved: 0,
        };
        vec![
            launch::gemm("gemm_embed_rows", &gemm, &params),
            launch::rows("rows_text_norm", total as u32, &norm),
        ]
    }

    pub(super) fn patch_embed(&self, op: &PatchEmbed) -> Vec<KernelCall> {
        let per_sample = op.tokens.image();
        let rows = plain_rows(op.tokens.batch * per_sample, per_sample, None);
        let weights = GroupWeights { weight: op.affine.weight, bias: op.affine.bias };
        let gemm = self.gemm(
            &[self.group(std::ptr::null(), weights, rows)],
            op.affine.weight,
            3 * op.patch * op.patch,
        );
        let params = PidEmbedParams {
            gemm,
            source: self.at(op.image),
            output: self.at(op.stream),
            emit: self.emit(op.emit),
            height: (op.tokens.grid_rows * op.patch) as u32,
            width: (op.tokens.grid_cols * op.patch) as u32,
        };
        vec![launch::gemm("gemm_embed_patch", &gemm, &params)]
    }

    pub(super) fn qkv_project(&self, op: &QkvProject) -> Vec<KernelCall> {
        let streams: Vec<Stream> = op.streams.iter().map(|s| s.stream).collect();
        let folded = op.streams.iter().all(|s| s.sums.is_some());
        let calls = stream_rows(op.tokens, &streams, None);
        calls
            .iter()
            .map(|groups| {
                let of = |s: &StreamRows| &op.streams[s.index];
                let made: Vec<_> = groups
                    .iter()
                    .map(|s| {
                        let weights = GroupWeights { weight: of(s).weight, bias: None };
                        self.group(self.at(of(s).input), weights, s.rows)
                    })
                    .collect();
                let gemm = self.gemm(&made, of(&groups[0]).weight, op.in_features);
                let streams: Vec<_> = groups.iter().map(|s| self.qkv_stream(op, of(s))).collect();
                let params = PidQkvParams {
                    gemm,
                    stream: [streams[0], *streams.last().expect("a projection has a stream")],
                    q: self.at(op.q),
                    k: self.at(op.k),
                    v: self.at(op.v),
                    heads: op.heads as u32,
                    reserved: 0,
                };
                let kernel = if folded { "gemm_qkv_folded_d64" } else { "gemm_qkv_d72" };
                launch::gemm(kernel, &gemm, &params)
            })
            .collect()
    }

    fn qkv_stream(&self, op: &QkvProject, stream: &QkvStream) -> PidQkvStream {
        let key = RotaryKey { rotary: stream.rotary, tokens: op.tokens, head_dim: op.head_dim };
        let (even, odd) = self.tables.rotary[&key];
        let fold = match (&stream.norm, stream.sums) {
            (Some(norm), Some(sums)) => PidFold {
                sums: self.at(sums),
                shift_product: self.constant(Constant::ShiftProduct(norm.modulation, stream.weight)),
            },
            _ => PidFold { sums: std::ptr::null(), shift_product: std::ptr::null() },
        };
        let q_form = Form::scaled(query_factor(op.head_dim));
        PidQkvStream {
            fold,
            q_norm: self.tables.vector(stream.q_norm, q_form) as *const f32,
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

    pub(super) fn attention(&self, op: &Attention) -> Vec<KernelCall> {
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
        let bounded = self.tables.bounded.get(&op.q).copied().unwrap_or(false);
        let kernel = match (op.head_dim, bounded) {
            (64, true) => "attention_bounded_d64",
            (64, false) => "attention_online_d64",
            (_, true) => "attention_bounded_d72",
            (_, false) => "attention_online_d72",
        };
        vec![launch::attention(kernel, &params)]
    }

    pub(super) fn swiglu(&self, op: &SwiGlu, range: Option<&Range<usize>>) -> Vec<KernelCall> {
        let streams: Vec<Stream> = op.streams.iter().map(|s| s.stream).collect();
        let total = op.tokens.batch * op.tokens.joint();
        let calls = stream_rows(op.tokens, &streams, range);
        calls
            .iter()
            .map(|groups| {
                let of = |s: &StreamRows| &op.streams[s.index];
                let made: Vec<_> = groups
                    .iter()
                    .map(|s| {
                        let weights = GroupWeights { weight: of(s).weight, bias: None };
                        self.group(self.at(of(s).input), weights, s.rows)
                    })
                    .collect();
                let gemm = self.gemm(&made, of(&groups[0]).weight, op.hidden);
                let fold = |s: &StreamRows| PidFold {
                    sums: of(s).sums.map_or(std::ptr::null_mut(), |sums| self.at(sums)),
                    shift_product: self.constant(Constant::ShiftProduct(of(s).norm.modulation, of(s).weight)),
                };
                let folds: Vec<_> = groups.iter().map(fold).collect();
                let params = PidSwiGluParams {
                    gemm,
                    fold: [folds[0], *folds.last().expect("a feed-forward has a stream")],
                    output: self.row_zero(op.output, total, range),
                };
                launch::gemm("gemm_swiglu", &gemm, &params)
            })
            .collect()
    }

    pub(super) fn gated_residual(&self, op: &GatedResidual, range: Option<&Range<usize>>) -> Vec<KernelCall> {
        let streams: Vec<Stream> = op.streams.iter().map(|s| s.stream).collect();
        let total = op.tokens.batch * op.tokens.joint();
        let calls = stream_rows(op.tokens, &streams, range);
        calls
            .iter()
            .map(|groups| {
                let of = |s: &StreamRows| &op.streams[s.index];
                let input = self.row_zero(op.input, total, range);
                let group = |s: &StreamRows| {
                    let weights = GroupWeights { weight: of(s).affine.weight, bias: of(s).affine.bias };
                    self.group(input, weights, s.rows)
                };
                let made: Vec<_> = groups.iter().map(group).collect();
                let gemm = self.gemm(&made, of(&groups[0]).affine.weight, op.in_features);
                let stream = |s: &StreamRows| PidResidualStream {
                    residual: self.at(of(s).residual),
                    gate: self.constant(Constant::Gate(of(s).gate)),
                    emit: self.emit(of(s).emit),
                };
                let streams: Vec<_> = groups.iter().map(stream).collect();
                let params =
                    PidResidualParams { gemm, stream: [streams[0], *streams.last().expect("a residual has a stream")] };
                launch::gemm("gemm_residual", &gemm, &params)
            })
            .collect()
    }

    /// All rows of the image stream.
    pub(super) fn image_rows(&self, tokens: crate::graph::op::Tokens, range: Option<&Range<usize>>) -> PidRowsKey {
        plain_rows(tokens.batch * tokens.image(), tokens.image(), range)
    }
}
