//! `pid encode`: a picture to a latent file, and to what a decode without a network makes of it.

use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Args;
use serde_json::json;

use super::inputs::{colours_json, colours_text};
use super::report::{CliError, Report};
use super::{Common, dct16_statistics, keeps, one_sigma, shown, sigma_json};
use crate::checkpoint::Checkpoint;
use crate::latent::dct16::{self, Statistics};
use crate::latent::{Colour, Latent, LatentRecord, PictureFile, Sigma};
use crate::output::{self, Picture, SOFTWARE};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
enum Codec {
    /// 16 cosine coefficients per block of 32x32 pixels; no weights.
    #[default]
    Dct16,
}

#[derive(Debug, Args)]
pub(super) struct EncodeArgs {
    /// Code of the latent.
    #[arg(long, value_enum, default_value_t)]
    codec: Codec,
    /// Picture, .png or .jpg, `-` for standard input; both sides multiples of 32.
    #[arg(long, value_name = "FILE")]
    image: PathBuf,
    /// Lay a picture that is not opaque on this colour: white, black or #rrggbb.
    #[arg(long, value_name = "COLOR")]
    flatten: Option<Colour>,
    /// Take the middle of a picture of another size: at most 31 rows and columns are cut off.
    #[arg(long)]
    crop: bool,
    /// PiD weights to encode for: those that were trained on other statistics than the demo model's.
    #[arg(long, value_name = "FILE")]
    checkpoint: Option<PathBuf>,
    /// Noise level to bring the latent to, 0 (clean) to 1.
    #[arg(long, value_name = "S", value_parser = one_sigma, default_value = "0")]
    sigma: Sigma,
    /// Seed of that noise.
    #[arg(long, default_value_t = 0, requires = "sigma")]
    seed: u64,
    /// Picture to write besides: what the latent holds, by inverse cosine transform and bicubic enlargement alone.
    #[arg(long, value_name = "FILE")]
    preview: Option<PathBuf>,
    /// Latent to write, safetensors.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    #[command(flatten)]
    pub(super) common: Common,
}

pub(super) fn run(args: &EncodeArgs) -> Result<Report, CliError> {
    check_targets(args)?;
    let begin = Instant::now();
    let statistics = match &args.checkpoint {
        Some(path) => dct16_statistics(path, &Checkpoint::open(path)?)?,
        None => Statistics::default(),
    };
    let Codec::Dct16 = args.codec;
    let mut read = PictureFile::open(&args.image, args.flatten)?;
    let (colours, converted) = (colours_json(&read), colours_text(&read));
    let warnings = std::mem::take(&mut read.warnings);
    let full = (read.picture.width, read.picture.height);
    let picture = if args.crop { dct16::crop(read.picture)? } else { read.picture };
    let latent = dct16::encode(&picture, &statistics)?.noised(&args.sigma, args.seed)?;
    let sigma = args.sigma.values()[0];
    let (width, height) = (picture.width, picture.height);
    let record = LatentRecord { width, height, sigma, seed: args.seed, statistics };
    let pending = record.stage(&latent, &args.out)?;
    let preview = args.preview.as_deref().map(|path| write_preview(path, &latent, &record, &picture)).transpose()?;
    pending.commit()?;

    let seconds = begin.elapsed().as_secs_f64();
    let shape = [latent.batch, latent.channels, latent.height, latent.width];
    let cut = if full == (width, height) { String::new() } else { format!(" of {}x{}", full.0, full.1) };
    let mut text =
        format!("{}: {width}x{height}{cut} as {shape:?}, sigma {sigma}, {seconds:.2} s{converted}", shown(&args.out));
    let mut report = json!({
        "out": shown(&args.out),
        "codec": "dct16",
        "colors": colours,
        "width": width,
        "height": height,
        "shape": shape,
        "sigma": sigma_json(&args.sigma),
        "seed": args.seed,
        "seconds": { "total": seconds },
    });
    if let (Some(path), Some(psnr)) = (&args.preview, preview) {
        text.push_str(&format!("\n{}: the latent without a network, {psnr:.2} dB", shown(path)));
        report["preview"] = json!(shown(path));
        report["baseline_psnr_db"] = json!(psnr);
    }
    Ok(Report::new(text, report).with_warnings(warnings))
}

/// Refuses what could only fail after the work.
fn check_targets(args: &EncodeArgs) -> Result<(), CliError> {
    let extension = args.out.extension().unwrap_or_default().to_string_lossy().to_lowercase();
    if extension != "safetensors" {
        return Err(CliError::failed(format!("{}: a latent is written as .safetensors", shown(&args.out))));
    }
    output::check_target(&args.out)?;
    keeps(&args.out, args.checkpoint.as_deref())?;
    if let Some(preview) = &args.preview {
        output::check_target(preview)?;
        keeps(preview, [args.image.as_path()])?;
    }
    if args.preview.as_ref() == Some(&args.out) {
        return Err(CliError::usage(format!("--preview and --out both name {}", shown(&args.out))));
    }
    Ok(())
}

/// Writes the baseline and returns its distance from the picture.
fn write_preview(path: &Path, latent: &Latent, record: &LatentRecord, picture: &Picture) -> Result<f64, CliError> {
    let baseline = dct16::decode(latent, &record.statistics)?;
    let info = vec![("Software".to_owned(), SOFTWARE.to_owned())];
    output::save(&baseline, path, &info)?;
    Ok(baseline.psnr_db(picture).expect("a baseline has the size of the picture it was encoded from"))
}
