//! `pid synth`: a checkpoint of synthetic weights.

use std::path::PathBuf;
use std::time::Instant;

use clap::Args;
use serde_json::json;

use super::progress::TerminalProgress;
use super::report::{CliError, Report};
use super::{Common, read_config, shown};
use crate::checkpoint::synthetic;
use crate::plan::ByteSize;

#[derive(Debug, Args)]
pub(super) struct SynthArgs {
    /// Network: a known name or CONFIG.json.
    #[arg(long, value_name = "NAME|JSON")]
    config: String,
    /// Seed of the weights.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// File to write, safetensors.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    #[command(flatten)]
    pub(super) common: Common,
}

pub(super) fn run(args: &SynthArgs) -> Result<Report, CliError> {
    let config = read_config(&args.config)?;
    let progress = TerminalProgress::new(args.common.json);
    let begin = Instant::now();
    synthetic::to_file(&config, args.seed, &args.out, &progress)?;
    let seconds = begin.elapsed().as_secs_f64();
    let bytes = std::fs::metadata(&args.out).map(|m| m.len()).unwrap_or_default();
    let text = format!("{}: {config}, seed {}, {} in {seconds:.2} s", shown(&args.out), args.seed, ByteSize(bytes));
    let json = json!({
        "out": shown(&args.out),
        "config": config,
        "seed": args.seed,
        "bytes": bytes,
        "seconds": { "total": seconds },
    });
    Ok(Report::new(text, json))
}
