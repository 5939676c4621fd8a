//! `pid decode`: latent and caption files to a picture.

use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Args;
use serde_json::{Value, json};

use super::bench::tuning_fits;
use super::checkpoint_flags::CheckpointFlags;
use super::inputs::{are_read_once, open_caption};
use super::progress::TerminalProgress;
use super::report::{CliError, Report};
use super::seed::Seed;
use super::targets::{Kind, Targets, output_path};
use super::{Common, config_file, read_config, shown};
use crate::decoder::{Decoded, Decoder, Request};
use crate::device::Device;
use crate::kernels::{KernelChoice, TuningFile};
use crate::latent::{
    Backbone, BatchNorm, Caption, Latent, LatentFrame, LatentOptions, Sigma, TensorFile, disagreements,
};
use crate::models::pid::Policy;
use crate::output::{self, PictureInfo, SOFTWARE};
use crate::plan::ByteSize;
use crate::sampler::{NoiseSource, Sampler, Schedule};

/// The generator of the sampler's noise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
enum Rng {
    /// Counter-based, the same on every device.
    #[default]
    Philox,
    /// What `torch.randn` draws on the CPU with `torch.Generator().manual_seed(seed)`.
    TorchCpu,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
enum SamplerKind {
    /// Fresh noise in every step, as distilled.
    #[default]
    Sde,
    /// Deterministic after the first noise.
    Ode,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Frame {
    /// The space the generator denoises in.
    Normalized,
    /// As the VAE's encoder gives it.
    Raw,
}

#[derive(Debug, Args)]
pub(super) struct DecodeArgs {
    /// PiD weights, safetensors (or the index of several) or .pth.
    #[arg(long, value_name = "FILE")]
    checkpoint: PathBuf,
    #[command(flatten)]
    flags: CheckpointFlags,
    /// Network of the checkpoint, a known name or CONFIG.json, where the file does not say.
    #[arg(long, value_name = "NAME|JSON")]
    config: Option<String>,
    /// Generator of the latent: flux, flux2, sd3, sdxl, qwenimage, zimage, dinov2, siglip.
    #[arg(long)]
    backbone: Option<Backbone>,
    /// Latent: safetensors (tensor `latent`), ComfyUI's .latent, .pt, .npy or .npz; `-` is standard input.
    #[arg(long, value_name = "FILE")]
    latent: PathBuf,
    /// Caption embeddings [B, T, 2304], safetensors (tensor `caption`), .pt, .npy or .npz.
    #[arg(long, value_name = "FILE")]
    caption: Option<PathBuf>,
    /// How noisy the latent still is, 0 to 1; one value, or one per sample.
    #[arg(long, value_name = "S[,S...]", conflicts_with = "euler_sigma")]
    sigma: Option<Sigma>,
    /// SDXL: sigma of the Euler scheduler the latent comes from; converts latent and sigma.
    #[arg(long, value_name = "S")]
    euler_sigma: Option<f64>,
    /// Space the latent is in; by default normalized, but for ComfyUI's files and FLUX.2's [B, 32, h, w], which are raw.
    #[arg(long, value_enum)]
    latent_frame: Option<Frame>,
    /// FLUX.2: the VAE's file or folder, whose batch norm raw latents are normalized by.
    #[arg(long, value_name = "FILE")]
    vae: Option<PathBuf>,
    /// Output width in pixels; needed for packed token latents, else checked.
    #[arg(long, requires = "height")]
    width: Option<usize>,
    /// Output height in pixels.
    #[arg(long, requires = "width")]
    height: Option<usize>,
    /// Seed of the noise.
    #[arg(long, value_name = "N|random", default_value_t, conflicts_with = "noise", allow_negative_numbers = true)]
    seed: Seed,
    /// Generator of the noise.
    #[arg(long, value_enum, default_value_t)]
    rng: Rng,
    /// Noise to use instead: tensors noise.0 .. noise.3, [B, 3, H, W] each.
    #[arg(long, value_name = "FILE")]
    noise: Option<PathBuf>,
    /// Steps of the sampler, 1 to 4.
    #[arg(long, default_value_t = 4)]
    steps: usize,
    /// Way from step to step.
    #[arg(long, value_enum, default_value_t)]
    sampler: SamplerKind,
    /// Where to run.
    #[arg(long, default_value = "auto")]
    device: Device,
    /// Number formats, f32 or bf16; the device's by default. The CPU knows both, kernels compute in bf16.
    #[arg(long, value_parser = str::parse::<Policy>)]
    precision: Option<Policy>,
    /// Kernels: auto (those made for the device, else the portable ones), portable.
    #[arg(long, default_value_t)]
    kernels: KernelChoice,
    /// Table of the fastest variants that `pid bench --tune` wrote; by default the device's in the user's cache folder.
    #[arg(long, value_name = "FILE")]
    tuning: Option<PathBuf>,
    /// Most memory for weights and activations, e.g. 8GiB.
    #[arg(long, value_name = "BYTES")]
    budget: Option<ByteSize>,
    /// Picture: .png, .jpg, or .safetensors ([B, 3, H, W] float32 as `image`); `-` is standard output, which gets PNG and
    /// leaves the report to standard error. Pipes and devices without one of those extensions get PNG, too.
    #[arg(long, value_name = "FILE", value_parser = output_path())]
    out: PathBuf,
    #[command(flatten)]
    pub(super) common: Common,
}

pub(super) fn run(args: &DecodeArgs) -> Result<Report, CliError> {
    let sampler = args.sampler();
    Schedule::new(args.steps, sampler).map_err(CliError::usage)?;
    let mut targets = args.targets()?;
    tuning_fits(args.kernels, args.tuning.as_deref())?;
    let config = args.config.as_deref().map(read_config).transpose()?;
    let progress = TerminalProgress::new(args.common.json);
    let mut warnings = Vec::new();

    let begin = Instant::now();
    let inputs = Inputs::open(args)?;
    let checkpoint = args.flags.open(&args.checkpoint)?;
    let tuning = args.tuning.clone().map_or(TuningFile::Cached, TuningFile::At);
    let mut builder = Decoder::builder().device(args.device).kernels(args.kernels).tuning(tuning);
    if let Some(precision) = args.precision {
        builder = builder.precision(precision);
    }
    if let Some(config) = config {
        builder = builder.config(config);
    }
    if let Some(backbone) = args.backbone {
        builder = builder.backbone(backbone);
    }
    if let Some(budget) = args.budget {
        builder = builder.budget(budget);
    }
    let decoder = builder.build(checkpoint)?;
    let (latent, euler) = args.latent(&inputs.latent, &decoder, &mut warnings)?;
    let request = Request {
        caption: caption(inputs.caption.as_ref(), &decoder, &mut warnings)?,
        sigma: euler.or_else(|| args.sigma.clone()).unwrap_or_default(),
        steps: args.steps,
        sampler,
        noise: args.noise_source(inputs.noise.as_ref(), &mut warnings)?,
    };
    warnings.extend(disagreements(&inputs.latent.metadata(), decoder.checkpoint().metadata(), &request.sigma)?);
    targets.add_batch("--out", &args.out, latent.batch)?;
    let load = begin.elapsed().as_secs_f64();

    let decoded = decoder.decode_observed(&latent, &request, &mut progress.observer())?;
    let begin = Instant::now();
    let info = picture_info(&decoder, &request, args.seed_text());
    let files = targets.commit(output::stage(&decoded.picture, &args.out, &info)?)?;
    let save = begin.elapsed().as_secs_f64();
    warnings.extend(decoded.warnings.iter().cloned());
    let report = report(&decoder, &decoded, &files, load, save).with_warnings(warnings);
    Ok(if args.noise.is_none() { report.with_seed(args.seed) } else { report })
}

/// The files of a decode, opened before anything is computed; pipes are read then.
struct Inputs {
    latent: TensorFile,
    caption: Option<TensorFile>,
    noise: Option<TensorFile>,
}

impl Inputs {
    fn open(args: &DecodeArgs) -> Result<Self, CliError> {
        are_read_once(&[
            ("--latent", Some(&args.latent)),
            ("--caption", args.caption.as_deref()),
            ("--noise", args.noise.as_deref()),
        ])?;
        Ok(Self {
            latent: TensorFile::open(&args.latent)?,
            caption: args.caption.as_deref().map(open_caption).transpose()?,
            noise: args.noise.as_deref().map(TensorFile::open).transpose()?,
        })
    }
}

fn caption(file: Option<&TensorFile>, decoder: &Decoder, warnings: &mut Vec<String>) -> Result<Caption, CliError> {
    if let Some(file) = file {
        return Ok(Caption::from_tensor(file.tensor("caption", warnings)?)?);
    }
    let config = decoder.config();
    if !Caption::is_never_given(decoder.checkpoint().metadata()) {
        warnings.push(format!(
            "no --caption: {} zero embeddings stand in; a released network was trained with Gemma-2 embeddings and decodes worse without",
            config.txt_max_length
        ));
    }
    Ok(Caption::zeros(config))
}

impl DecodeArgs {
    /// What is read, and proof that the picture can be written.
    fn targets(&self) -> Result<Targets, CliError> {
        let given = [&self.caption, &self.noise, &self.vae, &self.tuning].into_iter().flatten();
        let files = given.chain([&self.checkpoint, &self.latent]).map(PathBuf::as_path);
        let mut targets = Targets::reading(files.chain(self.config.as_deref().and_then(config_file)));
        targets.add("--out", &self.out, Kind::Picture)?;
        Ok(targets)
    }

