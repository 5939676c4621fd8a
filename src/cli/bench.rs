//! `pid bench`: how long a decode takes, and where.

use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Args;
use serde_json::{Value, json};

use super::checkpoint_flags::CheckpointFlags;
use super::progress::TerminalProgress;
use super::report::{CliError, Report};
use super::seed::Seed;
use super::targets::{Kind, Targets, is_stream, stage_text};
use super::{Common, config_file, read_config, shown};
use crate::bench::{self, Bench, BenchOptions};
use crate::checkpoint::Checkpoint;
use crate::decoder::Decoder;
use crate::device::Device;
use crate::kernels::{KernelChoice, Tuning, TuningFile};
use crate::models::pid::{Config, Policy};
use crate::plan::ByteSize;
use crate::sampler::{Sampler, Schedule};

/// What is measured when nothing is named.
const DEFAULT_CONFIG: &str = "flux-v1.5";
/// Caption tokens of the released networks.
const TEXT_TOKENS: usize = 300;

#[derive(Debug, Args)]
pub(super) struct BenchArgs {
    /// Network of synthetic weights, a known name or CONFIG.json; flux-v1.5 by default.
    #[arg(long, value_name = "NAME|JSON")]
    config: Option<String>,
    /// Weights to use instead of synthetic ones, safetensors or .pth.
    #[arg(long, value_name = "FILE")]
    checkpoint: Option<PathBuf>,
    #[command(flatten)]
    flags: CheckpointFlags,
    /// Output width in pixels.
    #[arg(long, default_value_t = 1024)]
    width: usize,
    /// Output height in pixels.
    #[arg(long, default_value_t = 1024)]
    height: usize,
    /// Pictures decoded together.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    batch: u16,
    /// Caption tokens; 300 by default, or as many as the network takes.
    #[arg(long)]
    text_tokens: Option<usize>,
    /// Steps of the sampler, 1 to 4.
    #[arg(long, default_value_t = 4)]
    steps: usize,
    /// Decodes after the first one that are not timed; 1 on the CPU, 3 on a GPU.
    #[arg(long, value_name = "N")]
    warmup: Option<u16>,
    /// Decodes that are timed; 3 on the CPU, 20 on a GPU.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    runs: Option<u16>,
    /// Seed of weights, latent, caption and noise.
    #[arg(long, value_name = "N|random", default_value_t, allow_negative_numbers = true)]
    seed: Seed,
    /// Where to run; on the emulator, work is counted and nothing is run.
    #[arg(long, default_value = "auto")]
    device: Device,
    /// Kernels: auto (those made for the device, else the portable ones), portable.
    #[arg(long, default_value_t)]
    kernels: KernelChoice,
    /// Time every variant of the decode's kernels instead, and keep the fastest for later decodes (on sm_90a).
    #[arg(long)]
    tune: bool,
    /// Table of the fastest variants, read or, with --tune, added to; by default one for each kind of device in the user's
    /// cache folder.
    #[arg(long, value_name = "FILE")]
    tuning: Option<PathBuf>,
    /// Most memory for weights and activations, e.g. 8GiB.
    #[arg(long, value_name = "BYTES")]
    budget: Option<ByteSize>,
    /// Folder for a page with charts, index.html; made if it is not there.
    #[arg(long, value_name = "DIR")]
    report: Option<PathBuf>,
    #[command(flatten)]
    pub(super) common: Common,
}

pub(super) fn run(args: &BenchArgs) -> Result<Report, CliError> {
    Schedule::new(args.steps, Sampler::Sde).map_err(CliError::usage)?;
    args.flags.fits(args.checkpoint.as_deref())?;
    let named = args.config.as_deref().map(read_config).transpose()?;
    if args.checkpoint.is_none() {
        let config = named.clone().map_or_else(|| read_config(DEFAULT_CONFIG), Ok)?;
        args.options(&config, false).network(Policy::BF16).check(&config).map_err(CliError::usage)?;
    }
    tuning_fits(args.kernels, args.tuning.as_deref())?;
    if args.tune {
        return args.tune(named);
    }
    let mut targets = args.targets();
    let page = args.report.as_deref().map(|folder| folder.join("index.html"));
    if let (Some(folder), Some(page)) = (&args.report, &page) {
        targets.make_folder("report folder", folder)?;
        targets.add("--report", page, Kind::Page)?;
    }
    // A table's kernels are named only by a device that has them, which takes weights.
    let counted = matches!(args.device, Device::Emulator { .. }) && args.tuning.is_none();
    let (bench, synthetic) = if counted {
        let config = args.known_config(named)?;
        (bench::counts(&config, &args.options(&config, false), args.budget)?, args.checkpoint.is_none())
    } else {
        args.measure(named)?
    };
    let mut text = bench.text();
    let mut json = serde_json::to_value(&bench).map_err(CliError::failed)?;
    if let Some(map) = json.as_object_mut() {
        map.insert("synthetic".into(), json!(synthetic));
    }
    if let Some(path) = &page {
        targets.commit(vec![stage_text(path, &bench.page())?])?;
        text.push_str(&format!("\nreport: {}", shown(path)));
        if let Value::Object(map) = &mut json {
            map.insert("report".into(), json!(shown(path)));
        }
    }
    Ok(Report::new(text, json).with_seed(args.seed).with_warnings(bench.warnings))
}

impl BenchArgs {
    /// What is read. A table that is added to is written as well.
    fn targets(&self) -> Targets {
        let table = self.tuning.as_deref().filter(|_| !self.tune);
        let config = self.config.as_deref().and_then(config_file);
        Targets::reading([self.checkpoint.as_deref(), table, config].into_iter().flatten())
    }

