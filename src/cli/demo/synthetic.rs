//! A decode that needs no files: synthetic weights and latent.

use std::path::Path;
use std::time::Instant;

use serde_json::json;

use super::DemoArgs;
use crate::checkpoint::{Checkpoint, synthetic};
use crate::cli::decode::{picture_info, report};
use crate::cli::progress::TerminalProgress;
use crate::cli::report::{CliError, Report};
use crate::cli::{shown, sibling};
use crate::decoder::{Decoder, Request};
use crate::latent::{Caption, Latent};
use crate::model::Config;
use crate::output;
use crate::sampler::NoiseSource;

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
