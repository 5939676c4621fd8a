//! The test of the check: an emulator on which one kernel is replaced by a faulty copy of it.

use std::sync::Arc;

use super::CheckError;
use crate::backend::device::{Command, Driver};
use crate::backend::emulator::Emulator;
use crate::exec::DeviceError;
use crate::kernels::params::PidTensorMap;
use crate::kernels::tensor_map::Tiled;
use crate::kernels::{LaunchError, Processor, Target};

/// Runs `fault` wherever `kernel` is called.
#[derive(Debug)]
pub(super) struct Faulty {
    inner: Arc<dyn Driver>,
    kernel: &'static str,
    fault: &'static str,
}

impl Faulty {
    /// `fault` is a faulty copy of a kernel: `gemm_linear_no_store_guard`.
    pub(super) fn new(inner: Arc<dyn Driver>, fault: &str) -> Result<Self, CheckError> {
        let refused = |reason: &str| CheckError::Fault { name: fault.into(), reason: reason.into() };
        let known = Emulator::kernel(fault).ok_or_else(|| refused("the emulator has no such kernel"))?;
        let kernel = known.fault_of.ok_or_else(|| refused("it is no faulty copy of a kernel"))?;
        Ok(Self { inner, kernel, fault: known.entry.name })
    }
}

impl Driver for Faulty {
    fn name(&self) -> String {
        format!("{} with {}", self.inner.name(), self.fault)
    }

    fn free_bytes(&self) -> Option<u64> {
        self.inner.free_bytes()
    }

    fn allocate(&self, bytes: usize) -> Result<u64, DeviceError> {
        self.inner.allocate(bytes)
    }

    fn free(&self, address: u64, bytes: usize) {
        self.inner.free(address, bytes);
    }

    fn upload(&self, address: u64, bytes: &[u8]) -> Result<(), DeviceError> {
        self.inner.upload(address, bytes)
    }

    fn download(&self, address: u64, bytes: &mut [u8]) -> Result<(), DeviceError> {
        self.inner.download(address, bytes)
    }

    fn allocate_host(&self, bytes: usize) -> Result<u64, DeviceError> {
        self.inner.allocate_host(bytes)
    }

    fn free_host(&self, address: u64, bytes: usize) {
        self.inner.free_host(address, bytes);
    }

    fn run(&self, commands: &[Command]) -> Result<(), DeviceError> {
        let replaced = |command: &Command| {
            let mut command = command.clone();
            if let Command::Launch(launch) = &mut command
                && launch.call.kernel == self.kernel
            {
                launch.call.kernel = self.fault;
            }
            command
        };
        self.inner.run(&commands.iter().map(replaced).collect::<Vec<_>>())
    }

    fn collects(&self) -> bool {
        self.inner.collects()
    }
}

impl Target for Faulty {
    fn processor(&self) -> Processor {
        self.inner.processor()
    }

    fn has_code_for(&self, arch: &str) -> bool {
        self.inner.has_code_for(arch)
    }

    fn tensor_map(&self, tiled: &Tiled<'_>) -> Result<PidTensorMap, LaunchError> {
        self.inner.tensor_map(tiled)
    }
}
