//! The kernels on the host: every CUDA thread a fiber, blocks on all cores (`kernels/emulator`). What runs is the
//! source that a GPU runs, with the same launches and the same arena.

mod ffi;

use std::ffi::{CStr, CString, c_char};
use std::ptr;
use std::sync::{Arc, LazyLock};

use super::device::{Command, DeviceBackend, Driver, Labelled, Upload};
use crate::exec::DeviceError;
use crate::kernels::capabilities::Capability;
use crate::kernels::entry::{Entry, OperandFormat};
use crate::kernels::family::{self, Portable};
use crate::kernels::params::PidTensorMap;
use crate::kernels::tensor_map::Tiled;
use crate::kernels::{KernelCall, LaunchError, Processor, Target};
use crate::memory;
use crate::plan::ByteSize;
use crate::weights::TensorSource;
use crate::weights::order::RowOrder;

/// Which of the threads that can run goes on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scheduler {
    /// First come, first served: the fastest, and the one that hides most races.
    #[default]
    Fifo,
    /// The one that became ready last.
    Lifo,
    /// Random priorities of warps, with demotions (probabilistic concurrency testing).
    #[allow(missing_docs)]
    Pct { seed: u64 },
}

/// The emulator as a device.
#[derive(Clone, Copy, Debug)]
pub struct Emulator {
    schedule: Scheduler,
    processor: Processor,
}

/// First come, first served; the kernels that run anywhere.
impl Default for Emulator {
    fn default() -> Self {
        Self::new(Scheduler::Fifo)
    }
}

impl Emulator {
    /// An emulator that schedules threads by `schedule`.
    pub const fn new(schedule: Scheduler) -> Self {
        Self { schedule, processor: Processor { capability: Portable::EMULATED, multiprocessors: 4 } }
    }

    /// The same, taking the place of a device of this compute capability: it runs all kernels, but programs are lowered to
    /// those for the device.
    #[must_use]
    pub const fn with_capability(mut self, capability: (u32, u32)) -> Self {
        self.processor.capability = capability;
        self
    }

    /// The same with so many multiprocessors: blocks of a persistent kernel that can run side by side.
    #[must_use]
    pub const fn with_multiprocessors(mut self, count: u32) -> Self {
        self.processor.multiprocessors = count;
        self
    }

    /// A backend on it, reading weights from `source`.
    pub fn backend(self, source: Arc<dyn TensorSource>) -> DeviceBackend {
        DeviceBackend::new(Arc::new(self), source)
    }

    /// Runs one call to its end.
    ///
    /// # Errors
    /// What the emulator found wrong with the kernel, and where.
    pub fn call(&self, call: &KernelCall) -> Result<(), String> {
        let name = CString::new(call.kernel).map_err(|e| e.to_string())?;
        let (schedule, seed) = match self.schedule {
            Scheduler::Fifo => (0, 0),
            Scheduler::Lifo => (1, 0),
            Scheduler::Pct { seed } => (2, seed),
        };
        let params = call.params();
        let launch = ffi::Launch {
            kernel: name.as_ptr(),
            grid: call.grid,
            block: [call.threads, 1, 1],
            shared_bytes: call.shared_bytes,
            schedule,
            seed,
            params: params.as_ptr().cast(),
            params_bytes: params.len() as u64,
        };
        let mut error = [0u8; 2048];
        // SAFETY: `launch` and what it points to live through the call, `error` is as long as said. The kernel touches
        // memory that its parameters name; an address that is not mapped is reported, not followed.
        let failed = unsafe { ffi::pid_emu_launch(&launch, error.as_mut_ptr().cast(), error.len()) };
        if failed == 0 { Ok(()) } else { Err(text(&error)) }
    }

    /// All kernels that are linked in, faulty copies and those of tests included.
    pub fn kernels() -> &'static [Registered] {
        static KERNELS: LazyLock<Vec<Registered>> = LazyLock::new(|| (0..).map_while(registered).collect());
        &KERNELS
    }

    /// The kernel called `name`.
    pub fn kernel(name: &str) -> Option<&'static Registered> {
        Self::kernels().iter().find(|kernel| kernel.entry.name == name)
    }
}

