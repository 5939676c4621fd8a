//! Time between two points of the stream, by the GPU's clock (resolution about half a microsecond).

use cudarc::driver::{CudaEvent, sys};

use super::{Cuda, DeviceError};

/// Two events.
pub(super) struct Stopwatch {
    begin: CudaEvent,
    end: CudaEvent,
}

impl Stopwatch {
    pub(super) fn new(cuda: &Cuda) -> Result<Self, DeviceError> {
        // Without flags cudarc makes events that have no time.
        let flags = Some(sys::CUevent_flags::CU_EVENT_DEFAULT);
        let event = || cuda.context.new_event(flags).map_err(|e| cuda.failed("cuEventCreate", e));
        Ok(Self { begin: event()?, end: event()? })
    }

    /// Marks what is next on the stream as the first thing to be timed.
    pub(super) fn start(&self, cuda: &Cuda) -> Result<(), DeviceError> {
        self.begin.record(&cuda.stream).map_err(|e| cuda.failed("cuEventRecord", e))
    }

    /// Waits for the stream; seconds since [`Stopwatch::start`] on it.
    pub(super) fn stop(&self, cuda: &Cuda) -> Result<f64, DeviceError> {
        self.end.record(&cuda.stream).map_err(|e| cuda.failed("cuEventRecord", e))?;
        // What the work did wrong is said here, not by the clock below, which would wait as well.
        cuda.synchronize("timed work")?;
        let milliseconds = self.begin.elapsed_ms(&self.end).map_err(|e| cuda.failed("cuEventElapsedTime", e))?;
        Ok(f64::from(milliseconds) / 1e3)
    }
}
