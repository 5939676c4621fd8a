//! `pid encode`: a picture to a latent file, and to what a decode without a network makes of it.

use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Args;
use serde_json::json;

use super::inputs::{colours_json, colours_text};
use super::report::{CliError, Report};
use super::seed::Seed;
use super::targets::{Kind, Targets, output_path};
use super::{Common, dct16_statistics, one_sigma, shown, sigma_json};
use crate::checkpoint::Checkpoint;
use crate::latent::dct16::{self, Statistics};
use crate::latent::{Colour, Latent, LatentRecord, PictureFile, Sigma};
use crate::output::{self, Pending, Picture, SOFTWARE};

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
    #[arg(long, value_name = "N|random", default_value_t, requires = "sigma", allow_negative_numbers = true)]
    seed: Seed,
    /// Picture to write besides: what the latent holds, by inverse cosine transform and bicubic enlargement alone.
    #[arg(long, value_name = "FILE", value_parser = output_path())]
    preview: Option<PathBuf>,
    /// Latent to write, .safetensors; `-` is standard output.
    #[arg(long, value_name = "FILE", value_parser = output_path())]
    out: PathBuf,
    #[command(flatten)]
    pub(super) common: Common,
}

pub(super) fn run(args: &EncodeArgs) -> Result<Report, CliError> {
    let mut targets = Targets::reading([Some(args.image.as_path()), args.checkpoint.as_deref()].into_iter().flatten());
    targets.add("--out", &args.out, Kind::Latent)?;
    if let Some(preview) = &args.preview {
        targets.add("--preview", preview, Kind::Picture)?;
    }
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
    let latent = dct16::encode(&picture, &statistics)?.noised(&args.sigma, args.seed.value)?;
    let sigma = args.sigma.values()[0];
    let (width, height) = (picture.width, picture.height);
    let record = LatentRecord { width, height, sigma, seed: args.seed.value, statistics };
    let mut pending = vec![record.stage(&latent, &args.out)?];
    let preview = args.preview.as_deref().map(|path| stage_preview(path, &latent, &record, &picture)).transpose()?;
    let preview = preview.map(|(pictures, psnr)| {
        pending.extend(pictures);
        psnr
    });
    targets.commit(pending)?;

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
        "seconds": { "total": seconds },
    });
    if let (Some(path), Some(psnr)) = (&args.preview, preview) {
        text.push_str(&format!("\n{}: the latent without a network, {psnr:.2} dB", shown(path)));
        report["preview"] = json!(shown(path));
        report["baseline_psnr_db"] = json!(psnr);
    }
    Ok(Report::new(text, report).with_seed(args.seed).with_warnings(warnings))
}

/// The baseline, and its distance from the picture.
fn stage_preview(
    path: &Path,
    latent: &Latent,
    record: &LatentRecord,
    picture: &Picture,
) -> Result<(Vec<Pending>, f64), CliError> {
    let baseline = dct16::decode(latent, &record.statistics)?;
    let info = vec![("Software".to_owned(), SOFTWARE.to_owned())];
    let pending = output::stage(&baseline, path, &info)?;
    let psnr = baseline.psnr_db(picture).expect("a baseline has the size of the picture it was encoded from");
    Ok((pending, psnr))
}
