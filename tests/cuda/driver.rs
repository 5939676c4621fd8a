//! The fake driver: compiled once, found by cudarc under the name of NVIDIA's, one test at a time.

use std::collections::HashMap;
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::path::Path;
use std::process::Command;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use pid_engine::backend::emulator::Emulator;
use pid_engine::kernels::Target;
use pid_engine::kernels::params::PidTensorMap;
use pid_engine::kernels::tensor_map::{Element, Swizzle, Tiled};
use pid_engine::kernels::{KernelCall, cubins};

pub const OUT_OF_MEMORY: i32 = 2;
pub const INVALID_VALUE: i32 = 1;
pub const INVALID_IMAGE: i32 = 200;
pub const ILLEGAL_ADDRESS: i32 = 700;

/// `FakeCudaConfig`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Machine {
    pub driver_version: i32,
    pub devices: i32,
    pub major: i32,
    pub minor: i32,
    pub total_bytes: u64,
}

impl Default for Machine {
    fn default() -> Self {
        Self { driver_version: 13_000, devices: 1, major: 8, minor: 0, total_bytes: 8 << 30 }
    }
}

/// `FakeCudaLive`: what there is at the moment.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Live {
    pub allocations: u64,
    pub bytes: u64,
    pub host_allocations: u64,
    pub contexts: u64,
    pub modules: u64,
    pub streams: u64,
    pub graphs: u64,
    pub executables: u64,
}

/// `FakeCudaCall`.
#[repr(C)]
struct Call {
    kernel: *const c_char,
    grid: [u32; 3],
    block: [u32; 3],
    shared_bytes: u32,
    params_bytes: u32,
    params: *const c_void,
}

/// `FakeCudaTiled`.
#[repr(C)]
struct TiledCall {
    element: u32,
    rank: u32,
    swizzle: u32,
    reserved: u32,
    address: u64,
    dims: *const u64,
    strides: *const u64,
    box_dims: *const u32,
}

type Encoder = extern "C" fn(*mut PidTensorMap, *const TiledCall, *mut c_char, usize) -> c_int;
type Launcher = extern "C" fn(*const Call, *mut c_char, usize) -> c_int;

/// The library's control functions.
struct Api {
    configure: extern "C" fn(*const Machine),
    set_total_bytes: extern "C" fn(u64),
    fail: extern "C" fn(*const c_char, u64, c_int, c_int),
    calls: extern "C" fn(*const c_char) -> u64,
    live: extern "C" fn(*mut Live),
    violations: extern "C" fn() -> *const c_char,
}

/// A machine with the fake driver, for one test at a time. Dropping it checks that nothing is left on the device, and
/// that the driver was used as it has to be; drop decoders before.
pub struct Fake {
    api: &'static Api,
    _turn: MutexGuard<'static, ()>,
}

impl Fake {
    /// `None`, and a line that says so, when the build has no kernels for a GPU.
    pub fn new(machine: Machine) -> Option<Self> {
        static TURN: Mutex<()> = Mutex::new(());
        static API: OnceLock<Api> = OnceLock::new();
        if !cubins::BUILT {
            println!("skipped: no nvcc");
            return None;
        }
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let api = API.get_or_init(load);
        (api.configure)(&machine);
        Some(Self { api, _turn: turn })
    }

    /// Another amount of memory.
    pub fn set_total_bytes(&self, bytes: u64) {
        (self.api.set_total_bytes)(bytes);
    }

    /// Lets the nth call of `entry` from now on (the next is 1) fail; a sticky failure is its context's end.
    pub fn fail(&self, entry: &str, nth: u64, result: i32, sticky: bool) {
        let entry = CString::new(entry).unwrap();
        (self.api.fail)(entry.as_ptr(), nth, result, sticky.into());
    }

    /// Calls of `entry` so far.
    pub fn calls(&self, entry: &str) -> u64 {
        let entry = CString::new(entry).unwrap();
        (self.api.calls)(entry.as_ptr())
    }

    pub fn live(&self) -> Live {
        let mut live = Live::default();
        (self.api.live)(&mut live);
        live
    }

    /// What was done wrong since the last question.
    pub fn violations(&self) -> String {
        // SAFETY: the library returns a C string that lives until the next question.
        unsafe { CStr::from_ptr((self.api.violations)()) }.to_string_lossy().into_owned()
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // What a kernel had to say is nowhere else.
            return println!("{}", self.violations());
        }
        assert_eq!(self.violations(), "");
        assert_eq!(self.live(), Live::default(), "left on the device");
    }
}

unsafe extern "C" {
    fn dlopen(file: *const c_char, mode: c_int) -> *mut c_void;
    fn dlsym(library: *mut c_void, name: *const c_char) -> *mut c_void;
    fn dlerror() -> *const c_char;
}

const RTLD_NOW: c_int = 2;
const RTLD_GLOBAL: c_int = 0x100;

