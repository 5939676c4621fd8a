//! Lists of commands as CUDA graphs: built the first time, replayed when the same list comes again.
//!
//! The graph is a chain of kernel nodes, with a chain of copies of weights beside it. It is built node by node rather than
//! captured from the stream, so that other threads' copies cannot get into it and an error names its node.

use std::ffi::c_void;
use std::mem::MaybeUninit;

use cudarc::driver::{result, sys};

use super::functions::{Functions, Handle, argument};
use super::{Command, Cuda, DeviceError, Labelled, Upload};

/// Recordings kept per device; a decode without interruptions has one per size.
const MOST_RECORDINGS: usize = 8;

/// The recordings used last, the newest at the end.
#[derive(Debug, Default)]
pub(super) struct Recordings {
    kept: Vec<Recording>,
}

/// A list of commands and its graph.
#[derive(Debug)]
struct Recording {
    commands: Vec<Command>,
    graph: Graph,
}

impl Recordings {
    /// The graph of `commands`, made now if need be. The context is current.
    pub(super) fn of(
        &mut self,
        cuda: &Cuda,
        functions: &mut Functions,
        commands: &[Command],
    ) -> Result<&Graph, DeviceError> {
        // A list has addresses, shapes and times in it: equal lists do the same.
        let recording = match self.kept.iter().position(|r| r.commands == commands) {
            Some(index) => self.kept.remove(index),
            None => {
                if self.kept.len() == MOST_RECORDINGS {
                    self.kept.remove(0);
                }
                Recording { commands: commands.to_vec(), graph: Graph::build(cuda, functions, commands)? }
            }
        };
        self.kept.push(recording);
        Ok(&self.kept.last().expect("just pushed").graph)
    }
}

/// A graph ready to be launched.
#[derive(Debug)]
pub(super) struct Graph {
    executable: Handle<sys::CUgraphExec>,
    kernels: usize,
}

impl Graph {
    fn build(cuda: &Cuda, functions: &mut Functions, commands: &[Command]) -> Result<Self, DeviceError> {
        let mut template = Template::new(cuda)?;
        for command in commands {
            match command {
                Command::Launch(launch) => template.add_kernel(cuda, functions, launch)?,
                Command::Upload(upload) => template.add_upload(cuda, upload)?,
            }
        }
        // SAFETY: the template is alive; the executable graph does not need it afterwards.
        let executable = unsafe { result::graph::instantiate(template.graph, sys::CUgraphInstantiate_flags(0)) }
            .map_err(|e| cuda.failed("cuGraphInstantiate", e))?;
        Ok(Self { executable: Handle(executable), kernels: commands.len() })
    }

    /// Runs it on the stream, without waiting. The context is current.
    pub(super) fn launch(&self, cuda: &Cuda) -> Result<(), DeviceError> {
        // SAFETY: both handles are alive.
        unsafe { result::graph::launch(self.executable.0, cuda.stream.cu_stream()) }
            .map_err(|e| cuda.failed(&format!("cuGraphLaunch of {} kernels", self.kernels), e))
    }
}

impl Drop for Graph {
    fn drop(&mut self) {
        // SAFETY: nobody else has the handle; the driver keeps a graph in flight until it is done. A lost context has
        // destroyed it, and says so, which helps nobody here.
        let _ = unsafe { result::graph::exec_destroy(self.executable.0) };
    }
}

/// The graph that nodes are added to, destroyed at the end of the building.
struct Template {
    graph: sys::CUgraph,
    /// By position in the list.
    nodes: Vec<sys::CUgraphNode>,
    last_kernel: Option<sys::CUgraphNode>,
    /// Copies come one after the other, in a chain beside that of the kernels.
    last_upload: Option<sys::CUgraphNode>,
    /// Whether a kernel has waited for the last copy.
    joined: bool,
}

impl Template {
    fn new(cuda: &Cuda) -> Result<Self, DeviceError> {
        let mut graph = MaybeUninit::uninit();
        // SAFETY: the out parameter is valid.
        unsafe { sys::cuGraphCreate(graph.as_mut_ptr(), 0) }.result().map_err(|e| cuda.failed("cuGraphCreate", e))?;
        // SAFETY: the call succeeded.
        let graph = unsafe { graph.assume_init() };
        Ok(Self { graph, nodes: Vec::new(), last_kernel: None, last_upload: None, joined: true })
    }

