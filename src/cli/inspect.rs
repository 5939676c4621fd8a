//! `pid inspect`: what a checkpoint holds, and which network it is.

use std::fmt::Write;
use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};

use super::checkpoint_flags::CheckpointFlags;
use super::report::{CliError, Report};
use super::{Common, shown};
use crate::checkpoint::Checkpoint;
use crate::plan::ByteSize;

#[derive(Debug, Args)]
pub(super) struct InspectArgs {
    /// Checkpoint, safetensors or .pth.
    #[arg(value_name = "FILE")]
    checkpoint: PathBuf,
    #[command(flatten)]
    flags: CheckpointFlags,
    /// List every tensor.
    #[arg(long)]
    tensors: bool,
    #[command(flatten)]
    pub(super) common: Common,
}

pub(super) fn run(args: &InspectArgs) -> Result<Report, CliError> {
    let checkpoint = args.flags.open(&args.checkpoint)?;
    let mut text = String::new();
    let mut tensors = Vec::new();
    let mut elements = 0usize;
    let mut bytes = 0u64;
    for name in checkpoint.names() {
        let Some(view) = checkpoint.get(name) else { continue };
        elements += view.len();
        bytes += view.bytes.len() as u64;
        if args.tensors {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{name}  {}  {:?}", view.dtype, view.shape);
        }
        tensors.push(json!({ "name": name, "dtype": view.dtype.to_string(), "shape": view.shape }));
    }
    let metadata = checkpoint.metadata().clone();
    let format = checkpoint.format().to_string();
    let _ = write!(
        text,
        "{}: {format}, {} tensors, {elements} elements, {}",
        shown(&args.checkpoint),
        tensors.len(),
        ByteSize(bytes)
    );
    let mut json = json!({
        "checkpoint": shown(&args.checkpoint),
        "format": format,
        "num_tensors": tensors.len(),
        "elements": elements,
        "bytes": bytes,
        "metadata": metadata,
    });
    let warnings = describe_network(checkpoint, &mut text, &mut json);
    if args.tensors {
        json["tensors"] = Value::Array(tensors);
    }
    Ok(Report::new(text, json).with_warnings(warnings))
}

/// Adds what network it is, if it is one of ours; the warnings.
fn describe_network(checkpoint: Checkpoint, text: &mut String, json: &mut Value) -> Vec<String> {
    let warnings = checkpoint.warnings().to_vec();
    let network = checkpoint.into_network().and_then(|network| {
        let config = network.detect_config()?;
        network.check(&config)?;
        Ok((config, network))
    });
    let (config, network) = match network {
        Ok(found) => found,
        Err(error) => {
            let _ = write!(text, "\nnot a PiD decoder as it is: {error}");
            json["network"] = Value::Null;
            json["network_error"] = json!(error.to_string());
            return warnings;
        }
    };
    let fingerprint = network.fingerprint();
    let _ = write!(text, "\n{}: {config}", config.name().unwrap_or("unnamed config"));
    json["network"] = json!({ "name": config.name(), "config": config, "fingerprint": fingerprint });
    let quantised = network.quantisation();
    if !quantised.is_empty() {
        let ways: Vec<String> = quantised.iter().map(|(how, count)| format!("{how} ({count} tensors)")).collect();
        let _ = write!(text, "\nquantised, read as bf16: {}", ways.join("; "));
        json["network"]["quantised"] = json!(quantised);
    }
    let _ = write!(text, "\nfingerprint {fingerprint}");
    network.warnings().to_vec()
}
