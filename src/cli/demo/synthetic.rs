//! A decode that needs no files: synthetic weights and latent.

use std::time::Instant;

use serde_json::json;

use super::DemoArgs;
use crate::checkpoint::{Checkpoint, synthetic};
use crate::cli::decode::{picture_info, report};
use crate::cli::progress::TerminalProgress;
use crate::cli::report::{CliError, Report};
use crate::cli::shown;
use crate::cli::targets::{Kind, Targets, is_stream, stage_text};
use crate::decoder::{Decoder, Request};
use crate::latent::{Caption, Latent};
use crate::models::pid::Config;
use crate::output;
use crate::sampler::NoiseSource;

pub(super) fn run(args: &DemoArgs) -> Result<Report, CliError> {
    let drawing = (!is_stream(&args.out)).then(|| output::beside(&args.out, "-plan", "svg"));
    let mut targets = Targets::reading([]);
    targets.add("--out", &args.out, Kind::Picture)?;
    drawing.as_deref().map_or(Ok(()), |path| targets.add("the plan", path, Kind::Drawing))?;
    let progress = TerminalProgress::new(args.common.json);
    let begin = Instant::now();
    let config = Config::tiny();
    let checkpoint = Checkpoint::synthetic(&config, args.seed.value, &progress);
    let decoder = Decoder::builder().config(config.clone()).device(args.device).build(checkpoint)?;
    let grid = args.size / config.pixels_per_latent();
    let shape = [1, config.lq_latent_channels, grid, grid];
    let latent = Latent::new(synthetic::latent(&shape, args.seed.value), shape)?;
    let shape = [1, config.txt_max_length, config.txt_embed_dim];
    let caption = Caption::new(synthetic::caption(&shape, args.seed.value), shape)?;
    let request = Request { noise: NoiseSource::Philox { seed: args.seed.value }, ..Request::new(caption) };
    let load = begin.elapsed().as_secs_f64();

    let decoded = decoder.decode_observed(&latent, &request, &mut progress.observer())?;
    let begin = Instant::now();
    let info = picture_info(&decoder, &request, args.seed.to_string());
    let mut pending = output::stage(&decoded.picture, &args.out, &info)?;
    if let Some(path) = &drawing {
        pending.push(stage_text(path, &plan(&decoder, &latent, &request)?)?);
    }
    targets.commit(pending)?;
    let files = std::slice::from_ref(&args.out);
    let mut report = report(&decoder, &decoded, files, load, begin.elapsed().as_secs_f64());
    if let Some(path) = &drawing {
        report.text.push_str(&format!("\nplan of the decode drawn to {}", shown(path)));
        report.json.insert("plan".into(), json!(shown(path)));
    }
    report.text.push_str(
        "\nThe weights are synthetic: expect texture, not a photograph. For pictures, give `pid decode` NVIDIA's released checkpoint.",
    );
    report.json.insert("synthetic".into(), json!(true));
    Ok(report.with_seed(args.seed).with_warnings(decoded.warnings))
}

/// A drawing of the decode's plan.
fn plan(decoder: &Decoder, latent: &Latent, request: &Request) -> Result<String, CliError> {
    let program = decoder.program(decoder.options(latent, request.caption.tokens, false))?;
    Ok(program.plan.to_svg(&program.graph))
}
