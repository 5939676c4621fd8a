//! GPUs of NVIDIA's, through the driver API: the only home of driver calls.
//!
//! The driver's library is opened at run time, so that the crate builds and starts on machines without one. Calls go to
//! one stream per device. A list of calls that comes again (a decode of the same size) is replayed as a CUDA graph.

mod functions;
mod recording;
mod staging;
mod status;
mod stopwatch;
mod telemetry;
mod tensor_maps;

use std::env;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use cudarc::driver::{CudaContext, CudaStream, result, sys};

use super::device::{Command, DeviceBackend, Driver, Labelled, Upload};
use crate::exec::DeviceError;
use crate::exec::Telemetry;
use crate::kernels::cubins::{self, CUBINS, Cubin};
use crate::kernels::params::PidTensorMap;
use crate::kernels::tensor_map::Tiled;
use crate::kernels::{LaunchError, Processor, Target};
use crate::plan::ByteSize;
use crate::weights::TensorSource;
use functions::Functions;
use recording::Recordings;
use staging::Staging;
pub use status::CudaError;
use status::{Status, explain};
use stopwatch::Stopwatch;
use tensor_maps::TensorMaps;

/// Set to anything but 0: every launch is waited for, so that an error names the launch it belongs to.
pub const SYNC_VARIABLE: &str = "PID_CUDA_SYNC";

/// The first driver version with every entry point used here, as `cuDriverGetVersion` counts.
const OLDEST_DRIVER: i32 = 12_000;
/// The first compute capability with `cp.async` and `mma.sync` on bf16.
const OLDEST_CAPABILITY: (u32, u32) = (8, 0);

/// A GPU, its stream and its loaded kernels.
#[derive(Debug)]
pub struct Cuda {
    // First, because it is dropped first.
    work: Mutex<Work>,
    stream: Arc<CudaStream>,
    context: Arc<CudaContext>,
    ordinal: usize,
    name: String,
    processor: Processor,
    cubins: &'static [Cubin],
    synchronous: bool,
    /// The error after which the context is of no use, if there was one.
    lost: OnceLock<Lost>,
}

/// The error that ended a context, and what to do.
#[derive(Debug)]
struct Lost {
    error: String,
    remedy: &'static str,
}

/// What only one thread at a time may use.
#[derive(Debug)]
struct Work {
    staging: Staging,
    recordings: Recordings,
    functions: Functions,
    maps: TensorMaps,
}

impl Cuda {
    /// Opens GPU `ordinal`, with the kernels of this build.
    ///
    /// # Errors
    /// Says what is missing: kernels, driver, GPU, or a GPU that the kernels can run on.
    pub fn open(ordinal: usize) -> Result<Self, CudaError> {
        Self::with_cubins(ordinal, CUBINS)
    }

