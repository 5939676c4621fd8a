//! Vectors that are constant within a pass of the loop: a caller computes them, ops read them.

/// Index of a constant in its [`super::Graph`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConstantId(pub u32);

impl ConstantId {
    /// As an index.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// A float32 vector that every pass of the loop has its own values of.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Constant {
    /// For people: `patch_blocks.3.image.gate`.
    pub name: String,
    /// Elements.
    pub len: usize,
    /// Name of the reference's module whose output it is, where tests compare it.
    pub tap: Option<String>,
}

/// Values of all of a graph's constants in one pass, indexed by [`ConstantId`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GraphConstants {
    /// Of one network, equal keys mean equal values: devices keep what they have made of them.
    pub key: u64,
    /// The values.
    pub values: Vec<Vec<f32>>,
}
