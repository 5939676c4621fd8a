//! Weights, from the stored tensor to what a launch reads: where tensors come from (`source.rs`), how they are stored
//! (`tensor.rs`, `coding.rs`), in which number format a network has them (`format.rs`), how a matrix follows from them (`recipe.rs`, `store.rs`), and how it lies in the memory of a
//! device (`form.rs`, `order.rs`). Knows no file, no network and no device.

mod coding;
// Without a device of kernels nothing is laid out for one.
#[cfg_attr(not(any(feature = "cuda", feature = "emulator")), allow(dead_code))]
mod form;
mod format;
pub mod order;
mod recipe;
mod source;
mod store;
pub mod tensor;

pub use coding::Coding;
pub(crate) use coding::{Grid, Layout, ScaleOrder, columns, rows};
pub(crate) use form::Form;
pub use format::{ElementType, Format, Scale};
pub use order::RowOrder;
pub use recipe::{Recipe, Weight};
pub use source::{PrepareError, TensorSource};
pub use store::{Matrix, WeightStore};
pub use tensor::{DType, TensorView};
