//! What can go wrong on a device of kernels.

use crate::kernels::LaunchError;
use crate::plan::ByteSize;

/// What can go wrong on a device.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum DeviceError {
    #[error(
        "out of device memory: {what} needs {needed}, {free} free; decode a smaller picture or pass --budget {budget}"
    )]
    OutOfMemory { what: String, needed: ByteSize, free: ByteSize, budget: ByteSize },
    #[error("{label} ({kernel}): {message}")]
    Call { label: String, kernel: String, message: String },
    #[error(transparent)]
    Launch(#[from] LaunchError),
    #[error("{0}")]
    Driver(String),
}
