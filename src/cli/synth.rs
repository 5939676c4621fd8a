//! `pid synth`: a checkpoint of synthetic weights.

use std::path::PathBuf;
use std::time::Instant;

use clap::Args;
use serde_json::json;

use super::progress::TerminalProgress;
use super::report::{CliError, Report};
use super::seed::Seed;
use super::targets::{Kind, Targets, output_path};
use super::{Common, config_file, read_config, shown};
use crate::checkpoint::synthetic;
use crate::plan::ByteSize;

#[derive(Debug, Args)]
pub(super) struct SynthArgs {
    /// Network: a known name or CONFIG.json.
    #[arg(long, value_name = "NAME|JSON")]
    config: String,
    /// Seed of the weights.
    #[arg(long, value_name = "N|random", default_value_t, allow_negative_numbers = true)]
    seed: Seed,
    /// File to write, .safetensors; `-` is standard output.
    #[arg(long, value_name = "FILE", value_parser = output_path())]
    out: PathBuf,
    #[command(flatten)]
    pub(super) common: Common,
}

pub(super) fn run(args: &SynthArgs) -> Result<Report, CliError> {
    let mut targets = Targets::reading(config_file(&args.config));
    targets.add("--out", &args.out, Kind::Checkpoint)?;
    let config = read_config(&args.config)?;
    let progress = TerminalProgress::new(args.common.json);
    let begin = Instant::now();
    let bytes = synthetic::to_file(&config, args.seed.value, &args.out, &progress)?;
    let seconds = begin.elapsed().as_secs_f64();
    let text = format!("{}: {config}, seed {}, {} in {seconds:.2} s", shown(&args.out), args.seed, ByteSize(bytes));
    let json = json!({
        "out": shown(&args.out),
        "config": config,
        "seed": args.seed.value,
        "bytes": bytes,
        "seconds": { "total": seconds },
    });
    Ok(Report::new(text, json))
}
