//! Shape rules of the ops.
use super::{Graph, Node};

/// An operand that does not fit its op.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("graph: {node}: {message}")]
pub struct GraphError {
    /// Node's name.
    pub node: String,
    /// What is wrong, with values.
    pub message: String,
}

pub(super) fn check(_graph: &Graph, _node: &Node) -> Result<(), GraphError> {
    Ok(())
}
