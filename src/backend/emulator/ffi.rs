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

unsafe extern "C" {
    pub(super) fn pid_emu_launch(launch: *const Launch, error: *mut c_char, error_bytes: usize) -> c_int;
    pub(super) fn pid_emu_allocate(bytes: usize) -> *mut c_void;
    pub(super) fn pid_emu_free(pointer: *mut c_void, bytes: usize);
    pub(super) fn pid_emu_kernel_name(index: usize) -> *const c_char;
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
    pub(super) fn pid_emu_params_bytes(kernel: *const c_char) -> usize;
}
