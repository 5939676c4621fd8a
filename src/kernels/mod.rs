//! The Rust half of the CUDA kernels: which kernels an op becomes, with which parameters and launch shapes.
//!
//! Nothing here talks to a device. What each kernel declares of itself is in `table`, made of the C++ sources. `lower` turns each
//! launch of a plan into [`OpCall`]s, `selection` finds the kernel for each, and the kernel's `family` makes the launch. The
//! first time, in `needs`, the launches lead nowhere and list what they name; a backend uploads that and keeps the addresses in
//! `Tables`.

mod call;
pub mod capabilities;
mod choice;
pub mod cubins;
pub mod entry;
pub mod family;
pub(crate) mod lower;
pub(crate) mod needs;
pub mod op_call;
#[allow(missing_docs)]
pub mod params;
pub mod selection;
mod supports;
pub mod table;
mod tables;
pub mod target;
pub mod tensor_map;
pub mod tuning;

pub use call::{KernelCall, Params};
pub use capabilities::Capabilities;
pub use choice::KernelChoice;
pub use entry::Entry;
pub use op_call::{OpCall, OpShape, RowsOfA};
pub use selection::Selection;
pub use supports::{UnsupportedOp, supports};
#[cfg(any(feature = "cuda", feature = "emulator"))]
pub(crate) use tables::Tables;
pub(crate) use tables::{Constant, MatrixAt, Places, RotaryKey};
pub use target::{LaunchError, Processor, Target};
pub use tuning::{Tuning, TuningFile};
