//! What can be chosen: the kernels made for the device, or the portable ones.

use std::fmt;
use std::str::FromStr;

/// What may run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KernelChoice {
    /// The kernels made for the device's architecture, else the portable ones.
    #[default]
    Auto,
    /// The kernels that run on every architecture.
    Portable,
}

impl FromStr for KernelChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "portable" => Ok(Self::Portable),
            _ => Err(format!("unknown kernels `{text}`; known: auto, portable")),
        }
    }
}

impl fmt::Display for KernelChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::Portable => "portable",
        })
    }
}
