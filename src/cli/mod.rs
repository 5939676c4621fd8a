//! The `pid` command: arguments in, library calls, one line or one JSON object out.
//!
//! Exit 0 done, 1 failed, 2 wrong usage. Errors are one line on stderr, and under `--json` one object with
//! `error` on stdout besides.

mod bench;
#[cfg(any(feature = "cuda", feature = "emulator"))]
mod check;
mod checkpoint_flags;
mod convert;
mod decode;
mod demo;
mod encode;
mod inputs;
mod inspect;
#[cfg(any(feature = "cuda", feature = "emulator"))]
mod junit;
mod plan;
mod progress;
mod report;
mod seed;
mod signals;
mod synth;
mod targets;

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::checkpoint::Checkpoint;
use crate::kind::Kind;
use crate::latent::Sigma;
use crate::latent::dct16::Statistics;
use crate::models::pid::{Config, Release};
use report::{CliError, Report};

/// Decodes latents of image generators to 2K and 4K pictures with NVIDIA's PiD network.
#[derive(Debug, Parser)]
#[command(name = "pid", version = env!("PID_VERSION"), propagate_version = true, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Decode a latent to a picture.
    Decode(decode::DecodeArgs),
    /// Encode a picture to a latent by a code that needs no weights.
    Encode(encode::EncodeArgs),
    /// Check every kernel against its oracle, on a GPU or the emulator.
    #[cfg(any(feature = "cuda", feature = "emulator"))]
    Check(check::CheckArgs),
    /// Print how much memory a decode takes, and where it goes.
    Plan(plan::PlanArgs),
    /// Measure how long a decode takes, launch by launch, against what the device can do.
    Bench(bench::BenchArgs),
    /// List what a checkpoint holds.
    Inspect(inspect::InspectArgs),
    /// Write a checkpoint (.pth or safetensors) as safetensors with its config inside.
    Convert(convert::ConvertArgs),
    /// Make a checkpoint of synthetic weights, for tests and benchmarks.
    Synth(synth::SynthArgs),
    /// Send a picture through a latent and back with the small model that comes with the program.
    Demo(demo::DemoArgs),
}

/// Flags of every command.
#[derive(Clone, Copy, Debug, Args)]
struct Common {
    /// Print one JSON object instead of text.
    #[arg(long)]
    json: bool,
}

impl Command {
    fn common(&self) -> Common {
        match self {
            Self::Decode(args) => args.common,
            Self::Encode(args) => args.common,
            #[cfg(any(feature = "cuda", feature = "emulator"))]
            Self::Check(args) => args.common,
            Self::Plan(args) => args.common,
            Self::Bench(args) => args.common,
            Self::Inspect(args) => args.common,
            Self::Convert(args) => args.common,
            Self::Synth(args) => args.common,
            Self::Demo(args) => args.common,
        }
    }

    fn run(self) -> Result<Report, CliError> {
        match self {
            Self::Decode(args) => decode::run(&args),
            Self::Encode(args) => encode::run(&args),
            #[cfg(any(feature = "cuda", feature = "emulator"))]
            Self::Check(args) => check::run(&args),
            Self::Plan(args) => plan::run(&args),
            Self::Bench(args) => bench::run(&args),
            Self::Inspect(args) => inspect::run(&args),
            Self::Convert(args) => convert::run(&args),
            Self::Synth(args) => synth::run(&args),
            Self::Demo(args) => demo::run(&args),
        }
    }
}

/// Runs the command line `args` (program name first).
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let args: Vec<OsString> = args.into_iter().collect();
    let cli = match Cli::try_parse_from(&args) {
        Ok(cli) => cli,
        Err(error) => {
            let json = args.iter().any(|a| a == "--json") && error.use_stderr();
            if json {
                report::print_error_object(error.to_string().trim());
            }
            // Nothing is left to tell when the terminal itself is gone.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    let json = cli.command.common().json;
    signals::handle(json);
    let result = cli.command.run();
    signals::begin_to_end();
    match result.and_then(|report| report.print(json)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => error.print(json),
    }
}

/// `--config`: a known name, or a JSON file with the official argument names.
fn read_config(name_or_path: &str) -> Result<Config, CliError> {
    if Release::by_name(name_or_path).is_some() || !looks_like_path(name_or_path) {
        return Config::by_name(name_or_path).map_err(CliError::usage);
    }
    let path = Path::new(name_or_path);
    let failed = |message: String| CliError::failed(format!("config file {}: {message}", path.display()));
    let bytes = std::fs::read(path).map_err(|e| failed(e.to_string()))?;
    match Kind::of(&bytes) {
        Some(Kind::Json | Kind::Settings | Kind::Text(_)) | None => {}
        Some(kind) => return Err(failed(format!("it is {kind}"))),
    }
    let text = String::from_utf8(bytes).map_err(|e| failed(e.to_string()))?;
    Config::from_json(&text).map_err(|e| CliError::failed(format!("{}: {e}", path.display())))
}

/// The file that `--config` names, if it names one.
fn config_file(name_or_path: &str) -> Option<&Path> {
    Release::by_name(name_or_path).is_none().then(|| Path::new(name_or_path))
}

fn looks_like_path(text: &str) -> bool {
    text.ends_with(".json") || text.contains(std::path::MAIN_SEPARATOR) || Path::new(text).exists()
}

/// `--sigma` of a command that takes one picture.
fn one_sigma(text: &str) -> Result<Sigma, String> {
    let sigma: Sigma = text.parse().map_err(|e| format!("{e}"))?;
    if sigma.values().len() == 1 { Ok(sigma) } else { Err("one picture has one sigma".into()) }
}

/// The value of such a `--sigma`: the shortest decimal number, not the float32 next to it.
fn sigma_json(sigma: &Sigma) -> serde_json::Value {
    serde_json::json!(sigma.values()[0].to_string().parse::<f64>().unwrap_or_default())
}

/// What the checkpoint at `path` has its latents normalized by.
fn dct16_statistics(path: &Path, checkpoint: &Checkpoint) -> Result<Statistics, CliError> {
    Statistics::from_metadata(checkpoint.metadata())?.ok_or_else(|| {
        CliError::failed(format!("{}: not trained on dct16 latents (no dct16.mean in its metadata)", shown(path)))
    })
}

/// A path for a message or a JSON value.
fn shown(path: &Path) -> String {
    path.display().to_string()
}
