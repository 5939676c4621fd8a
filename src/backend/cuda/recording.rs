//! Lists of calls as CUDA graphs: built the first time, replayed when the same list comes again.
//!
//! The graph is a chain of kernel nodes, built node by node rather than captured from the stream, so that other threads'
//! copies cannot get into it and an error names its node.

use std::mem::MaybeUninit;

use cudarc::driver::{result, sys};

use super::functions::{Functions, Handle, argument};
use super::{Cuda, DeviceError, Labelled};

/// Recordings kept per device; a decode without interruptions has one per size.
const MOST_RECORDINGS: usize = 8;

/// The recordings used last, the newest at the end.
#[derive(Debug, Default)]
pub(super) struct Recordings {
    kept: Vec<Recording>,
}

/// A list of calls and its graph.
#[derive(Debug)]
struct Recording {
    calls: Vec<Labelled>,
    graph: Graph,
}

impl Recordings {
    /// The graph of `calls`, made now if need be. The context is current.
    pub(super) fn of(
        &mut self,
        cuda: &Cuda,
        functions: &mut Functions,
        calls: &[Labelled],
    ) -> Result<&Graph, DeviceError> {
        // A list has addresses, shapes and times in it: equal lists do the same.
        let recording = match self.kept.iter().position(|r| r.calls == calls) {
            Some(index) => self.kept.remove(index),
            None => {
                if self.kept.len() == MOST_RECORDINGS {
                    self.kept.remove(0);
                }
                Recording { calls: calls.to_vec(), graph: Graph::build(cuda, functions, calls)? }
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
    fn build(cuda: &Cuda, functions: &mut Functions, calls: &[Labelled]) -> Result<Self, DeviceError> {
        let template = Template::new(cuda)?;
        let mut last: Option<sys::CUgraphNode> = None;
        for Labelled { label, call } in calls {
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
            let before = last.as_slice();
            let mut added = MaybeUninit::uninit();
            // SAFETY: the graph is alive, `before` has as many nodes of it as said, and the driver copies the node's
            // parameters, which are the kernel's one struct.
            let status = unsafe {
                sys::cuGraphAddKernelNode_v2(added.as_mut_ptr(), template.0, before.as_ptr(), before.len(), &node)
            };
            status.result().map_err(|e| of_call(cuda.failed("cuGraphAddKernelNode", e).to_string()))?;
            // SAFETY: the call succeeded.
            last = Some(unsafe { added.assume_init() });
        }
        // SAFETY: the template is alive; the executable graph does not need it afterwards.
        let executable = unsafe { result::graph::instantiate(template.0, sys::CUgraphInstantiate_flags(0)) }
            .map_err(|e| cuda.failed("cuGraphInstantiate", e))?;
        Ok(Self { executable: Handle(executable), kernels: calls.len() })
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
struct Template(sys::CUgraph);

impl Template {
    fn new(cuda: &Cuda) -> Result<Self, DeviceError> {
        let mut graph = MaybeUninit::uninit();
        // SAFETY: the out parameter is valid.
        unsafe { sys::cuGraphCreate(graph.as_mut_ptr(), 0) }.result().map_err(|e| cuda.failed("cuGraphCreate", e))?;
        // SAFETY: the call succeeded.
        Ok(Self(unsafe { graph.assume_init() }))
    }
}

impl Drop for Template {
    fn drop(&mut self) {
        // SAFETY: nobody else has the handle.
        let _ = unsafe { result::graph::destroy(self.0) };
    }
}