    fn options(&self, config: &Config, gpu: bool) -> BenchOptions {
        BenchOptions {
            width: self.width,
            height: self.height,
            batch: usize::from(self.batch),
            text_tokens: self.text_tokens.unwrap_or(TEXT_TOKENS.min(config.txt_max_length)),
            steps: self.steps,
            seed: self.seed.value,
            warm_up: usize::from(self.warmup.unwrap_or(if gpu { 3 } else { 1 })),
            runs: usize::from(self.runs.unwrap_or(if gpu { 20 } else { 3 })),
        }
    }

    /// The config without reading more than a checkpoint's names.
    fn known_config(&self, named: Option<Config>) -> Result<Config, CliError> {
        match (named, &self.checkpoint) {
            (Some(config), _) => Ok(config),
            (None, Some(path)) => Ok(self.flags.open(path)?.into_network()?.detect_config()?),
            (None, None) => read_config(DEFAULT_CONFIG),
        }
    }

    /// Where the table is.
    fn tuning_file(&self) -> TuningFile {
        self.tuning.clone().map_or(TuningFile::Cached, TuningFile::At)
    }

    fn decoder(
        &self,
        named: Option<Config>,
        tuning: TuningFile,
        progress: &TerminalProgress,
    ) -> Result<Decoder, CliError> {
        let mut builder = Decoder::builder().device(self.device).kernels(self.kernels).tuning(tuning);
        if let Some(budget) = self.budget {
            builder = builder.budget(budget);
        }
        let (builder, checkpoint) = match &self.checkpoint {
            Some(path) => (named.into_iter().fold(builder, crate::DecoderBuilder::config), self.flags.open(path)?),
            None => {
                let config = self.known_config(named)?;
                let checkpoint = Checkpoint::synthetic(&config, self.seed.value, progress);
                (builder.config(config), checkpoint)
            }
        };
        Ok(builder.build(checkpoint)?)
    }

    /// The report, and whether the weights are synthetic.
    fn measure(&self, named: Option<Config>) -> Result<(Bench, bool), CliError> {
        let progress = TerminalProgress::new(self.common.json);
        let begin = Instant::now();
        let decoder = self.decoder(named, self.tuning_file(), &progress)?;
        if let Some(problem) = decoder.tuning_problem() {
            return Err(CliError::failed(problem));
        }
        let load = begin.elapsed().as_secs_f64();
        let is_emulated = matches!(self.device, Device::Emulator { .. });
        let gpu = decoder.device_name() != Device::Cpu.to_string();
        let options = self.options(decoder.config(), gpu);
        let mut observer = progress.observer();
        let bench = if is_emulated {
            bench::counts_on(&decoder, &options, &mut observer)?
        } else {
            bench::run(&decoder, &options, load, &mut observer)?
        };
        Ok((bench, self.checkpoint.is_none()))
    }

    /// Measures variants, and adds the fastest to the table. Wrong ones fail the command; the table has the others.
    fn tune(&self, named: Option<Config>) -> Result<Report, CliError> {
        if self.kernels == KernelChoice::Portable {
            return Err(CliError::usage("--tune with --kernels portable: portable kernels have no variants"));
        }
        let progress = TerminalProgress::new(self.common.json);
        let mut targets = self.targets();
        if let Some(path) = &self.tuning {
            prove_table(&mut targets, path)?;
        }
        // What is measured does not depend on what was.
        let decoder = self.decoder(named, TuningFile::None, &progress)?;
        let device = decoder.device_name();
        let path = self.tuning_file().path(&device)?.expect("it is one of the two that name a file");
        if self.tuning.is_none() {
            prove_table(&mut targets, &path)?;
        }
        // Nothing comes out of what only takes.
        let mut tuning = if is_stream(&path) { Tuning::new(&device) } else { Tuning::read_to_extend(&path, &device)? };
        let gpu = !matches!(self.device, Device::Emulator { .. });
        let options = self.options(decoder.config(), gpu);
        let found = bench::tune(&decoder, &options, &mut tuning, &mut progress.observer())?;
        super::signals::check()?;
        tuning.write(&path)?;
        let text = format!("{device}\n{}\ntable: {}", bench::table(&found), shown(&path));
        let warning = decoder.device_warning().map(str::to_owned);
        let json = json!({ "device": device, "table": shown(&path), "tuned": found });
        let report = Report::new(text, json).with_seed(self.seed).with_warnings(warning.into_iter().collect());
        let wrong = bench::wrong(&found);
        let failure = wrong.first().map(|first| match wrong.len() {
            1 => first.clone(),
            count => format!("{count} kernels are wrong and were not chosen; the first: {first}"),
        });
        Ok(Report { failure, ..report })
    }
}

/// Refuses a table where nothing would read it.
pub(super) fn tuning_fits(kernels: KernelChoice, tuning: Option<&Path>) -> Result<(), CliError> {
    match tuning {
        Some(path) if kernels == KernelChoice::Portable => {
            Err(CliError::usage(format!("--tuning {} with --kernels portable: they have no variants", shown(path))))
        }
        _ => Ok(()),
    }
}

/// Proves that the table can be written, its folder included.
fn prove_table(targets: &mut Targets, path: &Path) -> Result<(), CliError> {
    if let Some(folder) = path.parent().filter(|folder| *folder != Path::new("")) {
        targets.make_folder("folder", folder)?;
    }
    targets.add("--tuning", path, Kind::Table)
}
