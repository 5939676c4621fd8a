//! What is computed: typed tensors, prepared weights and an ordered list of ops. No addresses, no device.
//!
//! A graph has two parts: nodes that run `Once`, and nodes that run in every `Step` of a loop; either may be empty. Tensors are
//! buffers, not values: residual streams are updated in place, and a tensor made by a `Once` node and read by a `Step` node
//! stays for the whole loop. What callers fill and read they know by name.

mod access;
mod check;
mod constant;
mod fuse;
pub mod op;
mod segment;
mod work;

pub use check::GraphError;
pub use constant::{Constant, ConstantId, GraphConstants};
pub use fuse::fuse;
pub use op::Op;
pub use segment::Segment;

use crate::weights::Weight;
pub use crate::weights::{ElementType, Format, Scale};
pub use work::Work;

/// Index of a tensor in its [`Graph`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TensorId(pub u32);

/// Index of a prepared weight in its [`Graph`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WeightId(pub u32);

impl TensorId {
    /// As an index.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

impl WeightId {
    /// As an index.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// Who fills a tensor, and how long it must stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// Filled by the caller before the first node.
    Input,
    /// Read by the caller after the last node.
    Output,
    /// Neither.
    Temporary,
}

/// A buffer: `shape` elements of `format`, row-major.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Tensor {
    /// For people: `patch.hidden`, `features.3`.
    pub name: String,
    /// Extents, outermost first.
    pub shape: Vec<usize>,
    /// What elements are.
    pub format: Format,
    /// Who fills and reads it.
    pub role: Role,
    /// Whether what is written is rounded to bf16, though it is kept in float32.
    pub rounded: bool,
}

impl Tensor {
    /// Number of elements.
    pub fn elements(&self) -> usize {
        self.shape.iter().product()
    }

    /// Bytes without alignment.
    pub fn bytes(&self) -> usize {
        let cols = self.shape.last().copied().unwrap_or(1).max(1);
        self.format.bytes(self.elements() / cols, cols)
    }
}

/// When a node runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Once, before the loop.
    Once,
    /// In every pass of the loop.
    Step,
}

/// An op in its place, with the names under which its results are known to tests and traces.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Node {
    /// For people: `patch_blocks.3.attention`.
    pub name: String,
    /// When it runs.
    pub phase: Phase,
    /// What it computes.
    pub op: Op,
    /// After this node the tensor holds the output of the reference's module of that name.
    pub taps: Vec<(TensorId, String)>,
}

/// A whole computation: tensors, weights, constants, and nodes in order, all `Once` nodes before all `Step` nodes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Graph {
    /// Buffers, indexed by [`TensorId`].
    pub tensors: Vec<Tensor>,
    /// Prepared weights, indexed by [`WeightId`].
    pub weights: Vec<Weight>,
    /// Vectors that callers compute for each pass of the loop, indexed by [`ConstantId`].
    pub constants: Vec<Constant>,
    /// Ops in execution order.
    pub nodes: Vec<Node>,
}

impl Graph {
    /// Adds a buffer.
    pub fn tensor(
        &mut self,
        name: impl Into<String>,
        shape: &[usize],
        format: impl Into<Format>,
        role: Role,
    ) -> TensorId {
        let id = TensorId(self.tensors.len() as u32);
        self.tensors.push(Tensor {
            name: name.into(),
            shape: shape.to_vec(),
            format: format.into(),
            role,
            rounded: false,
        });
        id
    }

    /// Adds a prepared weight, or finds the same one added before.
    pub fn weight(&mut self, weight: Weight) -> WeightId {
        if let Some(found) = self.weights.iter().position(|w| *w == weight) {
            return WeightId(found as u32);
        }
        self.weights.push(weight);
        WeightId(self.weights.len() as u32 - 1)
    }

    /// Keeps bf16 tensors in float32, of the values that bf16 has: for a device that computes in float32 alone.
    pub fn widen(&mut self) {
        for tensor in self.tensors.iter_mut().filter(|t| t.format == Format::BF16) {
            (tensor.format, tensor.rounded) = (Format::F32, true);
        }
    }

    /// Adds a constant, or finds the one of that name.
    pub fn constant(&mut self, name: &str, len: usize) -> ConstantId {
        if let Some(found) = self.constants.iter().position(|c| c.name == name) {
            return ConstantId(found as u32);
        }
        self.constants.push(Constant { name: name.into(), len, tap: None });
        ConstantId(self.constants.len() as u32 - 1)
    }

    /// The input or output called `name`.
    pub fn named(&self, name: &str) -> Option<TensorId> {
        let is_it = |t: &Tensor| t.role != Role::Temporary && t.name == name;
        self.tensors.iter().position(is_it).map(|index| TensorId(index as u32))
    }

    /// Appends a node after checking its operands' shapes against the op.
    ///
    /// # Errors
    /// [`GraphError`] names the node, the operand, its shape and the expected one.
    pub fn push(&mut self, name: impl Into<String>, phase: Phase, op: Op) -> Result<(), GraphError> {
        let node = Node { name: name.into(), phase, op, taps: Vec::new() };
        check::check_next(self, &node)?;
        self.nodes.push(node);
        Ok(())
    }

    /// Records that `tensor` holds the output of module `name` after the node pushed last.
    pub fn tap(&mut self, tensor: TensorId, name: impl Into<String>) {
        if let Some(node) = self.nodes.last_mut() {
            node.taps.push((tensor, name.into()));
        }
    }
}

impl std::ops::Index<TensorId> for Graph {
    type Output = Tensor;
    fn index(&self, id: TensorId) -> &Tensor {
        &self.tensors[id.index()]
    }
}

impl std::ops::Index<ConstantId> for Graph {
    type Output = Constant;
    fn index(&self, id: ConstantId) -> &Constant {
        &self.constants[id.index()]
    }
}

impl std::ops::Index<WeightId> for Graph {
    type Output = Weight;
    fn index(&self, id: WeightId) -> &Weight {
        &self.weights[id.index()]
    }
}