    /// As [`Cuda::open`], with other kernels.
    ///
    /// # Errors
    /// As [`Cuda::open`].
    pub fn with_cubins(ordinal: usize, cubins: &'static [Cubin]) -> Result<Self, CudaError> {
        if !cubins::BUILT {
            return Err(CudaError::NotBuilt);
        }
        let driver = driver_version()?;
        let count = result::device::get_count().status("cuDeviceGetCount")?;
        if ordinal >= usize::try_from(count).unwrap_or(0) {
            return Err(CudaError::NoDevice { ordinal, count });
        }
        let context = CudaContext::new(ordinal).status("cuDevicePrimaryCtxRetain")?;
        let name = context.name().status("cuDeviceGetName")?;
        let (major, minor) = context.compute_capability().status("cuDeviceGetAttribute")?;
        let capability = (u32::try_from(major).unwrap_or(0), u32::try_from(minor).unwrap_or(0));
        if capability < OLDEST_CAPABILITY {
            return Err(CudaError::TooOld { ordinal, name, major, minor });
        }
        if !cubins.iter().any(|c| cubins::best(cubins, c.file, capability).is_some()) {
            let mut built: Vec<&str> = cubins.iter().map(|c| c.arch).collect();
            built.sort_unstable();
            built.dedup();
            if cubins::is_tegra(capability) {
                return Err(CudaError::Tegra { ordinal, name, major, minor });
            }
            return Err(CudaError::NoKernels { ordinal, name, major, minor, built: built.join(", ") });
        }
        let stream = context.new_stream().map_err(|error| {
            // The first call in a context that may be older: the device's primary one, shared by the whole process.
            let advice = if status::is_fatal(error.0) { ": drop every decoder on this GPU first" } else { "" };
            CudaError::Driver { call: "cuStreamCreate", text: explain(error) + advice }
        })?;
        let count = sys::CUdevice_attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT;
        let count = context.attribute(count).status("cuDeviceGetAttribute")?;
        let processor = Processor { capability, multiprocessors: u32::try_from(count).unwrap_or(0).max(1) };
        let functions = Functions::new(cubins, capability, driver);
        let synchronous = env::var_os(SYNC_VARIABLE).is_some_and(|v| !v.is_empty() && v != "0");
        let maps = TensorMaps::default();
        let work = Mutex::new(Work { staging: Staging::default(), recordings: Recordings::default(), functions, maps });
        Ok(Self { work, stream, context, ordinal, name, processor, cubins, synchronous, lost: OnceLock::new() })
    }

    /// The same as if it had so many multiprocessors: persistent kernels start no more blocks, and each takes more tiles.
    #[must_use]
    pub fn with_multiprocessors(mut self, count: u32) -> Self {
        self.processor.multiprocessors = count.max(1);
        self
    }

    /// Major and minor compute capability.
    pub fn capability(&self) -> (u32, u32) {
        self.processor.capability
    }

    /// A backend on it, reading weights from `source`.
    pub fn backend(self, source: Arc<dyn TensorSource>) -> DeviceBackend {
        DeviceBackend::new(Arc::new(self), source)
    }

    /// Makes the context current, unless it is lost, and takes the stream.
    fn enter(&self) -> Result<MutexGuard<'_, Work>, DeviceError> {
        if let Some(Lost { error, remedy }) = self.lost.get() {
            return Err(DeviceError::Driver(format!("cuda:{} failed before ({error}): {remedy}", self.ordinal)));
        }
        // Whoever panicked while it was locked left whole entries or none.
        let work = self.work.lock().unwrap_or_else(PoisonError::into_inner);
        self.context.bind_to_thread().map_err(|e| self.failed("cuCtxSetCurrent", e))?;
        Ok(work)
    }

    /// The error of driver call `what`; remembers those after which nothing works any more.
    fn failed(&self, what: &str, error: result::DriverError) -> DeviceError {
        let text = explain(error);
        if status::is_fatal(error.0) {
            // Only the first one tells what went wrong.
            let _ = self.lost.set(Lost { error: text.clone(), remedy: status::remedy(error.0) });
        }
        DeviceError::Driver(format!("cuda:{}: {what}: {text}", self.ordinal))
    }

    /// Runs commands one by one, waiting for each when `synchronous`. The context is current.
    fn launch_all(
        &self,
        functions: &mut Functions,
        commands: &[Command],
        synchronous: bool,
    ) -> Result<(), DeviceError> {
        for command in commands {
            let Labelled { label, call } = match command {
                Command::Launch(launch) => launch,
                Command::Upload(upload) => {
                    self.upload_now(upload)?;
                    continue;
                }
            };
            let of_call = |message| DeviceError::Call { label: label.clone(), kernel: call.kernel.into(), message };
            let function = functions.get(call).map_err(&of_call)?;
            // SAFETY: the arguments are the kernel's one struct, as tests of its size assert; what it points to is the
            // session's.
            unsafe { functions::launch(function, call, self.stream.cu_stream()) }
                .map_err(|e| of_call(self.failed("cuLaunchKernel", e).to_string()))?;
            if synchronous {
                self.synchronize("cuStreamSynchronize").map_err(|e| of_call(e.to_string()))?;
            }
        }
        Ok(())
    }

    /// Copies when everything before it on the stream is done.
    fn upload_now(&self, upload: &Upload) -> Result<(), DeviceError> {
        // SAFETY: the session keeps both alive until the stream is done.
        let bytes = unsafe { std::slice::from_raw_parts(upload.from as *const u8, upload.bytes) };
        // SAFETY: as before.
        unsafe { result::memcpy_htod_async(upload.to, bytes, self.stream.cu_stream()) }
            .map_err(|e| self.failed("cuMemcpyHtoDAsync", e))
    }

    /// Waits for all work; `doing` says what may have failed.
    fn synchronize(&self, doing: &str) -> Result<(), DeviceError> {
        // SAFETY: the stream lives as long as self.
        unsafe { result::stream::synchronize(self.stream.cu_stream()) }.map_err(|e| self.failed(doing, e))
    }
}

