//! Devices to test on, and their memory: outputs start as NaN, everything lies between guard bands.

use std::marker::PhantomData;
use std::sync::{Arc, OnceLock};

use bytemuck::{AnyBitPattern, NoUninit};
use pid_engine::backend::device::{Command, Driver};
use pid_engine::backend::emulator::{Emulator, Scheduler};
use pid_engine::kernels::capabilities::Capability;
use pid_engine::kernels::params::PidTensorMap;
use pid_engine::kernels::table::ENTRIES;
use pid_engine::kernels::tensor_map::Tiled;
use pid_engine::kernels::{Entry, KernelCall, LaunchError, OpCall, family};

use crate::values::SUM_ERROR;

/// Bytes of a guard band; a multiple of 16, so that arrays stay aligned.
const GUARD: usize = 256;
/// Fills guard bands and outputs: NaN in bf16, float32 and float64.
const POISON: u8 = 0xff;

/// Something that runs kernels.
#[derive(Clone)]
pub struct Device {
    pub driver: Arc<dyn Driver>,
    /// What it has; the emulator everything.
    pub has: Vec<Capability>,
    /// For messages: `emulator, Lifo`.
    pub name: String,
}

/// What every kernel must be right on: the GPU that `PID_TEST_DEVICE` names (`cuda:0`), else the emulator.
pub fn devices() -> Vec<Device> {
    static GPU: OnceLock<Option<Vec<Device>>> = OnceLock::new();
    let gpu = GPU.get_or_init(|| std::env::var("PID_TEST_DEVICE").ok().map(|name| open_gpu(&name)));
    gpu.clone().unwrap_or_else(emulators)
}

/// The emulator by each schedule: LIFO finds reuse races that FIFO hides, and so do random priorities.
pub fn emulators() -> Vec<Device> {
    // What an access touches is the same in any order, and ThreadSanitizer knows which accesses are ordered whatever the
    // order in which they came; each costs it tenfold.
    let count = if IS_SANITIZED { 1 } else { SCHEDULES.len() };
    SCHEDULES.into_iter().take(count).map(emulator).collect()
}

/// Whether the kernels are instrumented (`tools/sanitize`). Faulty copies of the engine's kernels are left out then.
pub const IS_SANITIZED: bool = cfg!(any(pid_sanitize = "address", pid_sanitize = "thread"));

/// Schedules that faults are looked for by, until one finds them.
pub const SCHEDULES: [Scheduler; 4] =
    [Scheduler::Lifo, Scheduler::Pct { seed: 1 }, Scheduler::Pct { seed: 2 }, Scheduler::Pct { seed: 3 }];

/// The devices for case `i` of many alike, which emulators share: each schedule gets every fourth. GPUs take all.
pub fn in_turn(devices: &[Device], i: usize) -> Vec<Device> {
    let is_emulated = |device: &Device| !device.driver.is_hardware();
    if devices.iter().all(is_emulated) { vec![devices[i % devices.len()].clone()] } else { devices.to_vec() }
}

/// The GPU as it is, and with four multiprocessors used: blocks of persistent kernels then have many tiles each.
#[cfg(feature = "cuda")]
fn open_gpu(name: &str) -> Vec<Device> {
    use pid_engine::backend::cuda::Cuda;
    use pid_engine::kernels::{Target, cubins};
    let ordinal = name.strip_prefix("cuda:").and_then(|o| o.parse().ok());
    let ordinal = ordinal.unwrap_or_else(|| panic!("PID_TEST_DEVICE = {name}: expected cuda:N"));
    // Engine and test kernels; the one GPU lives as long as the process.
    let cubins = [cubins::CUBINS, cubins::TEST_CUBINS].concat().leak();
    let open = || Cuda::with_cubins(ordinal, cubins).unwrap_or_else(|e| panic!("{e}"));
    let device = |driver: Cuda, with: &str| Device {
        name: driver.name() + with,
        has: Capability::ALL.into_iter().filter(|what| driver.processor().capabilities().has(*what)).collect(),
        driver: Arc::new(driver),
    };
    vec![device(open(), ""), device(open().with_multiprocessors(4), ", 4 multiprocessors")]
}

#[cfg(not(feature = "cuda"))]
fn open_gpu(name: &str) -> Vec<Device> {
    panic!("PID_TEST_DEVICE = {name}: this build lacks the feature `cuda`")
}

/// One device only, for cases that are slow on the emulator.
pub fn one_device() -> Vec<Device> {
    devices().into_iter().take(1).collect()
}

pub fn emulator(schedule: Scheduler) -> Device {
    let name = format!("emulator, {schedule:?}");
    Device { driver: Arc::new(Emulator::new(schedule)), name, has: Capability::ALL.to_vec() }
}

