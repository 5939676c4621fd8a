//! Convolutions and group norms of the adapter (`kernels/conv`).

mod conv3x3;
mod group_norm;

pub use conv3x3::TOKENS as KERNELS;

/// Faulty kernels tested in this module.
pub const FAULTS: &[&str] = &[
    "conv3x3_tokens_no_slot_barrier",
    "conv3x3_tokens_no_row_guard",
    "conv3x3_tokens_no_border_guard",
    "conv3x3_tokens_128x256_sm90_no_slot_wait",
    "conv3x3_tokens_128x256_sm90_no_row_bound",
    "conv3x3_tokens_128x256_sm90_no_mending",
    "conv3x3_tokens_128x256_sm90_no_mended_fence",
    "conv3x3_tokens_128x256_sm90_no_mended_wait",
    "conv3x3_tokens_128x256_sm90_no_mended_release",
    "conv3x3_tokens_128x256_sm90_no_mended_barrier",
    "conv3x3_tokens_128x256_sm90_no_channel_bound",
    "conv3x3_latent_no_slot_barrier",
    "conv3x3_latent_no_row_guard",
    "conv3x3_latent_no_border_guard",
    "group_norm_sums_no_tail_guard",
    "group_norm_sums_no_barrier",
    "group_norm_apply_no_tail_guard",
    "group_norm_apply_no_barrier",
    "group_norm_apply_no_slab_guard",
];
