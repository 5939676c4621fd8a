//! Networks, a folder each: what their files hold, how to tell them from those, and their graphs. Nothing below knows any of
//! them by name.

pub mod pid;

use crate::graph::{Graph, GraphError};
use crate::weights::TensorSource;

/// A kind of network.
pub trait Model {
    /// Its hyper-parameters.
    type Config;
    /// Sizes and choices of one graph of it.
    type Options;
    /// A file that is not of this kind.
    type Undetected;

    /// Every tensor that a network of `config` needs, in the order of computation.
    fn tensors(config: &Self::Config) -> Vec<TensorSpec>;

    /// The configuration that the shapes of the source's tensors tell.
    ///
    /// # Errors
    /// When a tensor that tells it is missing, or no network has these shapes.
    fn detect(source: &dyn TensorSource) -> Result<Self::Config, Self::Undetected>;

    /// The plain graph, each op by itself; [`crate::graph::fuse`] makes of it what kernels run.
    ///
    /// # Errors
    /// Only for sizes that the config does not allow.
    fn build(config: &Self::Config, options: &Self::Options) -> Result<Graph, GraphError>;
}

/// A tensor that a network's file holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorSpec {
    /// Without prefix.
    pub name: String,
    /// Extents, outermost first.
    pub shape: Vec<usize>,
}