/// Compiles and opens the library. The dynamic linker then finds it under its soname, which is what cudarc asks for.
fn load() -> Api {
    let folder = tempfile::tempdir().unwrap();
    let library = folder.path().join("libcuda.so");
    compile(&library);
    let path = CString::new(library.to_str().unwrap()).unwrap();
    // SAFETY: the library's initialisers fill a map.
    let handle = unsafe { dlopen(path.as_ptr(), RTLD_NOW | RTLD_GLOBAL) };
    if handle.is_null() {
        // SAFETY: after a failure there is a message.
        panic!("{}", unsafe { CStr::from_ptr(dlerror()) }.to_string_lossy());
    }
    let symbol = |name: &CStr| {
        // SAFETY: the handle is never closed.
        let symbol = unsafe { dlsym(handle, name.as_ptr()) };
        assert!(!symbol.is_null(), "{name:?}");
        symbol
    };
    // SAFETY: the types are those of fake_driver.cpp, here and below.
    let set_launcher: extern "C" fn(Launcher) = unsafe { std::mem::transmute(symbol(c"fake_cuda_set_launcher")) };
    set_launcher(launch);
    // SAFETY: as above.
    let set_encoder: extern "C" fn(Encoder) = unsafe { std::mem::transmute(symbol(c"fake_cuda_set_encoder")) };
    set_encoder(encode);
    // SAFETY: as above.
    unsafe {
        Api {
            configure: std::mem::transmute::<*mut c_void, extern "C" fn(*const Machine)>(symbol(
                c"fake_cuda_configure",
            )),
            set_total_bytes: std::mem::transmute::<*mut c_void, extern "C" fn(u64)>(symbol(
                c"fake_cuda_set_total_bytes",
            )),
            fail: std::mem::transmute::<*mut c_void, extern "C" fn(*const c_char, u64, c_int, c_int)>(symbol(
                c"fake_cuda_fail",
            )),
            calls: std::mem::transmute::<*mut c_void, extern "C" fn(*const c_char) -> u64>(symbol(c"fake_cuda_calls")),
            live: std::mem::transmute::<*mut c_void, extern "C" fn(*mut Live)>(symbol(c"fake_cuda_live")),
            violations: std::mem::transmute::<*mut c_void, extern "C" fn() -> *const c_char>(symbol(
                c"fake_cuda_violations",
            )),
        }
    }
}

fn compile(library: &Path) {
    let compiler = std::env::var("CXX").unwrap_or_else(|_| "c++".into());
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cuda/fake_driver.cpp");
    let output = Command::new(&compiler)
        .args(["-std=c++17", "-O1", "-g", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-Wl,-soname,libcuda.so"])
        .arg("-o")
        .arg(library)
        .arg(source)
        .output()
        .unwrap_or_else(|e| {
            panic!("{compiler}: {e}; the tests of the CUDA backend need a C++ compiler (CXX names it)")
        });
    assert!(output.status.success(), "{compiler}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Runs a kernel of the fake driver's on the emulator.
extern "C" fn launch(call: *const Call, error: *mut c_char, error_bytes: usize) -> c_int {
    // SAFETY: the driver passes a valid call.
    let result = unsafe { run(&*call) };
    // SAFETY: the driver passes a buffer of that size.
    unsafe { told(result, error, error_bytes) }
}

/// Makes a tensor map that the emulator's kernels can read.
extern "C" fn encode(map: *mut PidTensorMap, tiled: *const TiledCall, error: *mut c_char, error_bytes: usize) -> c_int {
    // SAFETY: the driver passes valid structs and a buffer of that size.
    unsafe { told(describe(&*tiled).map(|made| map.write(made)), error, error_bytes) }
}

/// # Safety
/// The lists are as long as the call says.
unsafe fn describe(call: &TiledCall) -> Result<PidTensorMap, String> {
    let rank = call.rank as usize;
    // SAFETY: the caller's; there is a stride less than dimensions.
    let (dims, strides, box_dims) = unsafe {
        (
            std::slice::from_raw_parts(call.dims, rank),
            std::slice::from_raw_parts(call.strides, rank - 1),
            std::slice::from_raw_parts(call.box_dims, rank),
        )
    };
    let all = [Element::U8, Element::F32, Element::Bf16];
    let element = all.into_iter().find(|e| *e as u32 == call.element).ok_or("unknown element type")?;
    let swizzle = [Swizzle::None, Swizzle::Bytes128].into_iter().find(|s| *s as u32 == call.swizzle);
    let swizzle = swizzle.ok_or("unknown swizzle")?;
    let tiled = Tiled { element, address: call.address, dims, strides, box_dims, swizzle };
    Emulator::default().tensor_map(&tiled).map_err(|e| e.to_string())
}

/// 0, or 1 and the message.
///
/// # Safety
/// The buffer has `error_bytes` bytes.
unsafe fn told(result: Result<(), String>, error: *mut c_char, error_bytes: usize) -> c_int {
    let Err(message) = result else { return 0 };
    let length = message.len().min(error_bytes - 1);
    // SAFETY: the caller's.
    unsafe {
        std::ptr::copy_nonoverlapping(message.as_ptr().cast(), error, length);
        *error.add(length) = 0;
    }
    1
}

/// # Safety
/// The call is valid, and its parameters are as many bytes as it says.
unsafe fn run(call: &Call) -> Result<(), String> {
    static NAMES: OnceLock<HashMap<String, &'static str>> = OnceLock::new();
    let names = NAMES.get_or_init(|| cubins::PTXAS.iter().map(|row| (row.kernel.to_owned(), row.kernel)).collect());
    // SAFETY: the caller's.
    let name = unsafe { CStr::from_ptr(call.kernel) }.to_string_lossy();
    let kernel = names.get(&*name).ok_or("the tables of ptxas lack it")?;
    let bytes = call.params_bytes as usize;
    // The driver has the size from the cubin, the emulator from the host's compiler.
    let on_host = Emulator::kernel(kernel).map(|kernel| kernel.params_bytes);
    if on_host != Some(bytes) {
        return Err(format!("the cubin says {bytes} bytes of parameters, the host {on_host:?}"));
    }
    // SAFETY: the caller's.
    let params = unsafe { std::slice::from_raw_parts(call.params.cast::<u8>(), bytes) };
    let [threads, 1, 1] = call.block else { return Err(format!("block {:?}", call.block)) };
    Emulator::default().call(&KernelCall::from_bytes(kernel, call.grid, threads, call.shared_bytes, params))
}