/// Version of the driver as CUDA counts (12080 for 12.8), once its library is known to be there.
fn driver_version() -> Result<i32, CudaError> {
    // SAFETY: opening the driver's library runs its initialisers, which NVIDIA's tolerate at any time. Asked first,
    // because every other function of cudarc panics without the library.
    if !unsafe { sys::is_culib_present() } {
        return Err(CudaError::NoDriver);
    }
    let mut version = 0;
    // SAFETY: the out parameter is valid; this function is in every driver and needs no cuInit.
    unsafe { sys::cuDriverGetVersion(&mut version) }.result().status("cuDriverGetVersion")?;
    // A driver loads the code of its own major release and of those before.
    let needed = OLDEST_DRIVER.max(cubins::CUDA_MAJOR as i32 * 1000);
    if version < needed {
        return Err(CudaError::OldDriver { major: version / 1000, minor: version % 1000 / 10, needed: needed / 1000 });
    }
    result::init().status("cuInit")?;
    Ok(version)
}

impl Driver for Cuda {
    fn name(&self) -> String {
        format!("{} (cuda:{})", self.name, self.ordinal)
    }

    fn free_bytes(&self) -> Option<u64> {
        let _work = self.enter().ok()?;
        result::mem_get_info().ok().map(|(free, _)| free as u64)
    }

    fn allocate(&self, bytes: usize) -> Result<u64, DeviceError> {
        let _work = self.enter()?;
        // SAFETY: callers fill what they read.
        unsafe { result::malloc_sync(bytes) }.map_err(|error| {
            if error.0 != sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY {
                return self.failed("cuMemAlloc", error);
            }
            let free = ByteSize(result::mem_get_info().map_or(0, |(free, _)| free as u64));
            DeviceError::OutOfMemory {
                what: "an allocation".into(),
                needed: ByteSize(bytes as u64),
                free,
                budget: free,
            }
        })
    }

    fn free(&self, address: u64, _bytes: usize) {
        // A lost context has freed everything already.
        let Ok(_work) = self.enter() else { return };
        // Replays may still read it.
        if self.synchronize("cuStreamSynchronize").is_ok() {
            // SAFETY: `allocate` gave this address, and nothing in flight uses it.
            let freed = unsafe { result::free_sync(address) };
            let _ = freed.map_err(|e| self.failed("cuMemFree", e));
        }
    }

    fn upload(&self, address: u64, bytes: &[u8]) -> Result<(), DeviceError> {
        self.enter()?.staging.upload(self, address, bytes)
    }

    fn download(&self, address: u64, bytes: &mut [u8]) -> Result<(), DeviceError> {
        let doing = format!("copying from the device, or work before (set {SYNC_VARIABLE}=1 to learn which launch)");
        self.enter()?.staging.download(self, address, bytes, &doing)
    }

