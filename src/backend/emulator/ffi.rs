//! The emulator's C interface (`kernels/emulator/launch.hpp`).

use std::ffi::{c_char, c_int, c_void};

use crate::kernels::params::PidTensorMap;

/// `PidEmuLaunch`.
#[repr(C)]
pub(super) struct Launch {
    pub(super) kernel: *const c_char,
    pub(super) grid: [u32; 3],
    pub(super) block: [u32; 3],
    pub(super) shared_bytes: u32,
    pub(super) schedule: u32,
    pub(super) seed: u64,
    pub(super) params: *const c_void,
    pub(super) params_bytes: u64,
}

const _: () = assert!(size_of::<Launch>() == 64);

/// `PidEmuKernel`.
#[repr(C)]
pub(super) struct Kernel {
    pub(super) name: *const c_char,
    pub(super) fault_of: *const c_char,
    pub(super) params_bytes: u64,
    pub(super) entry: *const KernelEntry,
}

/// `KernelEntry` (`kernels/entry.h`).
#[repr(C)]
pub(super) struct KernelEntry {
    pub(super) op: *const c_char,
    pub(super) family: *const c_char,
    pub(super) tile: [u32; 3],
    pub(super) grid_tile: [u32; 2],
    pub(super) store_box: [u32; 2],
    pub(super) stages: u32,
    pub(super) threads: u32,
    pub(super) min_blocks: u32,
    pub(super) cluster: u32,
    pub(super) shared_bytes: u32,
    pub(super) producer_registers: u32,
    pub(super) consumer_registers: u32,
    pub(super) needs: u32,
    pub(super) operands: u32,
    pub(super) order: u32,
    pub(super) order_block: u32,
    pub(super) n_multiple: u32,
    pub(super) k_multiple: u32,
    pub(super) ping_pong: u32,
}

const _: () = assert!(size_of::<KernelEntry>() == 104);

unsafe extern "C" {
    pub(super) fn pid_emu_launch(launch: *const Launch, error: *mut c_char, error_bytes: usize) -> c_int;
    pub(super) fn pid_emu_allocate(bytes: usize) -> *mut c_void;
    pub(super) fn pid_emu_free(pointer: *mut c_void, bytes: usize);
    pub(super) fn pid_emu_kernel(index: usize, kernel: *mut Kernel) -> c_int;
    pub(super) fn pid_emu_encode_tiled(
        map: *mut PidTensorMap,
        element: u32,
        rank: u32,
        address: *mut c_void,
        dims: *const u64,
        strides: *const u64,
        box_dims: *const u32,
        element_strides: *const u32,
        interleave: u32,
        swizzle: u32,
        l2_promotion: u32,
        fill: u32,
        error: *mut c_char,
        error_bytes: usize,
    ) -> c_int;
}
