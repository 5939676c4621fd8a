//! pid-engine.
pub mod checkpoint;
pub mod graph;
pub mod model;