/// A kernel of the emulator's.
#[derive(Clone, Debug)]
pub struct Registered {
    /// What it declares of itself; a faulty copy what the kernel does that it is a copy of, under its own name.
    pub entry: Entry,
    /// The kernel that it is a faulty copy of.
    pub fault_of: Option<&'static str>,
    /// Bytes of its parameter struct.
    pub params_bytes: usize,
}

/// Kernel `index`; `None` past the last.
fn registered(index: usize) -> Option<Registered> {
    let mut kernel = ffi::Kernel { name: ptr::null(), fault_of: ptr::null(), params_bytes: 0, entry: ptr::null() };
    // SAFETY: any index is allowed; what is written is a struct of that layout.
    if unsafe { ffi::pid_emu_kernel(index, &mut kernel) } == 0 {
        return None;
    }
    // SAFETY: names are string literals of C, and entries constants, which live as long as the process.
    let text = |pointer: *const c_char| unsafe { CStr::from_ptr(pointer) }.to_str().unwrap_or("?");
    // SAFETY: as before.
    let declared = unsafe { &*kernel.entry };
    let needs: Vec<Capability> = Capability::ALL.into_iter().filter(|c| declared.needs & *c as u32 != 0).collect();
    let block = declared.order_block as usize;
    let entry = Entry {
        name: text(kernel.name),
        op: text(declared.op),
        family: text(declared.family),
        tile: declared.tile,
        grid_tile: declared.grid_tile,
        store_box: declared.store_box,
        stages: declared.stages,
        threads: declared.threads,
        min_blocks: declared.min_blocks,
        cluster: declared.cluster,
        shared_bytes: declared.shared_bytes,
        registers: [declared.producer_registers, declared.consumer_registers],
        // Once for each kernel, in a table that stays.
        needs: needs.leak(),
        operands: if declared.operands == 0 { OperandFormat::None } else { OperandFormat::Bf16 },
        order: match declared.order {
            1 => RowOrder::Consecutive16 { head: block },
            2 => RowOrder::Groups16,
            _ => RowOrder::Plain,
        },
        n_multiple: declared.n_multiple,
        k_multiple: declared.k_multiple,
        ping_pong: declared.ping_pong != 0,
    };
    let fault_of = (!kernel.fault_of.is_null()).then(|| text(kernel.fault_of));
    Some(Registered { entry, fault_of, params_bytes: kernel.params_bytes as usize })
}

/// The message that the emulator wrote, up to its NUL.
fn text(buffer: &[u8]) -> String {
    let text = CStr::from_bytes_until_nul(buffer).map(|t| t.to_string_lossy().into_owned());
    text.unwrap_or_else(|_| "unknown fault".into())
}

impl Driver for Emulator {
    fn name(&self) -> String {
        family::emulated_by(self.processor.capability).emulator()
    }

    fn free_bytes(&self) -> Option<u64> {
        memory::available_bytes()
    }

    fn allocate(&self, bytes: usize) -> Result<u64, DeviceError> {
        // SAFETY: any size is allowed.
        let pointer = unsafe { ffi::pid_emu_allocate(bytes) };
        if pointer.is_null() {
            let free = ByteSize(self.free_bytes().unwrap_or(0));
            let needed = ByteSize(bytes as u64);
            return Err(DeviceError::OutOfMemory { what: "an allocation".into(), needed, free, budget: free });
        }
        Ok(pointer as u64)
    }

    fn free(&self, address: u64, bytes: usize) {
        // SAFETY: the trait's contract: `allocate` gave this address for as many bytes.
        unsafe { ffi::pid_emu_free(address as *mut _, bytes) };
    }

