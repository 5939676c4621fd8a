//! A photograph to a latent, and back by the demo model.

use std::path::Path;
use std::time::Instant;

use serde_json::json;

use super::{DemoArgs, fit, shipped};
use crate::checkpoint::Checkpoint;
use crate::cli::decode::{picture_info, report};
use crate::cli::progress::TerminalProgress;
use crate::cli::report::{CliError, Report};
use crate::cli::{dct16_statistics, shown, sibling};
use crate::decoder::{Decoder, Request};
use crate::latent::{Caption, Latent, Sigma, dct16, read_picture};
use crate::output::{self, Pending, Picture};
use crate::sampler::NoiseSource;

pub(super) fn run(args: &DemoArgs) -> Result<Report, CliError> {
    let panel_path = sibling(&args.out, "-panel", panel_extension(&args.out));
    output::check_target(&args.out)?;
    output::check_target(&panel_path)?;
    let image = args.image.clone().map_or_else(|| shipped::find(shipped::PICTURE, "--image"), Ok)?;
    let weights = args.checkpoint.clone().map_or_else(|| shipped::find(shipped::WEIGHTS, "--checkpoint"), Ok)?;
    let progress = TerminalProgress::new(args.common.json);

    let begin = Instant::now();
    let original = fit::fitted(read_picture(&image)?, args.size)?;
    let checkpoint = Checkpoint::open(&weights)?;
    let statistics = dct16_statistics(&weights, &checkpoint)?;
    let latent = dct16::encode(&original, &statistics)?.noised(&args.sigma, args.seed)?;
    let decoder = Decoder::builder().device(args.device).build(checkpoint)?;
    let request = Request {
        sigma: args.sigma.clone(),
        noise: NoiseSource::Philox { seed: args.seed },
        ..Request::new(Caption::zeros(decoder.config()))
    };
    let load = begin.elapsed().as_secs_f64();
    let decoded = decoder.decode_observed(&latent, &request, &mut progress.observer())?;
    let sigma = args.sigma.values()[0];
    let undeclared = if sigma > 0.0 { Some(declared_clean(&decoder, &latent, &request)?) } else { None };

    let begin = Instant::now();
    let held = repeated(&dct16::low_quality(&latent, &statistics)?, original.width);
    let baseline = dct16::decode(&latent, &statistics)?;
    let row: Vec<&Picture> =
        [&held, &baseline].into_iter().chain(&undeclared).chain([&decoded.picture, &original]).collect();
    let info = picture_info(&decoder, &request, args.seed.to_string());
    let panel = output::stage(&output::side_by_side(&row), &panel_path, &info)?;
    let pending = output::stage(&decoded.picture, &args.out, &info)?;
    panel.into_iter().try_for_each(|file| file.commit().map(drop))?;
    let files = pending.into_iter().map(Pending::commit).collect::<Result<Vec<_>, _>>()?;
    let save = begin.elapsed().as_secs_f64();

    let psnr = |picture: &Picture| picture.psnr_db(&original).expect("a decode has the size of what was encoded");
    let mut report = report(&decoder, &decoded, &files, load, save);
    let (pid, without) = (psnr(&decoded.picture), psnr(&baseline));
    let clean = undeclared.as_ref().map(psnr);
    report.text.push_str(&format!(
        "\n{}, from left to right: the latent's {} numbers as they are, enlarged without a network {without:.2} dB, \
         {}decoded by PiD {pid:.2} dB, the original's {}",
        shown(&panel_path),
        latent.data.len(),
        clean.map_or(String::new(), |db| format!("decoded as if it were clean {db:.2} dB, ")),
        original.data.len(),
    ));
    report.json.insert("image".into(), json!(shown(&image)));
    report.json.insert("panel".into(), json!(shown(&panel_path)));
    // The shortest decimal number, not the float32 next to it.
    report.json.insert("sigma".into(), json!(sigma.to_string().parse::<f64>().unwrap_or_default()));
    report.json.insert("psnr_db".into(), json!(pid));
    report.json.insert("baseline_psnr_db".into(), json!(without));
    if let Some(clean) = clean {
        report.json.insert("declared_clean_psnr_db".into(), json!(clean));
    }
    Ok(report.with_warnings(decoded.warnings))
}

fn panel_extension(out: &Path) -> &str {
    match out.extension().and_then(|e| e.to_str()) {
        Some(extension) if extension.eq_ignore_ascii_case("safetensors") => "png",
        Some(extension) => extension,
        None => "png",
    }
}

/// What the decode makes of a noisy latent that it believes to be clean.
fn declared_clean(decoder: &Decoder, latent: &Latent, request: &Request) -> Result<Picture, CliError> {
    let request = Request { sigma: Sigma::default(), ..request.clone() };
    Ok(decoder.decode(latent, &request)?.picture)
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
