//! One launch of one kernel: name, shape and parameter struct.

use super::entry::Entry;
use super::op_call::OpShape;

/// A launch. Both GPU-like backends take these.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct KernelCall {
    /// Entry point.
    pub kernel: &'static str,
    /// Blocks.
    pub grid: [u32; 3],
    /// Threads of a block.
    pub threads: u32,
    /// Dynamic shared memory of a block.
    pub shared_bytes: u32,
    /// What it computes, where other kernels could do the same.
    pub shape: Option<OpShape>,
    params: Vec<Chunk>,
    params_bytes: usize,
}

/// Keeps parameter structs aligned: those with a tensor map are to 128 bytes, and kernels on the host rely on it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, bytemuck::Zeroable, bytemuck::Pod)]
#[repr(C, align(128))]
struct Chunk([u64; 16]);

/// The bytes of a parameter struct.
#[derive(Clone, Copy, Debug)]
pub struct Params<'a> {
    bytes: &'a [u8],
}

impl<'a> Params<'a> {
    /// Those of `params`, a struct of `kernels/params.h`.
    pub fn of<P: Copy>(params: &'a P) -> Self {
        const { assert!(align_of::<P>() <= align_of::<Chunk>(), "nothing in parameter structs is aligned to more") };
        // SAFETY: valid for its size, as long as `params` is borrowed; the structs of `kernels/params.h` have no padding
        // (every gap is a named field), so each byte is initialised.
        let bytes = unsafe { std::slice::from_raw_parts(std::ptr::from_ref(params).cast(), size_of::<P>()) };
        Self { bytes }
    }
}

impl KernelCall {
    /// A launch of `kernel` with the parameter struct `params`.
    pub fn new<P: Copy>(kernel: &'static str, grid: [u32; 3], threads: u32, shared_bytes: u32, params: &P) -> Self {
        Self::from_bytes(kernel, grid, threads, shared_bytes, Params::of(params).bytes)
    }

    /// A launch of `entry`, in the blocks and shared memory that it declares.
    pub fn of(entry: &Entry, grid: [u32; 3], params: Params<'_>) -> Self {
        Self::from_bytes(entry.name, grid, entry.threads, entry.shared_bytes, params.bytes)
    }

    /// A launch of an sm_90 kernel that takes `WithMaps<Op, Maps>` (`kernels/sm90/epilogue.cuh`): the maps, then `op`.
    pub fn with_maps<M: Copy>(entry: &Entry, grid: [u32; 3], maps: &M, op: Params<'_>) -> Self {
        const { assert!(size_of::<M>().is_multiple_of(size_of::<Chunk>())) };
        let mut call = Self::of(entry, grid, Params::of(maps));
        call.params.extend(Self::of(entry, grid, op).params);
        // C++ rounds the size of the whole up to its alignment, that of the maps.
        call.params_bytes = call.params.len() * size_of::<Chunk>();
        call
    }

    /// A launch of `kernel` with the bytes of its parameter struct, as a driver gets them.
    pub fn from_bytes(kernel: &'static str, grid: [u32; 3], threads: u32, shared_bytes: u32, params: &[u8]) -> Self {
        let mut chunks = vec![Chunk([0; 16]); params.len().div_ceil(size_of::<Chunk>())];
        bytemuck::cast_slice_mut(&mut chunks)[..params.len()].copy_from_slice(params);
        let params_bytes = params.len();
        Self { kernel, grid, threads, shared_bytes, shape: None, params: chunks, params_bytes }
    }

    /// The same, known to compute `shape` by one kernel of several.
    pub(super) fn of_shape(self, shape: OpShape) -> Self {
        Self { shape: Some(shape), ..self }
    }

    /// The parameter struct's bytes, 128-byte aligned.
    pub fn params(&self) -> &[u8] {
        &bytemuck::cast_slice(&self.params)[..self.params_bytes]
    }
}

impl std::fmt::Debug for KernelCall {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { kernel, grid, threads, shared_bytes, .. } = self;
        write!(f, "{kernel}<<<{grid:?}, {threads}, {shared_bytes}>>>")
    }
}
