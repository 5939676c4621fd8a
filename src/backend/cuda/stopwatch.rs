//! Time between two points of the stream, by the GPU's clock (resolution about half a microsecond).

use cudarc::driver::{result, sys};

use super::{Cuda, DeviceError};

/// Two events.
pub(super) struct Stopwatch {
    begin: Event,
    end: Event,
}

impl Stopwatch {
    pub(super) fn new(cuda: &Cuda) -> Result<Self, DeviceError> {
        Ok(Self { begin: Event::new(cuda)?, end: Event::new(cuda)? })
    }

    /// Marks what is next on the stream as the first thing to be timed.
    pub(super) fn start(&self, cuda: &Cuda) -> Result<(), DeviceError> {
        self.begin.record(cuda)
    }

    /// Waits for the stream; seconds since [`Stopwatch::start`] on it.
    pub(super) fn stop(&self, cuda: &Cuda) -> Result<f64, DeviceError> {
        self.end.record(cuda)?;
        cuda.synchronize("timed work")?;
        // SAFETY: both events are alive and have happened.
        let milliseconds = unsafe { result::event::elapsed(self.begin.0, self.end.0) };
        Ok(f64::from(milliseconds.map_err(|e| cuda.failed("cuEventElapsedTime", e))?) / 1e3)
    }
}

/// An event, destroyed with its owner.
struct Event(sys::CUevent);

impl Event {
    fn new(cuda: &Cuda) -> Result<Self, DeviceError> {
        let flags = sys::CUevent_flags::CU_EVENT_DEFAULT;
        result::event::create(flags).map(Self).map_err(|e| cuda.failed("cuEventCreate", e))
    }

    fn record(&self, cuda: &Cuda) -> Result<(), DeviceError> {
        // SAFETY: event and stream are alive.
        unsafe { result::event::record(self.0, cuda.stream.cu_stream()) }.map_err(|e| cuda.failed("cuEventRecord", e))
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        // SAFETY: nobody else has the handle. A lost context has destroyed it, and says so, which helps nobody here.
        let _ = unsafe { result::event::destroy(self.0) };
    }
}
