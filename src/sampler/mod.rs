//! The sampler's schedule and its noise. The step itself is an op ([`crate::graph::op::SampleStep`]).

mod noise;
mod philox;
mod schedule;
mod torch;

pub use noise::{Noise, NoiseError, NoiseSource};
pub use schedule::{Sampler, Schedule, ScheduleError, Step};
