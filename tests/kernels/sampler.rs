//! Noise, the sampler's step and the finished picture (`kernels/sampler`).

mod image;
mod noise;
mod step;
