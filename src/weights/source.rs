//! Where tensors come from, and what may be wrong with them.

use std::fmt;

use super::TensorView;

/// Where named tensors come from.
pub trait TensorSource: Send + Sync + fmt::Debug {
    /// The stored tensor called `name`.
    fn tensor(&self, name: &str) -> Option<TensorView<'_>>;
}

/// A weight that cannot be prepared.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum PrepareError {
    #[error("weight {name} is not in the checkpoint")]
    Missing { name: String },
    #[error("weight {name} has {found} elements, the network needs {expected}")]
    Misshapen { name: String, found: usize, expected: usize },
}
