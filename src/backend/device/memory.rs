//! Device memory with an owner.

use std::sync::Arc;

use super::driver::{DeviceError, Driver};

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
