//! Noise, the sampler's step and the finished picture (`kernels/sampler`).

mod image;
mod noise;
mod step;

/// Faulty kernels tested in this module.
pub const FAULTS: &[&str] = &[
    "philox_normal_no_tail_guard",
    "philox_normal_no_part_guard",
    "sample_step_no_noise_guard",
    "sample_step_no_velocity_guard",
    "image_u8_no_tail_guard",
    "image_u8_no_part_guard",
];
