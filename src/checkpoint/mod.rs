//! Checkpoints: where named tensors come from.
pub mod tensor;
pub use tensor::{DType, TensorView};