    fn sampler(&self) -> Sampler {
        match self.sampler {
            SamplerKind::Sde => Sampler::Sde,
            SamplerKind::Ode => Sampler::Ode,
        }
    }

    fn latent(
        &self,
        file: &TensorFile,
        decoder: &Decoder,
        warnings: &mut Vec<String>,
    ) -> Result<(Latent, Option<Sigma>), CliError> {
        let (tensor, told) = file.latent(warnings)?;
        let asked = self.latent_frame.map(|frame| match frame {
            Frame::Normalized => LatentFrame::Normalized,
            Frame::Raw => LatentFrame::Raw,
        });
        if asked.is_none() && tensor.name == "samples" {
            warnings.push(
                "latent: `samples` is ComfyUI's name, whose latents are raw; if it is one, say --latent-frame raw"
                    .into(),
            );
        }
        let options = LatentOptions {
            backbone: decoder.backbone(),
            output: self.width.zip(self.height),
            frame: asked.or(told),
            vae: self.vae.as_deref().map(BatchNorm::open).transpose()?,
            euler_sigma: self.euler_sigma,
        };
        Ok(Latent::from_tensor(tensor, decoder.config(), &options, warnings)?)
    }

    fn noise_source(&self, file: Option<&TensorFile>, warnings: &mut Vec<String>) -> Result<NoiseSource, CliError> {
        Ok(match (file, self.rng) {
            (Some(file), _) => file.noise(warnings)?,
            (None, Rng::Philox) => NoiseSource::Philox { seed: self.seed.value },
            (None, Rng::TorchCpu) => NoiseSource::TorchCpu { seed: self.seed.value },
        })
    }

