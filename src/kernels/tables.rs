//! Where everything lies that a launch may name.

use std::collections::{HashMap, HashSet};

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

/// Where a launch finds what it names, or a list of what it names.
pub(crate) trait Places {
    /// A tensor; a chunked one's address is where its current range begins.
    fn tensor(&self, id: TensorId) -> u64;
    /// A weight as a bf16 matrix.
    fn matrix(&self, id: WeightId, order: RowOrder) -> MatrixAt;
    /// A weight as float32, times the form's factor.
    fn vector(&self, id: WeightId, form: Form) -> u64;
    /// A weight's one value, a parameter rather than memory.
    fn scalar(&self, id: WeightId) -> f32;
    /// Tables of the even and the odd pairs.
    fn rotary(&self, key: RotaryKey) -> (u64, u64);
    /// A constant in a pass of the loop.
    fn constant(&self, step: usize, constant: Constant) -> u64;
    /// Whether the logits of the attention with these queries are so small that no maximum is needed.
    fn is_bounded(&self, q: TensorId) -> bool;
    /// As many zeros as the widest vector has elements.
    fn zeros(&self) -> u64;
    /// As many ones.
    fn ones(&self) -> u64;
    /// The vector, or zeros.
    fn bias(&self, id: Option<WeightId>) -> u64 {
        id.map_or_else(|| self.zeros(), |id| self.vector(id, Form::VECTOR))
    }
}

/// Device addresses, filled by a backend before the first launch.
#[derive(Debug, Default)]
pub(crate) struct Tables {
    /// Of each tensor that the plan places.
    pub(crate) tensors: Vec<Option<u64>>,
    pub(crate) matrices: HashMap<(WeightId, RowOrder), MatrixAt>,
    pub(crate) vectors: HashMap<(WeightId, Form), u64>,
    pub(crate) scalars: HashMap<WeightId, f32>,
    pub(crate) rotary: HashMap<RotaryKey, (u64, u64)>,
    /// By step.
    pub(crate) constants: Vec<HashMap<Constant, u64>>,
    /// Attentions, by their q.
    pub(crate) bounded: HashSet<TensorId>,
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
}

/// What is not there was named by no launch of the plan: the list of what to place is made by the same lowering.
impl Places for Tables {
    fn tensor(&self, id: TensorId) -> u64 {
        self.tensors[id.index()].expect("the plan places every tensor that a launch uses")
    }

    fn matrix(&self, id: WeightId, order: RowOrder) -> MatrixAt {
        self.matrices[&(id, order)]
    }

    fn vector(&self, id: WeightId, form: Form) -> u64 {
        self.vectors[&(id, form)]
    }

    fn scalar(&self, id: WeightId) -> f32 {
        self.scalars[&id]
    }

    fn rotary(&self, key: RotaryKey) -> (u64, u64) {
        self.rotary[&key]
    }

    fn constant(&self, step: usize, constant: Constant) -> u64 {
        self.constants[step][&constant]
    }

    fn is_bounded(&self, q: TensorId) -> bool {
        self.bounded.contains(&q)
    }

    fn zeros(&self) -> u64 {
        self.zeros
    }

    fn ones(&self) -> u64 {
        self.ones
    }
}
