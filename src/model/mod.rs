//! What the network is: configurations, tensor names and shapes, constants of the schedule, and the builder
//! of the graph.

pub mod config;
pub mod names;

pub use config::{Config, ConfigError, GateType, PaddingMode, Release};
