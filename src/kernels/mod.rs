//! The Rust half of the CUDA kernels.

pub mod cubins;
