//! What can be chosen: the kernels made for the device or the portable ones, and for which shapes a variant is taken.

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

/// What a call computes, as far as the best kernel for it depends on that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CallShape {
    /// The portable kernel.
    pub base: &'static str,
    /// Rows of the result; of attention queries, over all heads.
    pub rows: u32,
    /// Columns of the result; of attention keys.
    pub n: u32,
    /// Inner size; of attention that of a head.
    pub k: u32,
}

impl fmt::Display for CallShape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { base, rows, n, k } = self;
        write!(f, "{base} {rows} x {n} x {k}")
    }
}
