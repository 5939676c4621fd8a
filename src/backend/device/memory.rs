//! Device memory with an owner.

use std::sync::Arc;

use super::driver::Driver;
use crate::exec::DeviceError;

/// An allocation, freed with its owner.
#[derive(Debug)]
pub(crate) struct Buffer {
    driver: Arc<dyn Driver>,
    address: u64,
    bytes: usize,
}

impl Buffer {
    /// Uninitialised memory; at least one byte.
    pub(crate) fn new(driver: &Arc<dyn Driver>, bytes: usize) -> Result<Self, DeviceError> {
        let bytes = bytes.max(1);
        Ok(Self { driver: Arc::clone(driver), address: driver.allocate(bytes)?, bytes })
    }

    /// Memory holding `values`.
    pub(crate) fn of<T: bytemuck::NoUninit>(driver: &Arc<dyn Driver>, values: &[T]) -> Result<Self, DeviceError> {
        let buffer = Self::new(driver, size_of_val(values))?;
        driver.upload(buffer.address, bytemuck::cast_slice(values))?;
        Ok(buffer)
    }

    pub(crate) fn address(&self) -> u64 {
        self.address
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.driver.free(self.address, self.bytes);
    }
}

/// Memory of the host's that the device copies from, freed with its owner.
#[derive(Debug)]
pub(crate) struct HostBuffer {
    driver: Arc<dyn Driver>,
    address: u64,
    bytes: usize,
}

impl HostBuffer {
    /// `bytes` bytes (at least one), filled by `fill`.
    pub(crate) fn filled(
        driver: &Arc<dyn Driver>,
        bytes: usize,
        fill: impl FnOnce(&mut [u8]),
    ) -> Result<Self, DeviceError> {
        let bytes = bytes.max(1);
        let made = Self { driver: Arc::clone(driver), address: driver.allocate_host(bytes)?, bytes };
        // SAFETY: the driver gave as many bytes of initialised memory, which nobody else knows of yet.
        fill(unsafe { std::slice::from_raw_parts_mut(made.address as *mut u8, bytes) });
        Ok(made)
    }

    pub(crate) fn address(&self) -> u64 {
        self.address
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Drop for HostBuffer {
    fn drop(&mut self) {
        self.driver.free_host(self.address, self.bytes);
    }
}
