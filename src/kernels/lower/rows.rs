//! Ops on whole rows of a stream, and the gates.

use super::{Calls, Lowering, Operands};
use crate::graph::op::{AddSilu, Copy, FeatureGate, Lookup};
use crate::kernels::params::{PidGemm, PidGroup, PidLatentGateParams, PidLookupParams, PidRowsParams};
use crate::kernels::{Constant, OpCall, RowsOfA};
use crate::weights::{Form, RowOrder};

impl Lowering<'_> {
    pub(super) fn restart(&self, op: &Copy) -> Calls {
        let shape = &self.graph()[op.output].shape;
        let (batch, per_sample, hidden) = (shape[0], shape[1], shape[2]);
        let params = PidRowsParams {
            stream: self.at(op.output),
            source: self.at(op.input),
            vector: self.places.zeros() as *const f32,
            position: std::ptr::null(),
            emit: self.emit(op.emit),
            num_rows: (batch * per_sample) as u32,
            rows_per_sample: per_sample as u32,
            hidden: hidden as u32,
            reserved: 0,
        };
        self.one(&OpCall::rows("rows_restart", params.num_rows, &params))
    }

    pub(super) fn lookup(&self, op: &Lookup) -> Calls {
        let params = PidLookupParams {
            ids: self.at::<i32>(op.ids).cast_const(),
            table: self.places.matrix(op.table, RowOrder::Plain).address as *const u16,
            output: self.at(op.output),
            emit: self.emit(op.emit),
            num_rows: op.rows as u32,
            num_entries: op.entries as u32,
            hidden: op.width as u32,
            reserved: 0,
        };
        self.one(&OpCall::rows("rows_lookup", params.num_rows, &params))
    }

    pub(super) fn add_silu(&self, op: &AddSilu) -> Calls {
        let rows = op.tokens.batch * op.tokens.image();
        let params = PidRowsParams {
            stream: self.at(op.stream),
            source: self.at(op.stream),
            vector: self.constant(Constant::Vector(op.vector)),
            position: std::ptr::null(),
            emit: self.emit(op.emit),
            num_rows: rows as u32,
            rows_per_sample: op.tokens.image() as u32,
            hidden: op.hidden as u32,
            reserved: 0,
        };
        self.one(&OpCall::rows("rows_time_silu", params.num_rows, &params))
    }

    pub(super) fn feature_gate(&self, op: &FeatureGate) -> Calls {
        const OP: &str = "gemm_latent_gate";
        let rows = self.image_rows(op.tokens, None);
        let per_token = op.gate_width == 1;
        let gemm = match op.operand {
            Some(operand) if !per_token => {
                let operands = Operands { a: self.at(operand), weight: op.weight, bias: None, rows };
                self.gemm(OP, &[operands], op.hidden)
            }
            _ => {
                let (a, b) = (std::ptr::null(), std::ptr::null());
                let group = PidGroup { a, b, bias: self.places.zeros() as *const f32, rows: rows.params() };
                PidGemm { group: [group; 2], num_groups: 1, n: op.hidden as u32, k: op.hidden as u32, ldb: 0 }
            }
        };
        let params = PidLatentGateParams {
            gemm,
            stream: self.at(op.stream),
            features: self.at(op.features),
            feature_half: self.at(op.feature_half),
            sigma: self.at(op.level),
            gate_weight: if per_token {
                self.places.vector(op.weight, Form::VECTOR) as *const f32
            } else {
                std::ptr::null()
            },
            emit: self.emit(op.emit),
            alpha: self.places.scalar(op.log_slope).exp(),
            reserved: 0,
        };
        if per_token {
            self.one(&OpCall::rows("rows_latent_gate", rows.count as u32, &params))
        } else {
            self.one(&OpCall::product(OP, RowsOfA::Stream, &params))
        }
    }
}
