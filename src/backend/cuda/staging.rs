//! Copies between the device and ordinary memory, by way of page-locked memory: the device's copy engine reaches only
//! that, and the driver's own detour takes one core at a time.

use cudarc::driver::{PinnedHostSlice, result, sys};

use super::{Cuda, DeviceError};
use crate::parallel;

/// Bytes of one half: one is copied by the device while the cores copy the other.
const HALF_BYTES: usize = 8 << 20;
/// Copies up to this size go the driver's way: setting up a detour takes as long.
const SMALL_BYTES: usize = 256 << 10;
/// Bytes one core copies at a time.
const PIECE_BYTES: usize = 1 << 20;

/// Page-locked memory, two halves, made when it is first needed.
#[derive(Debug, Default)]
pub(super) struct Staging {
    memory: Option<PinnedHostSlice<u8>>,
}

impl Staging {
    /// Copies `bytes` to `address`, after all work before. The context is current.
    pub(super) fn upload(&mut self, cuda: &Cuda, address: u64, bytes: &[u8]) -> Result<(), DeviceError> {
        let stream = cuda.stream.cu_stream();
        if bytes.len() <= SMALL_BYTES {
            // SAFETY: callers upload into allocations at least as long; the slice lives until the stream is done.
            unsafe { result::memcpy_htod_async(address, bytes, stream) }
                .map_err(|e| cuda.failed("cuMemcpyHtoDAsync", e))?;
            return cuda.synchronize("copying to the device, or work before");
        }
        let [mut half, mut other] = self.halves(cuda)?;
        for (i, part) in bytes.chunks(HALF_BYTES).enumerate() {
            copy(&mut half[..part.len()], part);
            // The other half's copy ends here: it is filled next.
            cuda.synchronize("copying to the device, or work before")?;
            // SAFETY: as above; this half is not written before the next synchronisation but one.
            unsafe { result::memcpy_htod_async(address + (i * HALF_BYTES) as u64, &half[..part.len()], stream) }
                .map_err(|e| cuda.failed("cuMemcpyHtoDAsync", e))?;
            std::mem::swap(&mut half, &mut other);
        }
        cuda.synchronize("copying to the device")
    }

    /// Copies from `address`, after all work before; `doing` says what may have failed. The context is current.
    pub(super) fn download(
        &mut self,
        cuda: &Cuda,
        address: u64,
        bytes: &mut [u8],
        doing: &str,
    ) -> Result<(), DeviceError> {
        let stream = cuda.stream.cu_stream();
        let failed = |e| cuda.failed("cuMemcpyDtoHAsync", e);
        if bytes.len() <= SMALL_BYTES {
            // SAFETY: callers download from allocations at least as long; the slice lives until the stream is done.
            unsafe { result::memcpy_dtoh_async(bytes, address, stream) }.map_err(failed)?;
            return cuda.synchronize(doing);
        }
        let [mut half, mut other] = self.halves(cuda)?;
        let total = bytes.len();
        let begin = |i: usize, half: &mut [u8]| {
            let len = (total - i * HALF_BYTES).min(HALF_BYTES);
            // SAFETY: as above; this half is not read before the next synchronisation.
            unsafe { result::memcpy_dtoh_async(&mut half[..len], address + (i * HALF_BYTES) as u64, stream) }
                .map_err(failed)
        };
        begin(0, half)?;
        for (i, part) in bytes.chunks_mut(HALF_BYTES).enumerate() {
            cuda.synchronize(doing)?;
            if (i + 1) * HALF_BYTES < total {
                begin(i + 1, other)?;
            }
            copy(part, &half[..part.len()]);
            std::mem::swap(&mut half, &mut other);
        }
        Ok(())
    }

    /// [`HALF_BYTES`] each.
    fn halves(&mut self, cuda: &Cuda) -> Result<[&mut [u8]; 2], DeviceError> {
        let memory = match self.memory.take() {
            Some(memory) => memory,
            // SAFETY: bytes of any value are valid, and the driver gives zeroed pages. (`alloc_pinned` would make them
            // write-combined, which is slow to read.)
            None => unsafe { cuda.context.alloc_pinned_with_flags(2 * HALF_BYTES, sys::CU_MEMHOSTALLOC_PORTABLE) }
                .map_err(|e| cuda.failed("cuMemHostAlloc", e))?,
        };
        // The event that cudarc waits for here is never recorded: the stream is waited for wherever that is needed.
        let both = self.memory.insert(memory).as_mut_slice().map_err(|e| cuda.failed("cuEventSynchronize", e))?;
        Ok(both.split_at_mut(HALF_BYTES).into())
    }
}

/// Copies on all cores: a fresh destination is mapped page by page while it is written, which one core does slowly.
fn copy(to: &mut [u8], from: &[u8]) {
    parallel::pieces(to, PIECE_BYTES, &|n, to| to.copy_from_slice(&from[n * PIECE_BYTES..][..to.len()]));
}
