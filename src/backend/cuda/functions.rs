//! Kernels by name: modules are loaded when the first kernel of theirs is asked for.

use std::collections::HashMap;
use std::ffi::{CString, c_void};

use cudarc::driver::{result, sys};

use super::status::explain;
use crate::kernels::KernelCall;
use crate::kernels::cubins::{self, Cubin, PTXAS};

/// A block gets more dynamic shared memory than this only on request.
const UNASKED_SHARED_BYTES: u32 = 48 * 1024;

/// The kernels of one device. Modules stay loaded as long as this lives.
#[derive(Debug)]
pub(super) struct Functions {
    cubins: &'static [Cubin],
    capability: (u32, u32),
    /// The driver's, for messages.
    driver_version: i32,
    modules: HashMap<&'static str, Handle<sys::CUmodule>>,
    by_name: HashMap<&'static str, Function>,
}

/// A handle of the driver's, which any thread may use while the context is current.
#[derive(Clone, Copy, Debug)]
pub(super) struct Handle<T>(pub(super) T);

// SAFETY: handles name objects inside the driver, which takes them from any thread.
unsafe impl<T> Send for Handle<T> {}

/// A kernel, ready to be launched with up to `shared_bytes` of dynamic shared memory.
#[derive(Clone, Copy, Debug)]
pub(super) struct Function {
    handle: Handle<sys::CUfunction>,
    shared_bytes: u32,
}

impl Function {
    pub(super) fn raw(self) -> sys::CUfunction {
        self.handle.0
    }
}

impl Functions {
    pub(super) fn new(cubins: &'static [Cubin], capability: (u32, u32), driver_version: i32) -> Self {
        Self { cubins, capability, driver_version, modules: HashMap::new(), by_name: HashMap::new() }
    }

    /// The kernel of `call`, allowed as much shared memory as it asks for. The context must be current.
    ///
    /// # Errors
    /// Says which part cannot be loaded, and the driver's reason.
    pub(super) fn get(&mut self, call: &KernelCall) -> Result<Function, String> {
        let known = self.by_name.get(call.kernel).copied();
        let mut function = match known {
            Some(function) => function,
            None => self.load(call.kernel)?,
        };
        if call.shared_bytes > function.shared_bytes {
            let attribute = sys::CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
            // SAFETY: the function's module stays loaded.
            unsafe { result::function::set_function_attribute(function.raw(), attribute, call.shared_bytes as i32) }
                .map_err(|e| format!("{} bytes of shared memory a block: {}", call.shared_bytes, explain(e)))?;
            function.shared_bytes = call.shared_bytes;
        }
        self.by_name.insert(call.kernel, function);
        Ok(function)
    }

    fn load(&mut self, kernel: &'static str) -> Result<Function, String> {
        let cubin = file_of(kernel).and_then(|file| cubins::best(self.cubins, file, self.capability));
        let cubin = cubin.ok_or_else(|| format!("this build has no such kernel for {:?}", self.capability))?;
        let module = match self.modules.get(cubin.file) {
            Some(module) => *module,
            None => self.load_module(cubin)?,
        };
        let name = CString::new(kernel).map_err(|e| e.to_string())?;
        // SAFETY: the module is loaded.
        let function = unsafe { result::module::get_function(module.0, name) }.map_err(explain)?;
        Ok(Function { handle: Handle(function), shared_bytes: UNASKED_SHARED_BYTES })
    }

    fn load_module(&mut self, cubin: &'static Cubin) -> Result<Handle<sys::CUmodule>, String> {
        // SAFETY: the image is an ELF file of nvcc's, whose header has its length.
        let module = unsafe { result::module::load_data(cubin.bytes.as_ptr().cast()) }.map_err(|error| {
            let (major, minor) = (self.driver_version / 1000, self.driver_version % 1000 / 10);
            let Cubin { file, arch, .. } = cubin;
            let text = explain(error);
            format!(
                "loading {file} for {arch}: {text} (the driver supports CUDA {major}.{minor}; a newer one may help)"
            )
        })?;
        self.modules.insert(cubin.file, Handle(module));
        Ok(Handle(module))
    }
}

impl Drop for Functions {
    fn drop(&mut self) {
        // Another decoder may keep the context, which would keep the modules.
        for module in self.modules.values() {
            // SAFETY: nobody else has the handle; what is recorded with its functions is gone, and nothing is in flight.
            // A lost context has unloaded it, and says so, which helps nobody here.
            let _ = unsafe { result::module::unload(module.0) };
        }
    }
}

/// The kernel file with entry point `kernel`.
fn file_of(kernel: &str) -> Option<&'static str> {
    PTXAS.iter().find(|row| row.kernel == kernel && row.registers > 0).map(|row| row.file)
}

/// Launches `call` on `stream`; the driver copies the parameters before it returns.
///
/// # Safety
/// The context is current, and the call's parameters are the kernel's, pointing to memory that outlives the launch.
pub(super) unsafe fn launch(
    function: Function,
    call: &KernelCall,
    stream: sys::CUstream,
) -> Result<(), result::DriverError> {
    let [x, y, z] = call.grid;
    let mut arguments = [argument(call)];
    // SAFETY: the caller's.
    unsafe {
        result::launch_kernel(
            function.raw(),
            (x, y, z),
            (call.threads, 1, 1),
            call.shared_bytes,
            stream,
            &mut arguments,
        )
    }
}

/// Pointer to the call's parameter struct, as the driver wants it: it only reads.
pub(super) fn argument(call: &KernelCall) -> *mut c_void {
    call.params().as_ptr().cast_mut().cast()
}
