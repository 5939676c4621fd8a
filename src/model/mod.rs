//! What the network is: configurations, tensor names and shapes, constants of the schedule, and the builder
//! of the graph.

pub mod config;
mod constants;
mod layers;
pub mod names;
pub mod network;
mod options;
mod program;
mod release;

pub use config::{Config, ConfigError, GateType, PaddingMode};
pub use constants::TimeConstants;
pub use network::Network;
pub use options::{NetworkOptions, Precision, SizeError};
pub use program::{float32_twin, program};
pub use release::{Release, TrainedSizes};