    fn allocate_host(&self, bytes: usize) -> Result<u64, DeviceError> {
        let _work = self.enter()?;
        // SAFETY: any size is allowed; the driver gives zeroed pages.
        unsafe { result::malloc_host(bytes, sys::CU_MEMHOSTALLOC_PORTABLE) }
            .map(|start| start as u64)
            .map_err(|e| self.failed("cuMemHostAlloc", e))
    }

    fn free_host(&self, address: u64, _bytes: usize) {
        // A lost context has freed everything already.
        let Ok(_work) = self.enter() else { return };
        // Replays may still copy from it.
        if self.synchronize("cuStreamSynchronize").is_ok() {
            // SAFETY: `allocate_host` gave this address, and nothing in flight uses it.
            let freed = unsafe { result::free_host(address as *mut _) };
            let _ = freed.map_err(|e| self.failed("cuMemFreeHost", e));
        }
    }

    fn run(&self, commands: &[Command]) -> Result<(), DeviceError> {
        let mut work = self.enter()?;
        let Work { recordings, functions, .. } = &mut *work;
        if !self.synchronous {
            return recordings.of(self, functions, commands)?.launch(self);
        }
        self.launch_all(functions, commands, true)
    }

    fn run_timed(&self, commands: &[Command]) -> Result<f64, DeviceError> {
        let mut work = self.enter()?;
        let stopwatch = Stopwatch::new(self)?;
        stopwatch.start(self)?;
        self.launch_all(&mut work.functions, commands, self.synchronous)?;
        stopwatch.stop(self)
    }

    fn replay_timed(&self, commands: &[Command]) -> Result<f64, DeviceError> {
        if self.synchronous {
            return self.run_timed(commands);
        }
        let mut work = self.enter()?;
        let Work { recordings, functions, .. } = &mut *work;
        // Found or built before the clock starts; the first replay also moves the graph to the device.
        let graph = recordings.of(self, functions, commands)?;
        let stopwatch = Stopwatch::new(self)?;
        stopwatch.start(self)?;
        graph.launch(self)?;
        stopwatch.stop(self)
    }

    fn copy_timed(&self, to: u64, from: u64, bytes: usize, times: usize) -> Result<f64, DeviceError> {
        let _work = self.enter()?;
        let stopwatch = Stopwatch::new(self)?;
        stopwatch.start(self)?;
        for _ in 0..times {
            // SAFETY: callers name allocations at least as long; the stream is waited for below.
            unsafe { result::memcpy_dtod_async(to, from, bytes, self.stream.cu_stream()) }
                .map_err(|e| self.failed("cuMemcpyDtoDAsync", e))?;
        }
        stopwatch.stop(self)
    }

    fn exp_per_second(&self) -> Option<f64> {
        telemetry::exp_per_second(&self.context, self.processor)
    }

    fn telemetry(&self) -> Option<Telemetry> {
        let _work = self.enter().ok()?;
        Some(telemetry::read(&self.context))
    }

    fn collects(&self) -> bool {
        !self.synchronous
    }
}

impl Target for Cuda {
    fn processor(&self) -> Processor {
        self.processor
    }

    fn has_code_for(&self, arch: &str) -> bool {
        self.cubins.iter().any(|cubin| cubin.arch == arch)
    }

    fn tensor_map(&self, tiled: &Tiled<'_>) -> Result<PidTensorMap, LaunchError> {
        tiled.check().map_err(LaunchError::TensorMap)?;
        let refused = |e: DeviceError| LaunchError::TensorMap(e.to_string());
        let mut work = self.enter().map_err(refused)?;
        let encoded = work.maps.get(tiled);
        encoded.map_err(|e| refused(self.failed(&format!("cuTensorMapEncodeTiled of {tiled:?}"), e)))
    }
}

impl Drop for Cuda {
    fn drop(&mut self) {
        // What is recorded may still run; then the fields go in order: graphs, stream, context. A context that failed is
        // destroyed with its last owner, and its memory with it: whoever opens the device next gets a new one.
        let _ = self.context.bind_to_thread();
        let _ = self.synchronize("cuStreamSynchronize");
    }
}
