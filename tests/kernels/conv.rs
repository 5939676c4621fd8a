//! Convolutions and group norms of the adapter (`kernels/conv`).

mod conv3x3;
mod group_norm;

/// Faulty kernels tested in this module.
pub const FAULTS: &[&str] = &[
    "conv3x3_tokens_no_slot_barrier",
    "conv3x3_tokens_no_row_guard",
    "conv3x3_tokens_no_border_guard",
    "conv3x3_latent_no_slot_barrier",
    "conv3x3_latent_no_row_guard",
    "conv3x3_latent_no_border_guard",
    "group_norm_sums_no_tail_guard",
    "group_norm_sums_no_barrier",
    "group_norm_apply_no_tail_guard",
    "group_norm_apply_no_barrier",
    "group_norm_apply_no_slab_guard",
];

/// The faults of one family.
fn faults_of(family: &str) -> Vec<&'static str> {
    FAULTS.iter().copied().filter(|fault| fault.starts_with(family)).collect()
}
