//! What launches are made for: as much of a device as they depend on.

use super::capabilities::Capabilities;
use super::params::PidTensorMap;
use super::tensor_map::Tiled;

/// What a device's kernels run on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Processor {
    /// Major and minor compute capability.
    pub capability: (u32, u32),
    /// Blocks that take a whole multiprocessor each and run at a time: as many as a persistent kernel launches.
    pub multiprocessors: u32,
}

impl Processor {
    /// What it can do.
    pub fn capabilities(&self) -> Capabilities {
        Capabilities::of(self.capability)
    }
}

/// A device that launches are made for.
pub trait Target {
    /// What kernels are chosen and launched by.
    fn processor(&self) -> Processor;
    /// Whether kernels that were compiled for the one architecture `arch` (`sm_90a`) are there.
    fn has_code_for(&self, arch: &str) -> bool {
        let _ = arch;
        true
    }
    /// What kernels with bulk copies take for the tensor. Compute capability 9.0 and newer.
    ///
    /// # Errors
    /// [`LaunchError::TensorMap`]: names an argument that a GPU does not take.
    fn tensor_map(&self, tiled: &Tiled<'_>) -> Result<PidTensorMap, LaunchError>;
}

#[cfg(test)]
impl Target for Processor {
    fn processor(&self) -> Processor {
        *self
    }

    fn tensor_map(&self, _tiled: &Tiled<'_>) -> Result<PidTensorMap, LaunchError> {
        Ok(PidTensorMap { opaque: [0; 16] })
    }
}

/// Why a kernel cannot be launched on its operands.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum LaunchError {
    #[error("{kernel}: {size} = {value}, a multiple of {multiple} expected")]
    Size { kernel: &'static str, size: &'static str, value: u32, multiple: u32 },
    #[error(
        "{count} rows from {first} on, in samples of {per_sample}: one tensor map has whole samples or rows of one"
    )]
    Rows { count: u32, first: u32, per_sample: u32 },
    #[error("{0}")]
    TensorMap(String),
    #[error("{op}: no kernel of this build computes it")]
    NoKernel { op: String },
    #[error("{kernel}: of family {family}, which has no launch for {op}")]
    NoLaunch { kernel: &'static str, family: &'static str, op: &'static str },
}
