//! The device under check, as a driver.

use std::sync::Arc;

use super::{CheckError, Options};
use crate::backend::device::Driver;
use crate::device::{self, Device, Refusal};
use crate::error::Error;
use crate::kernels::family::Portable;

pub(super) struct Opened {
    pub(super) driver: Arc<dyn Driver>,
    /// Whether its clock tells anything, and its speed allows large networks.
    pub(super) is_gpu: bool,
}

pub(super) fn open(options: &Options) -> Result<Opened, CheckError> {
    let opened = match options.device {
        Device::Cpu => return Err(CheckError::Oracle(options.device)),
        Device::Cuda { ordinal } => device::cuda(ordinal).map(gpu).map_err(|e| Error::Device(e.reason))?,
        Device::Emulator { capability } => emulator(capability)?,
        Device::Auto => match device::cuda(0) {
            Ok(driver) => gpu(driver),
            Err(Refusal { is_absence: true, .. }) => emulator(Portable::EMULATED)?,
            // A job that is meant for a GPU must not pass on the emulator.
            Err(refusal) => return Err(Error::Device(refusal.reason).into()),
        },
    };
    match &options.fault {
        Some(name) => with_fault(opened, name),
        None => Ok(opened),
    }
}

fn gpu(driver: Arc<dyn Driver>) -> Opened {
    Opened { driver, is_gpu: true }
}

fn emulator(capability: (u32, u32)) -> Result<Opened, CheckError> {
    Ok(Opened { driver: device::emulator(capability)?, is_gpu: false })
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
