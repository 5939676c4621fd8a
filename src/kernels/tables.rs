//! Where everything lies that a launch may name.

use std::collections::HashMap;

use crate::graph::op::{Rotary, Tokens};
use crate::graph::{ConstantId, TensorId, WeightId};
use crate::weights::{Form, RowOrder};

/// A bf16 matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MatrixAt {
    pub(crate) address: u64,
    /// Elements from row to row.
    pub(crate) stride: usize,
}

/// A float32 vector that is made of a graph's constants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Constant {
    /// As it is.
    Vector(ConstantId),
    /// `weight (1 + scale)`, `[D]`.
    Scale(WeightId, ConstantId),
    /// `shift W^T`, `[rows of W]`.
    ShiftProduct(ConstantId, WeightId),
}

/// Angles of a head size on a patch grid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct RotaryKey {
    pub(crate) rotary: Rotary,
    pub(crate) tokens: Tokens,
    pub(crate) head_dim: usize,
}

/// Device addresses, filled by a backend before the first launch.
#[derive(Debug, Default)]
pub(crate) struct Tables {
    /// Of each tensor that the plan places; a chunked one's is where its current range begins.
    pub(crate) tensors: Vec<Option<u64>>,
    pub(crate) matrices: HashMap<(WeightId, RowOrder), MatrixAt>,
    pub(crate) vectors: HashMap<(WeightId, Form), u64>,
    /// Values that are parameters rather than memory.
    pub(crate) scalars: HashMap<WeightId, f32>,
    /// Even and odd pairs' tables.
    pub(crate) rotary: HashMap<RotaryKey, (u64, u64)>,
    /// By step.
    pub(crate) constants: Vec<HashMap<Constant, u64>>,
    /// Attentions (by their q) whose logits are bounded, so that no maximum is needed.
    pub(crate) bounded: HashMap<TensorId, bool>,
    /// Zeros and ones, as many as the widest vector has elements.
    pub(crate) zeros: u64,
    pub(crate) ones: u64,
    /// The noise's seed.
    pub(crate) seed: u64,
}

impl Tables {
    /// Enters where a weight lies.
    pub(crate) fn place_weight(&mut self, id: WeightId, form: Form, address: u64, stride: usize) {
        match form {
            Form::Matrix(order) => {
                self.matrices.insert((id, order), MatrixAt { address, stride });
            }
            Form::Vector { .. } => {
                self.vectors.insert((id, form), address);
            }
        }
    }

    pub(crate) fn tensor(&self, id: TensorId) -> u64 {
        self.tensors[id.index()].expect("the plan places every tensor that a launch uses")
    }

    pub(crate) fn matrix(&self, id: WeightId, order: RowOrder) -> MatrixAt {
        *self.matrices.get(&(id, order)).expect("needs() lists every matrix that lowering names")
    }

    pub(crate) fn vector(&self, id: WeightId, form: Form) -> u64 {
        *self.vectors.get(&(id, form)).expect("needs() lists every vector that lowering names")
    }

    /// The vector, or zeros.
    pub(crate) fn bias(&self, id: Option<WeightId>) -> u64 {
        id.map_or(self.zeros, |id| self.vector(id, Form::VECTOR))
    }

    pub(crate) fn constant(&self, step: usize, constant: Constant) -> u64 {
        *self.constants[step].get(&constant).expect("needs() lists every constant that lowering names")
    }
}
