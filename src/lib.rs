//! Decodes the latents of image generators into 2K and 4K pictures with NVIDIA's PiD network
//! ([arXiv 2605.23902](https://arxiv.org/abs/2605.23902)).
//!
//! A [`Decoder`] is built once from a checkpoint and decodes many latents, from any thread:
//!
//! ```
//! use pid_engine::checkpoint::{Checkpoint, synthetic};
//! use pid_engine::latent::{Caption, Latent};
//! use pid_engine::models::pid::Config;
//! use pid_engine::progress::NoProgress;
//! use pid_engine::{Decoder, Request};
//!
//! # fn main() -> Result<(), pid_engine::Error> {
//! // A real program opens a file: `Decoder::builder().open(path)?`.
//! let config = Config::tiny();
//! let decoder = Decoder::builder().build(Checkpoint::synthetic(&config, 0, &NoProgress))?;
//!
//! let latent = Latent::new(synthetic::latent(&[1, 16, 2, 3], 0), [1, 16, 2, 3])?;
//! let caption = Caption::new(synthetic::caption(&[1, 24, 64], 0), [1, 24, 64])?;
//! let decoded = decoder.decode(&latent, &Request::new(caption))?;
//! assert_eq!((decoded.picture.height, decoded.picture.width), (64, 96));
//! # Ok(())
//! # }
//! ```
//!
//! The library prints nothing, exits nowhere and keeps no global state but the names of files that it is writing, for
//! [`output::abandon`], and a panic hook that is silent while a picture is decoded (see [`latent::read_picture`]).
//! `ARCHITECTURE.md` is the map of the code.

pub mod backend;
pub mod bench;
#[cfg(any(feature = "cuda", feature = "emulator"))]
pub mod check;
pub mod checkpoint;
#[cfg(feature = "cli")]
pub mod cli;
pub mod decoder;
mod device;
mod error;
pub mod exec;
pub mod graph;
// Without a device that runs them nothing launches any.
#[cfg_attr(not(any(feature = "cuda", feature = "emulator")), allow(dead_code))]
pub mod kernels;
pub mod kind;
pub mod latent;
pub mod memory;
pub mod models;
pub mod output;
mod parallel;
pub mod plan;
mod product;
pub mod progress;
pub mod sampler;
pub mod weights;

pub use decoder::{Decoded, Decoder, DecoderBuilder, Request, Timings};
pub use device::Device;
pub use error::Error;

/// The README's example compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct ReadmeExamples;
