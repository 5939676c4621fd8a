//! The Rust half of the CUDA kernels: which kernels an op becomes, with which parameters and launch shapes.
//!
//! Nothing here talks to a device. What each kernel declares of itself is in `table`, made of the C++ sources. `needs` says
//! what a program wants uploaded, a backend uploads it and keeps the addresses in `Tables`, `lower` turns each launch of a
//! plan into [`OpCall`]s, `selection` finds the kernel for each, and the kernel's `family` makes the launch.

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
pub(crate) use tables::{Constant, MatrixAt, RotaryKey, Tables};
pub use target::{LaunchError, Processor, Target};
pub use tuning::{Tuning, TuningFile};

use crate::model::Config;

/// A network that the kernels are not written for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("config: {field} = {value}: the kernels are written for {expected}; use --device cpu")]
pub struct UnsupportedConfig {
    /// Config argument.
    pub field: &'static str,
    /// Its value.
    pub value: usize,
    /// What would do.
    pub expected: &'static str,
}

/// Checks that the kernels can run networks of `config`.
///
/// # Errors
/// Names the first argument that they cannot.
pub fn supports(config: &Config) -> Result<(), UnsupportedConfig> {
    let rules: [(&'static str, usize, bool, &'static str); 9] = [
        ("patch_size", config.patch_size, config.patch_size == 16, "16"),
        ("pixel_hidden_size", config.pixel_hidden_size, config.pixel_hidden_size == 16, "16"),
        ("hidden_size / num_groups", config.head_dim(), config.head_dim() == 64, "heads of 64"),
        (
            "pixel_attn_hidden_size / pixel_num_groups",
            config.pixel_head_dim(),
            config.pixel_head_dim() == 72,
            "heads of 72",
        ),
        ("hidden_size", config.hidden_size, config.hidden_size.is_multiple_of(64), "multiples of 64"),
        ("hidden_size * 8 / 3", config.ffn_inner(), config.ffn_inner().is_multiple_of(32), "multiples of 32"),
        ("txt_embed_dim", config.txt_embed_dim, config.txt_embed_dim.is_multiple_of(8), "multiples of 8"),
        ("lq_hidden_dim", config.lq_hidden_dim, config.lq_hidden_dim.is_multiple_of(32), "multiples of 32"),
        (
            "hidden_size",
            config.hidden_size,
            config.hidden_size <= 2048 && config.pixel_attn_hidden_size.is_multiple_of(8),
            "at most 2048",
        ),
    ];
    match rules.into_iter().find(|(_, _, holds, _)| !holds) {
        Some((field, value, _, expected)) => Err(UnsupportedConfig { field, value, expected }),
        None => Ok(()),
    }
}