    /// Adds a kernel after the last one and all copies so far.
    fn add_kernel(&mut self, cuda: &Cuda, functions: &mut Functions, launch: &Labelled) -> Result<(), DeviceError> {
        let Labelled { label, call } = launch;
        let of_call = |message| DeviceError::Call { label: label.clone(), kernel: call.kernel.into(), message };
        let function = functions.get(call).map_err(&of_call)?;
        let mut arguments = [argument(call)];
        let [x, y, z] = call.grid;
        let node = sys::CUDA_KERNEL_NODE_PARAMS {
            func: function.raw(),
            gridDimX: x,
            gridDimY: y,
            gridDimZ: z,
            blockDimX: call.threads,
            blockDimY: 1,
            blockDimZ: 1,
            sharedMemBytes: call.shared_bytes,
            kernelParams: arguments.as_mut_ptr(),
            extra: std::ptr::null_mut(),
            kern: std::ptr::null_mut(),
            ctx: std::ptr::null_mut(),
        };
        let upload = self.last_upload.filter(|_| !self.joined);
        let before: Vec<sys::CUgraphNode> = self.last_kernel.into_iter().chain(upload).collect();
        let mut added = MaybeUninit::uninit();
        // SAFETY: the graph is alive, `before` has as many nodes of it as said, and the driver copies the node's
        // parameters, which are the kernel's one struct.
        let status = unsafe {
            sys::cuGraphAddKernelNode_v2(added.as_mut_ptr(), self.graph, before.as_ptr(), before.len(), &node)
        };
        status.result().map_err(|e| of_call(cuda.failed("cuGraphAddKernelNode", e).to_string()))?;
        // SAFETY: the call succeeded.
        let added = unsafe { added.assume_init() };
        self.nodes.push(added);
        (self.last_kernel, self.joined) = (Some(added), true);
        Ok(())
    }

    /// Adds a copy after the last copy and the kernel that it names.
    fn add_upload(&mut self, cuda: &Cuda, upload: &Upload) -> Result<(), DeviceError> {
        let node = sys::CUDA_MEMCPY3D {
            srcXInBytes: 0,
            srcY: 0,
            srcZ: 0,
            srcLOD: 0,
            srcMemoryType: sys::CUmemorytype::CU_MEMORYTYPE_HOST,
            srcHost: upload.from as *const c_void,
            srcDevice: 0,
            srcArray: std::ptr::null_mut(),
            reserved0: std::ptr::null_mut(),
            srcPitch: upload.bytes,
            srcHeight: 1,
            dstXInBytes: 0,
            dstY: 0,
            dstZ: 0,
            dstLOD: 0,
            dstMemoryType: sys::CUmemorytype::CU_MEMORYTYPE_DEVICE,
            dstHost: std::ptr::null_mut(),
            dstDevice: upload.to,
            dstArray: std::ptr::null_mut(),
            reserved1: std::ptr::null_mut(),
            dstPitch: upload.bytes,
            dstHeight: 1,
            WidthInBytes: upload.bytes,
            Height: 1,
            Depth: 1,
        };
        let reader = upload.after.map(|position| self.nodes[position]);
        let before: Vec<sys::CUgraphNode> = self.last_upload.into_iter().chain(reader).collect();
        let mut added = MaybeUninit::uninit();
        // SAFETY: the graph and the context are alive, `before` has as many nodes of it as said, and the session keeps both
        // ends of the copy alive until the graph is done.
        let status = unsafe {
            let context = cuda.context.cu_ctx();
            sys::cuGraphAddMemcpyNode(added.as_mut_ptr(), self.graph, before.as_ptr(), before.len(), &node, context)
        };
        status.result().map_err(|e| cuda.failed("cuGraphAddMemcpyNode", e))?;
        // SAFETY: the call succeeded.
        let added = unsafe { added.assume_init() };
        self.nodes.push(added);
        (self.last_upload, self.joined) = (Some(added), false);
        Ok(())
    }
}

impl Drop for Template {
    fn drop(&mut self) {
        // SAFETY: nobody else has the handle.
        let _ = unsafe { result::graph::destroy(self.graph) };
    }
}