    /// What the picture's `seed` chunk says.
    fn seed_text(&self) -> String {
        match (&self.noise, self.rng) {
            (Some(path), _) => format!("noise file {}", file_name(path)),
            (None, Rng::Philox) => self.seed.to_string(),
            (None, Rng::TorchCpu) => format!("{} (torch-cpu)", self.seed),
        }
    }
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// What is recorded in the picture's text chunks.
pub(super) fn picture_info(decoder: &Decoder, request: &Request, seed: String) -> PictureInfo {
    let times = Schedule::new(request.steps, request.sampler).map(|s| s.times).unwrap_or_default();
    let join = |values: &mut dyn Iterator<Item = String>| values.collect::<Vec<_>>().join(",");
    vec![
        ("Software".into(), SOFTWARE.into()),
        ("pid.seed".into(), seed),
        ("pid.sigma".into(), join(&mut request.sigma.values().iter().map(f32::to_string))),
        ("pid.steps".into(), request.steps.to_string()),
        ("pid.schedule".into(), format!("{} {}", request.sampler, join(&mut times.iter().map(f64::to_string)))),
        ("pid.config".into(), decoder.config().to_json()),
        ("pid.checkpoint".into(), decoder.checkpoint().fingerprint()),
    ]
}

/// The report of a decode.
pub(super) fn report(decoder: &Decoder, decoded: &Decoded, files: &[PathBuf], load: f64, save: f64) -> Report {
    let picture = &decoded.picture;
    let timings = &decoded.timings;
    let steps: f64 = timings.steps.iter().sum();
    let total = load + timings.plan + timings.prepare + steps + save;
    let peak = crate::memory::peak_resident_bytes();
    let names = files.iter().map(|f| shown(f)).collect::<Vec<_>>();
    let text = format!(
        "{}: {}x{}{}, {:.2} s on {} (load {:.2}, prepare {:.2}, {} steps {:.2}, save {:.2}); peak memory {}",
        names.join(", "),
        picture.width,
        picture.height,
        if picture.batch > 1 { format!(" x {}", picture.batch) } else { String::new() },
        total,
        decoder.device_name(),
        load + timings.plan,
        timings.prepare,
        timings.steps.len(),
        steps,
        save,
        peak.map_or_else(|| "unknown".to_owned(), |b| ByteSize(b).to_string()),
    );
    let json = json!({
        "out": names,
        "device": decoder.device_name(),
        "config": decoder.config().name(),
        "width": picture.width,
        "height": picture.height,
        "batch": picture.batch,
        "peak_bytes": peak.map_or(Value::Null, Value::from),
        "planned_bytes": decoded.planned_bytes,
        "seconds": {
            "load": load,
            "plan": timings.plan,
            "prepare": timings.prepare,
            "steps": timings.steps,
            "save": save,
            "total": total,
        },
    });
    Report::new(text, json)
}