    fn upload(&self, address: u64, bytes: &[u8]) -> Result<(), DeviceError> {
        // SAFETY: callers upload into allocations at least as long, which nothing else uses at this time.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), address as *mut u8, bytes.len()) };
        Ok(())
    }

    fn download(&self, address: u64, bytes: &mut [u8]) -> Result<(), DeviceError> {
        // SAFETY: as for `upload`; the emulator's memory is initialised when it is allocated.
        unsafe { std::ptr::copy_nonoverlapping(address as *const u8, bytes.as_mut_ptr(), bytes.len()) };
        Ok(())
    }

    fn allocate_host(&self, bytes: usize) -> Result<u64, DeviceError> {
        self.allocate(bytes)
    }

    fn free_host(&self, address: u64, bytes: usize) {
        self.free(address, bytes);
    }

    fn run(&self, commands: &[Command]) -> Result<(), DeviceError> {
        for command in commands {
            let Labelled { label, call } = match command {
                Command::Launch(launch) => launch,
                Command::Upload(Upload { to, from, bytes, .. }) => {
                    // SAFETY: both are allocations at least as long, and kernels run one after the other.
                    unsafe { std::ptr::copy_nonoverlapping(*from as *const u8, *to as *mut u8, *bytes) };
                    continue;
                }
            };
            self.call(call).map_err(|message| DeviceError::Call {
                label: label.clone(),
                kernel: call.kernel.into(),
                message,
            })?;
        }
        Ok(())
    }

    fn is_hardware(&self) -> bool {
        false
    }

    fn collects(&self) -> bool {
        false
    }
}

impl Target for Emulator {
    fn processor(&self) -> Processor {
        self.processor
    }

    fn tensor_map(&self, tiled: &Tiled<'_>) -> Result<PidTensorMap, LaunchError> {
        tiled.check().map_err(LaunchError::TensorMap)?;
        let mut map = PidTensorMap { opaque: [0; 16] };
        let mut error = [0u8; 256];
        // SAFETY: the arrays have `rank` (strides: one less) elements, checked above, and live through the call; `error`
        // is as long as said. The address is stored, not followed.
        let failed = unsafe {
            ffi::pid_emu_encode_tiled(
                &mut map,
                tiled.element as u32,
                tiled.rank() as u32,
                tiled.address as *mut _,
                tiled.dims.as_ptr(),
                tiled.strides.as_ptr(),
                tiled.box_dims.as_ptr(),
                [1; 5].as_ptr(),
                0,
                tiled.swizzle as u32,
                0,
                0,
                error.as_mut_ptr().cast(),
                error.len(),
            )
        };
        if failed == 0 { Ok(map) } else { Err(LaunchError::TensorMap(text(&error))) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::tensor_map::{Element, Swizzle};

    #[test]
    fn arguments_that_a_gpu_refuses_are_named() {
        let good = Tiled {
            element: Element::Bf16,
            address: 4096,
            dims: &[100, 20],
            strides: &[208],
            box_dims: &[64, 8],
            swizzle: Swizzle::Bytes128,
        };
        assert!(Emulator::default().tensor_map(&good).is_ok());
        let cases: [(Tiled, &str); 7] = [
            (Tiled { address: 4104, ..good.clone() }, "address is not a multiple of 16"),
            (Tiled { strides: &[200], ..good.clone() }, "stride 200 of dimension 1 is not a multiple of 16"),
            (Tiled { strides: &[192], ..good.clone() }, "below the 200 bytes"),
            (Tiled { box_dims: &[64, 257], ..good.clone() }, "box of 257 in dimension 1"),
            (Tiled { box_dims: &[60, 8], ..good.clone() }, "120 bytes, not a multiple of 16"),
            (Tiled { box_dims: &[128, 8], ..good.clone() }, "256 bytes, the swizzle 128"),
            (Tiled { dims: &[100], ..good.clone() }, "1 dimensions"),
        ];
        for (tiled, expected) in cases {
            let error = Emulator::default().tensor_map(&tiled).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
