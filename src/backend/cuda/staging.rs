//! Copies between the device and ordinary memory, by way of page-locked memory: the device's copy engine reaches only
//! that, and the driver's own detour takes one core at a time.

use std::ffi::c_void;

use cudarc::driver::{result, sys};

use super::{Cuda, DeviceError};
use crate::parallel;

/// Bytes of one half: one is copied by the device while the cores copy the other.
const HALF_BYTES: usize = 8 << 20;
/// Copies up to this size go the driver's way: setting up a detour takes as long.
const SMALL_BYTES: usize = 256 << 10;
/// Bytes one core copies at a time.
const PIECE_BYTES: usize = 1 << 20;

/// Page-locked memory, made when it is first needed.
#[derive(Debug, Default)]
pub(super) struct Staging {
    memory: Option<PageLocked>,
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
        let memory = self.memory(cuda)?;
        for (i, part) in bytes.chunks(HALF_BYTES).enumerate() {
            let half = memory.half(i, part.len());
            copy(half, part);
            // The other half's copy ends here: it is filled next.
            cuda.synchronize("copying to the device, or work before")?;
            // SAFETY: as above; this half is not written before the next synchronisation but one.
            unsafe { result::memcpy_htod_async(address + (i * HALF_BYTES) as u64, half, stream) }
                .map_err(|e| cuda.failed("cuMemcpyHtoDAsync", e))?;
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
        let memory = self.memory(cuda)?;
        let total = bytes.len();
        let mut parts = bytes.chunks_mut(HALF_BYTES).enumerate();
        let begin = |i: usize, len: usize| {
            // SAFETY: as above; this half is not read before the next synchronisation.
            unsafe { result::memcpy_dtoh_async(memory.half(i, len), address + (i * HALF_BYTES) as u64, stream) }
        };
        begin(0, total.min(HALF_BYTES)).map_err(failed)?;
        parts.try_for_each(|(i, part)| {
            cuda.synchronize(doing)?;
            let next = total.saturating_sub((i + 1) * HALF_BYTES).min(HALF_BYTES);
            if next > 0 {
                begin(i + 1, next).map_err(failed)?;
            }
            copy(part, memory.half(i, part.len()));
            Ok(())
        })
    }

    fn memory(&mut self, cuda: &Cuda) -> Result<&PageLocked, DeviceError> {
        let made = match self.memory.take() {
            Some(memory) => memory,
            None => PageLocked::new(cuda)?,
        };
        Ok(self.memory.insert(made))
    }
}

/// Two halves.
#[derive(Debug)]
struct PageLocked {
    start: *mut c_void,
}

// SAFETY: plain memory with one owner.
unsafe impl Send for PageLocked {}

impl PageLocked {
    fn new(cuda: &Cuda) -> Result<Self, DeviceError> {
        allocate(cuda, 2 * HALF_BYTES).map(|start| Self { start })
    }

    /// The first `len` bytes of half `index` modulo 2.
    #[allow(clippy::mut_from_ref)]
    fn half(&self, index: usize, len: usize) -> &mut [u8] {
        assert!(len <= HALF_BYTES);
        // SAFETY: inside of the allocation; callers use a half for one copy at a time, as their comments say. Bytes of
        // any value are valid, and the driver gives zeroed pages.
        unsafe { std::slice::from_raw_parts_mut(self.start.cast::<u8>().add(index % 2 * HALF_BYTES), len) }
    }
}

impl Drop for PageLocked {
    fn drop(&mut self) {
        // Nothing in flight uses it: every copy is waited for.
        free(self.start);
    }
}

/// Page-locked memory. The context is current.
pub(super) fn allocate(cuda: &Cuda, bytes: usize) -> Result<*mut c_void, DeviceError> {
    // SAFETY: any size is allowed; the driver gives zeroed pages.
    unsafe { result::malloc_host(bytes, sys::CU_MEMHOSTALLOC_PORTABLE) }.map_err(|e| cuda.failed("cuMemHostAlloc", e))
}

/// Frees what [`allocate`] gave and nothing in flight uses. The context is current.
pub(super) fn free(start: *mut c_void) {
    // SAFETY: the caller's. A lost context has freed it, and says so, which helps nobody here.
    let _ = unsafe { result::free_host(start) };
}

/// Copies on all cores: a fresh destination is mapped page by page while it is written, which one core does slowly.
fn copy(to: &mut [u8], from: &[u8]) {
    parallel::pieces(to, PIECE_BYTES, &|n, to| to.copy_from_slice(&from[n * PIECE_BYTES..][..to.len()]));
}
