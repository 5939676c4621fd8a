//! `pid convert`: a checkpoint as safetensors with its config in the metadata.

use std::path::PathBuf;
use std::time::Instant;

use clap::Args;
use serde_json::json;

use super::checkpoint_flags::CheckpointFlags;
use super::progress::TerminalProgress;
use super::report::{CliError, Report};
use super::targets::{Kind, Targets, output_path};
use super::{Common, config_file, read_config, shown};
use crate::checkpoint;
use crate::plan::ByteSize;

#[derive(Debug, Args)]
pub(super) struct ConvertArgs {
    /// Checkpoint, .pth or safetensors.
    #[arg(value_name = "FILE")]
    checkpoint: PathBuf,
    #[command(flatten)]
    flags: CheckpointFlags,
    /// Network of the checkpoint, where its tensors do not say.
    #[arg(long, value_name = "NAME|JSON")]
    config: Option<String>,
    /// File to write, .safetensors; `-` is standard output.
    #[arg(long, value_name = "FILE", value_parser = output_path())]
    out: PathBuf,
    #[command(flatten)]
    pub(super) common: Common,
}

pub(super) fn run(args: &ConvertArgs) -> Result<Report, CliError> {
    let config_file = args.config.as_deref().and_then(config_file);
    let mut targets = Targets::reading([args.checkpoint.as_path()].into_iter().chain(config_file));
    targets.add("--out", &args.out, Kind::Checkpoint)?;
    let config = args.config.as_deref().map(read_config).transpose()?;
    let progress = TerminalProgress::new(args.common.json);
    let begin = Instant::now();
    let network = args.flags.open(&args.checkpoint)?.into_network()?;
    let config = match config {
        Some(config) => config,
        None => network.detect_config()?,
    };
    network.check(&config)?;
    let bytes = checkpoint::convert(&network, &config, &args.out, &progress)?;
    let seconds = begin.elapsed().as_secs_f64();
    let text = format!("{}: {config}, {} in {seconds:.2} s", shown(&args.out), ByteSize(bytes));
    let json = json!({
        "out": shown(&args.out),
        "config": config,
        "bytes": bytes,
        "seconds": { "total": seconds },
    });
    Ok(Report::new(text, json).with_warnings(network.warnings().to_vec()))
}
