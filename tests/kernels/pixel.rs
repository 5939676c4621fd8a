//! Pixels, 16 channels each (`kernels/pixel`): embedding, and products that modulate and update them.

mod embed;
mod modulate;
mod operands;
mod sample;
mod update;

use crate::device::Device;

/// Faulty kernels tested in this module.
pub const FAULTS: &[&str] = &[
    "pixel_embed_no_barrier",
    "gemm_pixel_modulate_no_slot_barrier",
    "gemm_pixel_modulate_no_store_guard",
    "gemm_pixel_modulate_128x256_sm90_no_slot_wait",
    "gemm_pixel_modulate_128x256_sm90_no_row_bound",
    "gemm_pixel_update_no_slot_barrier",
    "gemm_pixel_update_no_product_barrier",
    "gemm_pixel_update_no_store_guard",
    "gemm_pixel_update_128x256_sm90_no_slot_wait",
    "gemm_pixel_update_128x256_sm90_no_row_bound",
    "gemm_pixel_update_128x256_sm90_no_column_bound",
    "gemm_pixel_update_128x256_sm90_no_staged_wait",
    "gemm_pixel_update_sample_no_store_guard",
    "gemm_pixel_update_sample_128x256_sm90_no_row_bound",
];

/// Kernels that have forms for sm_90a, and these.
pub const KERNELS: &[&str] = &[
    "gemm_pixel_modulate",
    "gemm_pixel_modulate_128x256_sm90",
    "gemm_pixel_modulate_128x256_pair_sm90",
    "gemm_pixel_modulate_128x128_pingpong_sm90",
    "gemm_pixel_modulate_128x128_pingpong_pair_sm90",
    "gemm_pixel_update",
    "gemm_pixel_update_128x256_sm90",
    "gemm_pixel_update_128x256_pair_sm90",
    "gemm_pixel_update_sample",
    "gemm_pixel_update_sample_128x256_sm90",
    "gemm_pixel_update_sample_128x256_pair_sm90",
];

/// Of those, `kernel` and its forms that run on `device`.
fn kernels_of(device: &Device, kernel: &str) -> Vec<&'static str> {
    let is_form =
        |name: &str| name.strip_prefix(kernel).is_some_and(|rest| rest.is_empty() || rest.starts_with("_128x"));
    KERNELS.iter().copied().filter(|name| is_form(name) && device.runs(name)).collect()
}
