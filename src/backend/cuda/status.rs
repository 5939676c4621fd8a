//! What the driver says, in words.

use cudarc::driver::{result, sys};

/// Why a GPU cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum CudaError {
    #[error("cuda: this build has no GPU kernels, for lack of nvcc: run tools/install-nvcc and build again")]
    NotBuilt,
    #[error(
        "cuda: no driver: the library libcuda.so.1 (nvcuda.dll) cannot be opened; install NVIDIA's driver or use --device cpu"
    )]
    NoDriver,
    #[error(
        "cuda: the driver supports CUDA {major}.{minor}; this build's kernels need {needed}.0 or newer: update the driver, \
         or build with the nvcc of an older release (12.8 or newer)"
    )]
    OldDriver { major: i32, minor: i32, needed: i32 },
    #[error("cuda:{ordinal}: no such device; there are {count}, counted from 0")]
    NoDevice { ordinal: usize, count: i32 },
    #[error(
        "cuda:{ordinal}: {name} has compute capability {major}.{minor}; 8.0 or newer is needed (Ampere: RTX 30, A100)"
    )]
    TooOld { ordinal: usize, name: String, major: i32, minor: i32 },
    #[error(
        "cuda:{ordinal}: {name} has compute capability {major}.{minor}, this build has kernels for {built}: build with \
         another PID_CUDA_ARCHS"
    )]
    NoKernels { ordinal: usize, name: String, major: i32, minor: i32, built: String },
    #[error(
        "cuda:{ordinal}: {name} has compute capability {major}.{minor}: it is a Tegra, which runs none of the code made for \
         other devices; use --device cpu"
    )]
    Tegra { ordinal: usize, name: String, major: i32, minor: i32 },
    #[error("cuda: {call}: {text}")]
    Driver { call: &'static str, text: String },
}

impl CudaError {
    /// Whether there is just no GPU for this build, which is no reason to wonder.
    pub fn is_absence(&self) -> bool {
        match self {
            Self::NotBuilt | Self::NoDriver | Self::NoDevice { .. } => true,
            // A driver without a device says so when it is initialised.
            Self::Driver { text, .. } => text.starts_with("CUDA_ERROR_NO_DEVICE"),
            Self::OldDriver { .. } | Self::TooOld { .. } | Self::NoKernels { .. } | Self::Tegra { .. } => false,
        }
    }
}

/// Names the call that a driver error comes from.
pub(super) trait Status<T> {
    fn status(self, call: &'static str) -> Result<T, CudaError>;
}

impl<T> Status<T> for Result<T, result::DriverError> {
    fn status(self, call: &'static str) -> Result<T, CudaError> {
        self.map_err(|e| CudaError::Driver { call, text: explain(e) })
    }
}

/// `CUDA_ERROR_OUT_OF_MEMORY: out of memory`.
pub(super) fn explain(error: result::DriverError) -> String {
    let text = error.error_string().map(|t| t.to_string_lossy().into_owned()).unwrap_or_default();
    format!("{:?}: {text}", error.0)
}

/// Whether the context is of no use after this error: the kernel faulted, or the device is gone.
pub(super) fn is_fatal(error: sys::CUresult) -> bool {
    use sys::CUresult as R;
    matches!(
        error,
        R::CUDA_ERROR_ILLEGAL_ADDRESS
            | R::CUDA_ERROR_LAUNCH_TIMEOUT
            | R::CUDA_ERROR_ASSERT
            | R::CUDA_ERROR_HARDWARE_STACK_ERROR
            | R::CUDA_ERROR_ILLEGAL_INSTRUCTION
            | R::CUDA_ERROR_MISALIGNED_ADDRESS
            | R::CUDA_ERROR_INVALID_ADDRESS_SPACE
            | R::CUDA_ERROR_INVALID_PC
            | R::CUDA_ERROR_LAUNCH_FAILED
            | R::CUDA_ERROR_ECC_UNCORRECTABLE
            | R::CUDA_ERROR_NVLINK_UNCORRECTABLE
            | R::CUDA_ERROR_CONTEXT_IS_DESTROYED
            | R::CUDA_ERROR_DEINITIALIZED
            | R::CUDA_ERROR_SYSTEM_NOT_READY
            | R::CUDA_ERROR_EXTERNAL_DEVICE
            | R::CUDA_ERROR_UNKNOWN
    ) || needs_restart(error)
}

/// Whether nothing but another process helps after this error.
fn needs_restart(error: sys::CUresult) -> bool {
    use sys::CUresult as R;
    matches!(error, R::CUDA_ERROR_CONTAINED | R::CUDA_ERROR_MPS_CLIENT_TERMINATED | R::CUDA_ERROR_TENSOR_MEMORY_LEAK)
}

/// What to do after an error that is fatal.
pub(super) fn remedy(error: sys::CUresult) -> &'static str {
    if needs_restart(error) {
        "start the program again"
    } else {
        "drop every decoder on this GPU, as they share its context, then build another"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_that_end_a_context_are_known() {
        use sys::CUresult as R;
        for error in [R::CUDA_ERROR_CONTAINED, R::CUDA_ERROR_MPS_CLIENT_TERMINATED, R::CUDA_ERROR_TENSOR_MEMORY_LEAK] {
            assert!(is_fatal(error), "{error:?}");
            assert_eq!(remedy(error), "start the program again");
        }
        assert!(is_fatal(R::CUDA_ERROR_ILLEGAL_ADDRESS) && remedy(R::CUDA_ERROR_ILLEGAL_ADDRESS).contains("decoder"));
        for error in [R::CUDA_ERROR_OUT_OF_MEMORY, R::CUDA_ERROR_INVALID_VALUE, R::CUDA_ERROR_NOT_READY] {
            assert!(!is_fatal(error), "{error:?}");
        }
    }
}
