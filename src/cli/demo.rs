//! `pid demo`: a decode that needs no files.

use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Args;
use serde_json::json;

use super::decode::{picture_info, report};
use super::progress::TerminalProgress;
use super::report::{CliError, Report};
use super::{Common, shown, sibling};
use crate::checkpoint::{Checkpoint, synthetic};
use crate::decoder::{Decoder, Request};
use crate::device::Device;
use crate::latent::{Caption, Latent};
use crate::model::Config;
use crate::output;
use crate::sampler::NoiseSource;

#[derive(Debug, Args)]
pub(super) struct DemoArgs {
    /// Seed of weights, latent and noise.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Picture to write.
    #[arg(long, value_name = "FILE", default_value = "pid-demo.png")]
    out: PathBuf,
    /// Side of the picture in pixels, a multiple of 32.
    #[arg(long, default_value_t = 512, value_parser = side)]
    size: usize,
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
    let drawing = sibling(&args.out, "-plan", "svg");
    output::check_target(&args.out)?;
    let progress = TerminalProgress::new(args.common.json);
    let begin = Instant::now();
    let config = Config::tiny();
    let checkpoint = Checkpoint::synthetic(&config, args.seed, &progress);
    let decoder = Decoder::builder().config(config.clone()).device(args.device).build(checkpoint)?;
    let grid = args.size / config.pixels_per_latent();
    let shape = [1, config.lq_latent_channels, grid, grid];
    let latent = Latent::new(synthetic::latent(&shape, args.seed), shape)?;
    let shape = [1, config.txt_max_length, config.txt_embed_dim];
    let caption = Caption::new(synthetic::caption(&shape, args.seed), shape)?;
    let request = Request { noise: NoiseSource::Philox { seed: args.seed }, ..Request::new(caption) };
    let load = begin.elapsed().as_secs_f64();

    let decoded = decoder.decode_observed(&latent, &request, &mut progress.observer())?;
    let begin = Instant::now();
    let info = picture_info(&decoder, &request, args.seed.to_string());
    let files = output::save(&decoded.picture, &args.out, &info)?;
    write_plan(&decoder, &latent, &request, &drawing)?;
    let mut report = report(&decoder, &decoded, &files, load, begin.elapsed().as_secs_f64());
    report.text.push_str(&format!(
        "\nplan of the decode drawn to {}\nThe weights are synthetic: expect texture, not a photograph. For pictures, give `pid decode` NVIDIA's released checkpoint.",
        shown(&drawing)
    ));
    report.json.insert("plan".into(), json!(shown(&drawing)));
    report.json.insert("synthetic".into(), json!(true));
    Ok(report.with_warnings(decoded.warnings))
}

fn write_plan(decoder: &Decoder, latent: &Latent, request: &Request, path: &Path) -> Result<(), CliError> {
    let program = decoder.program(decoder.options(latent, request.caption.tokens, false))?;
    let svg = program.plan.to_svg(&program.network.graph);
    Ok(output::write_atomic(path, |file| std::io::Write::write_all(file, svg.as_bytes()))?)
}
