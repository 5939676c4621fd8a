//! Pixels, 16 channels each (`kernels/pixel`): embedding, and products that modulate and update them.

mod embed;
mod modulate;
mod operands;
mod sample;
mod update;

/// Faulty kernels tested in this module.
pub const FAULTS: &[&str] = &[
    "pixel_embed_no_barrier",
    "gemm_pixel_modulate_no_slot_barrier",
    "gemm_pixel_modulate_no_store_guard",
    "gemm_pixel_update_no_slot_barrier",
    "gemm_pixel_update_no_product_barrier",
    "gemm_pixel_update_no_store_guard",
    "gemm_pixel_update_sample_no_store_guard",
];

/// Those of one kernel; a longer name that begins alike is another kernel's.
fn faults_of(kernel: &str) -> Vec<&'static str> {
    let of = |fault: &&&str| fault.strip_prefix(kernel).is_some_and(|lack| lack.starts_with("_no_"));
    let faults: Vec<_> = FAULTS.iter().filter(of).copied().collect();
    assert!(!faults.is_empty(), "{kernel}");
    faults
}
