//! NVIDIA's PiD: configurations, tensor names and shapes, constants of the schedule, the builder of the graph, and the choice of
//! a plan within a budget.

pub mod config;
mod constants;
mod detect;
mod layers;
pub mod names;
mod network;
mod options;
mod program;
mod release;

pub use config::{Config, ConfigError, GateType, PaddingMode};
pub use constants::{constants, iterations};
pub use options::{NetworkOptions, Policy, SizeError};
pub use program::{ProgramError, graph, program, smallest};
pub use release::{Release, TrainedSizes};

use crate::exec::Output;
use crate::graph::{Graph, GraphError};
use crate::models::{Model, TensorSpec};
use crate::weights::TensorSource;

/// NVIDIA's PiD.
#[derive(Clone, Copy, Debug)]
pub struct Pid;

impl Model for Pid {
    type Config = Config;
    type Options = NetworkOptions;
    type Undetected = ConfigError;

    fn tensors(config: &Config) -> Vec<TensorSpec> {
        names::tensors(config)
    }

    fn detect(source: &dyn TensorSource) -> Result<Config, ConfigError> {
        detect::config_of_shapes(source)
    }

    fn build(config: &Config, options: &NetworkOptions) -> Result<Graph, GraphError> {
        network::build(config, options)
    }
}

/// The picture, as callers read it.
pub const IMAGE: Output<'static> = Output { name: "image", range: [-1.0, 1.0] };
