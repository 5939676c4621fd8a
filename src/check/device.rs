//! The device under check, as a driver.

use std::sync::Arc;

use super::{CheckError, Options};
use crate::backend::device::Driver;
use crate::device::Device;
use crate::error::Error;

pub(super) struct Opened {
    pub(super) driver: Arc<dyn Driver>,
    /// Whether its clock tells anything, and its speed allows large networks.
    pub(super) is_gpu: bool,
}

pub(super) fn open(options: &Options) -> Result<Opened, CheckError> {
    let opened = match options.device {
        Device::Cpu => return Err(CheckError::Oracle(options.device)),
        Device::Cuda { ordinal } => gpu(ordinal).map_err(|refusal| Error::Device(refusal.reason))?,
        Device::Emulator => emulator()?,
        Device::Auto => match gpu(0) {
            Ok(opened) => opened,
            Err(Refusal { is_absence: true, .. }) => emulator()?,
            // A job that is meant for a GPU must not pass on the emulator.
            Err(refusal) => return Err(Error::Device(refusal.reason).into()),
        },
    };
    match &options.fault {
        Some(name) => with_fault(opened, name),
        None => Ok(opened),
    }
}

/// Why a GPU is not used.
struct Refusal {
    reason: String,
    /// Whether there is none, rather than one that cannot be used.
    is_absence: bool,
}

#[cfg(feature = "cuda")]
fn gpu(ordinal: usize) -> Result<Opened, Refusal> {
    let cuda = crate::backend::cuda::Cuda::open(ordinal)
        .map_err(|e| Refusal { reason: e.to_string(), is_absence: e.is_absence() })?;
    Ok(Opened { driver: Arc::new(cuda), is_gpu: true })
}

#[cfg(not(feature = "cuda"))]
fn gpu(ordinal: usize) -> Result<Opened, Refusal> {
    Err(Refusal { reason: format!("cuda:{ordinal}: this build lacks the feature `cuda`"), is_absence: true })
}

#[cfg(feature = "emulator")]
fn emulator() -> Result<Opened, CheckError> {
    Ok(Opened { driver: Arc::new(crate::backend::emulator::Emulator::default()), is_gpu: false })
}

#[cfg(not(feature = "emulator"))]
fn emulator() -> Result<Opened, CheckError> {
    Err(Error::Device("emulator: this build lacks the feature `emulator`".into()).into())
}

#[cfg(feature = "emulator")]
fn with_fault(opened: Opened, name: &str) -> Result<Opened, CheckError> {
    if opened.is_gpu {
        let reason = format!("faulty kernels run on the emulator alone, not on {}", opened.driver.name());
        return Err(CheckError::Fault { name: name.into(), reason });
    }
    Ok(Opened { driver: Arc::new(super::fault::Faulty::new(opened.driver, name)?), ..opened })
}

#[cfg(not(feature = "emulator"))]
fn with_fault(_opened: Opened, name: &str) -> Result<Opened, CheckError> {
    let reason = "faulty kernels run on the emulator, which this build lacks".into();
    Err(CheckError::Fault { name: name.into(), reason })
}
