//! A photograph to a latent, and back by the demo model.

use std::path::Path;
use std::time::Instant;

use serde_json::json;

use super::{DemoArgs, fit, shipped};
use crate::cli::decode::{picture_info, report};
use crate::cli::inputs::{colours_json, colours_text};
use crate::cli::progress::TerminalProgress;
use crate::cli::report::{CliError, Report};
use crate::cli::targets::{Kind, Targets, is_stream};
use crate::cli::{dct16_statistics, shown, sigma_json};
use crate::decoder::{Decoder, Request};
use crate::latent::{Caption, Latent, PictureFile, Sigma, dct16};
use crate::output::{self, Picture};
use crate::sampler::NoiseSource;

/// What there is to see and to measure of one way through the latent, all of one size.
struct Pictures {
    /// The latent's own pixels, enlarged by repeating them.
    held: Picture,
    /// Enlarged without a network.
    baseline: Picture,
    /// What the network makes of a noisy latent that it believes to be clean.
    undeclared: Option<Picture>,
    decoded: Picture,
    original: Picture,
}

/// How far they are from the original, in dB.
struct Psnr {
    baseline: f64,
    undeclared: Option<f64>,
    decoded: f64,
}

pub(super) fn run(args: &DemoArgs) -> Result<Report, CliError> {
    let panel = (!is_stream(&args.out)).then(|| output::beside(&args.out, "-panel", panel_extension(&args.out)));
    let image = args.image.clone().map_or_else(|| shipped::find(shipped::PICTURE, "--image"), Ok)?;
    let weights = args.checkpoint.clone().map_or_else(|| shipped::find(shipped::WEIGHTS, "--checkpoint"), Ok)?;
    let mut targets = Targets::reading([image.as_path(), &weights]);
    targets.add("--out", &args.out, Kind::Picture)?;
    panel.as_deref().map_or(Ok(()), |path| targets.add("the panel", path, Kind::Picture))?;
    let progress = TerminalProgress::new(args.common.json);

    let begin = Instant::now();
    let given = PictureFile::open(&image, args.flatten)?;
    let (colours, converted, mut warnings) = (colours_json(&given), colours_text(&given), given.warnings);
    let size = (given.picture.width, given.picture.height);
    let original = fit::fitted(given.picture, args.size)?;
    let checkpoint = args.flags.open(&weights)?;
    let statistics = dct16_statistics(&weights, &checkpoint)?;
    let latent = dct16::encode(&original, &statistics)?.noised(&args.sigma, args.seed.value)?;
    let decoder = Decoder::builder().device(args.device).build(checkpoint)?;
    let request = Request {
        sigma: args.sigma.clone(),
        noise: NoiseSource::Philox { seed: args.seed.value },
        ..Request::new(Caption::zeros(decoder.config()))
    };
    let load = begin.elapsed().as_secs_f64();

    let decoded = decoder.decode_observed(&latent, &request, &mut progress.observer())?;
    let is_noisy = args.sigma.values()[0] > 0.0;
    let undeclared = is_noisy.then(|| decoder.decode(&latent, &Request { sigma: Sigma::default(), ..request.clone() }));
    let pictures = Pictures {
        held: repeated(&dct16::low_quality(&latent, &statistics)?, original.width),
        baseline: dct16::decode(&latent, &statistics)?,
        undeclared: undeclared.transpose()?.map(|d| d.picture),
        decoded: decoded.picture.clone(),
        original,
    };

    let begin = Instant::now();
    let info = picture_info(&decoder, &request, args.seed.to_string());
    let mut pending = output::stage(&pictures.decoded, &args.out, &info)?;
    if let Some(path) = &panel {
        pending.extend(output::stage(&pictures.panel(), path, &info)?);
    }
    targets.commit(pending)?;
    let files = std::slice::from_ref(&args.out);
    let mut report = report(&decoder, &decoded, files, load, begin.elapsed().as_secs_f64());
    let psnr = pictures.psnr();
    if let Some(path) = &panel {
        let text = pictures.text(&latent, size, &psnr);
        report.text.push_str(&format!("\n{}, from left to right: {text}{converted}", shown(path)));
        report.json.insert("panel".into(), json!(shown(path)));
    }
    report.json.insert("image".into(), json!(shown(&image)));
    report.json.insert("colors".into(), colours);
    report.json.insert("sigma".into(), sigma_json(&args.sigma));
    report.json.insert("psnr_db".into(), json!(psnr.decoded));
    report.json.insert("baseline_psnr_db".into(), json!(psnr.baseline));
    if let Some(undeclared) = psnr.undeclared {
        report.json.insert("declared_clean_psnr_db".into(), json!(undeclared));
    }
    warnings.extend(decoded.warnings);
    Ok(report.with_seed(args.seed).with_warnings(warnings))
}

impl Pictures {
    /// All of them, from left to right.
    fn panel(&self) -> Picture {
        let first = [&self.held, &self.baseline].into_iter();
        let row: Vec<&Picture> = first.chain(&self.undeclared).chain([&self.decoded, &self.original]).collect();
        output::side_by_side(&row)
    }

    fn psnr(&self) -> Psnr {
        let to_original = |p: &Picture| p.psnr_db(&self.original).expect("a decode has the size of what was encoded");
        Psnr {
            baseline: to_original(&self.baseline),
            undeclared: self.undeclared.as_ref().map(to_original),
            decoded: to_original(&self.decoded),
        }
    }

    /// What the panel shows; `size` is that of the file.
    fn text(&self, latent: &Latent, (width, height): (usize, usize), psnr: &Psnr) -> String {
        let undeclared =
            psnr.undeclared.map_or(String::new(), |db| format!("decoded as if it were clean {db:.2} dB, "));
        let fits = (self.original.width, self.original.height) == (width, height);
        let from = if fits { String::new() } else { format!(" (of {width}x{height}, scaled and cut to fit)") };
        format!(
            "the latent's {} numbers as they are, enlarged without a network {:.2} dB, {undeclared}decoded by PiD {:.2} dB, \
             the original's {}{from}",
            latent.data.len(),
            psnr.baseline,
            psnr.decoded,
            self.original.data.len()
        )
    }
}

fn panel_extension(out: &Path) -> &str {
    match out.extension().and_then(|e| e.to_str()) {
        Some(extension) if extension.eq_ignore_ascii_case("safetensors") => "png",
        Some(extension) => extension,
        None => "png",
    }
}

/// The picture with its pixels repeated, `width` pixels wide.
fn repeated(picture: &Picture, width: usize) -> Picture {
    let times = width / picture.width;
    let rows = picture.data.chunks_exact(picture.width);
    let wide =
        |row: &[f32]| row.iter().flat_map(|v| std::iter::repeat_n(v.clamp(-1.0, 1.0), times)).collect::<Vec<_>>();
    let data = rows.flat_map(|row| wide(row).repeat(times)).collect();
    Picture { data, batch: picture.batch, height: picture.height * times, width }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pixels_are_repeated_both_ways() {
        let small = Picture { data: vec![0.0, 0.5, -0.5, 2.0], batch: 1, height: 2, width: 2 };
        let big = repeated(&small, 4);
        let expected =
            [[0.0, 0.0, 0.5, 0.5], [0.0, 0.0, 0.5, 0.5], [-0.5, -0.5, 1.0, 1.0], [-0.5, -0.5, 1.0, 1.0]].concat();
        assert_eq!((big.height, big.width, big.data), (4, 4, expected));
    }
}
