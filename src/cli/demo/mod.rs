//! `pid demo`: what a decode looks like, with files that come with the program, or with none.

mod fit;
mod photograph;
mod shipped;
mod synthetic;

use std::path::PathBuf;

use clap::Args;

use super::checkpoint_flags::CheckpointFlags;
use super::report::{CliError, Report};
use super::seed::Seed;
use super::targets::output_path;
use super::{Common, one_sigma};
use crate::device::Device;
use crate::latent::{Colour, Sigma};

#[derive(Debug, Args)]
pub(super) struct DemoArgs {
    /// Picture to send through the latent, .png or .jpg; by default one that the model has not been trained on.
    #[arg(long, value_name = "FILE")]
    image: Option<PathBuf>,
    /// Lay a picture that is not opaque on this colour: white, black or #rrggbb.
    #[arg(long, value_name = "COLOR")]
    flatten: Option<Colour>,
    /// Noise level to bring the latent to, 0 (clean) to 1; the model was trained up to 0.8.
    #[arg(long, value_name = "S", value_parser = one_sigma, default_value = "0")]
    sigma: Sigma,
    /// Weights trained on dct16 latents, in place of the demo model's.
    #[arg(long, value_name = "FILE")]
    checkpoint: Option<PathBuf>,
    #[command(flatten)]
    flags: CheckpointFlags,
    /// Synthetic weights and a synthetic latent instead, which need no file at all; draws the plan of the decode, too.
    #[arg(long, conflicts_with_all = ["image", "flatten", "sigma", "checkpoint"])]
    synthetic: bool,
    /// Longest side of the picture in pixels, a multiple of 32; a larger picture is scaled down to it.
    #[arg(long, default_value_t = 512, value_parser = side)]
    size: usize,
    /// Seed of all noise, and of synthetic weights.
    #[arg(long, value_name = "N|random", default_value_t, allow_negative_numbers = true)]
    seed: Seed,
    /// Picture to write; the panel gets its name with `-panel`. Standard output (`-`), pipes and devices get the picture alone.
    #[arg(long, value_name = "FILE", default_value = "pid-demo.png", value_parser = output_path())]
    out: PathBuf,
    /// Where to run.
    #[arg(long, default_value = "auto")]
    device: Device,
    #[command(flatten)]
    pub(super) common: Common,
}

fn side(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(size) if size > 0 && size % 32 == 0 && size <= 4096 => Ok(size),
        _ => Err(format!("{text} is not a multiple of 32 from 32 to 4096")),
    }
}

pub(super) fn run(args: &DemoArgs) -> Result<Report, CliError> {
    args.flags.fits(args.checkpoint.as_deref())?;
    if args.synthetic { synthetic::run(args) } else { photograph::run(args) }
}