/// What `kernel` declares of itself; a faulty copy what the kernel does that it is a copy of.
pub fn entry(kernel: &str) -> &'static Entry {
    &Emulator::kernel(kernel).unwrap_or_else(|| panic!("the emulator has no {kernel}")).entry
}

/// All kernels that compute `op`, the portable one first.
pub fn kernels_of(op: &str) -> Vec<&'static str> {
    let of_op = ENTRIES.iter().filter(|entry| entry.op == op).map(|entry| entry.name);
    let (portable, others): (Vec<&str>, Vec<&str>) = of_op.partition(|name| *name == op);
    assert!(!portable.is_empty(), "no kernel computes {op}");
    [portable, others].concat()
}

/// Those of [`kernels_of`] but the portable one.
pub fn special_kernels_of(op: &str) -> Vec<&'static str> {
    kernels_of(op).split_off(1)
}

impl Device {
    /// Device memory holding `values`; a read beyond them finds NaN.
    pub fn input<T: NoUninit + AnyBitPattern>(&self, values: &[T]) -> Array<T> {
        let array = self.output(values.len());
        self.driver.upload(array.address, bytemuck::cast_slice(values)).unwrap();
        array
    }

    /// Device memory full of NaN.
    pub fn output<T: NoUninit + AnyBitPattern>(&self, len: usize) -> Array<T> {
        // Odd lengths end off the alignment: what is too much is part of the band behind.
        let bytes = (len * size_of::<T>()).next_multiple_of(16) + 2 * GUARD;
        let base = self.driver.allocate(bytes).unwrap();
        self.driver.upload(base, &vec![POISON; bytes]).unwrap();
        let address = base + GUARD as u64;
        Array { driver: Arc::clone(&self.driver), base, bytes, address, len, element: PhantomData }
    }

    /// The map that a kernel on this device takes.
    pub fn tensor_map(&self, tiled: &Tiled<'_>) -> PidTensorMap {
        self.driver.tensor_map(tiled).expect("tests give maps that a GPU takes")
    }

    /// float32 slack of sums of `inner` products, relative to the largest value. A GPU's tensor cores cut sums off where the
    /// emulator rounds: up to 2^-24 of the sum for every 8 products.
    pub fn sum_error(&self, inner: usize) -> f64 {
        if self.driver.is_hardware() { SUM_ERROR.max(inner as f64 / 8.0 * 2f64.powi(-24)) } else { SUM_ERROR }
    }

    /// Whether `kernel` is for this device.
    pub fn runs(&self, kernel: &str) -> bool {
        self.have(entry(kernel).needs)
    }

    /// Whether it has all of `needed`.
    pub fn have(&self, needed: &[Capability]) -> bool {
        needed.iter().all(|what| self.has.contains(what))
    }

    /// The launch of `kernel`, or of a faulty copy of one, for `call`.
    pub fn launch(&self, kernel: &str, call: &OpCall<'_>) -> Result<KernelCall, LaunchError> {
        family::launch(&*self.driver, entry(kernel), call)
    }

    /// Launches `kernel`, or a faulty copy of one, for `call`.
    pub fn call(&self, kernel: &str, call: &OpCall<'_>) -> Result<(), String> {
        self.run(&[self.launch(kernel, call).map_err(|e| e.to_string())?])
    }

    /// Runs the calls in order.
    pub fn run(&self, calls: &[KernelCall]) -> Result<(), String> {
        let commands: Vec<Command> = calls.iter().map(|call| Command::launch("test", call.clone())).collect();
        self.driver.run(&commands).map_err(|e| e.to_string())
    }
}

/// Device memory between two guard bands.
pub struct Array<T> {
    driver: Arc<dyn Driver>,
    base: u64,
    bytes: usize,
    address: u64,
    len: usize,
    element: PhantomData<T>,
}

impl<T: NoUninit + AnyBitPattern> Array<T> {
    pub fn ptr(&self) -> *const T {
        self.address as *const T
    }

    pub fn mut_ptr(&self) -> *mut T {
        self.address as *mut T
    }

    /// What is there now.
    ///
    /// # Errors
    /// When something was written outside.
    pub fn read(&self) -> Result<Vec<T>, String> {
        let mut all = vec![0u8; self.bytes];
        self.driver.download(self.base, &mut all).map_err(|e| e.to_string())?;
        let end = GUARD + self.len * size_of::<T>();
        if let Some(at) = (0..GUARD).chain(end..self.bytes).find(|&i| all[i] != POISON) {
            let place = at as isize - GUARD as isize;
            return Err(format!("byte {place} of an array of {} bytes was written", self.len * size_of::<T>()));
        }
        let mut values = vec![T::zeroed(); self.len];
        bytemuck::cast_slice_mut(&mut values).copy_from_slice(&all[GUARD..end]);
        Ok(values)
    }
}

impl<T> Drop for Array<T> {
    fn drop(&mut self) {
        self.driver.free(self.base, self.bytes);
    }
}
