//! Devices that run programs.

mod angles;
pub mod cpu;
#[cfg(feature = "cuda")]
pub mod cuda;
#[cfg(any(feature = "cuda", feature = "emulator"))]
pub mod device;
#[cfg(feature = "emulator")]
pub mod emulator;
