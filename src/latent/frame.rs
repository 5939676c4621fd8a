//! Frames of latents: normalized (what the generator denoises and PiD takes), raw (what a VAE encoder gives),
//! and SDXL's Euler frame. Constants: the generators' published VAE configurations.

use super::{Backbone, InputError, Latent, LatentOptions, Sigma};

/// The space of a latent's values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LatentFrame {
    /// The space the generator denoises in.
    #[default]
    Normalized,
    /// As the VAE's encoder gives it.
    Raw,
    /// As ComfyUI keeps it: raw, but FLUX.2's normalized (the batch norm is a part of its VAE there).
    ComfyUi,
}

/// Per-channel mean and deviation of Qwen-Image's raw latents.
const QWEN_MEAN: [f32; 16] = [
    -0.7571, -0.7089, -0.9113, 0.1075, -0.1745, 0.9653, -0.1517, 1.5508, 0.4134, -0.0715, 0.5517, -0.3632, -0.1922,
    -0.9497, 0.2503, -0.2921,
];
const QWEN_STD: [f32; 16] = [
    2.8184, 1.4541, 2.3275, 2.6558, 1.2196, 1.7708, 2.6052, 2.0743, 3.2687, 2.1526, 2.8652, 1.5579, 1.6382, 1.1253,
    2.8251, 1.9160,
];

/// `(raw - shift) * scale` per channel.
fn constants(backbone: Backbone, channel: usize) -> Option<(f32, f32)> {
    match backbone {
        Backbone::Flux | Backbone::ZImage => Some((0.1159, 0.3611)),
        Backbone::Sd3 => Some((0.0609, 1.5305)),
        Backbone::Sdxl => Some((0.0, 0.13025)),
        Backbone::QwenImage => Some((QWEN_MEAN[channel % 16], 1.0 / QWEN_STD[channel % 16])),
        Backbone::Flux2 | Backbone::DinoV2 | Backbone::Siglip => None,
    }
}

/// Brings a latent of `frame` to the normalized one, in place.
pub(super) fn normalize(
    latent: &mut Latent,
    frame: LatentFrame,
    options: &LatentOptions,
    warnings: &mut Vec<String>,
) -> Result<(), InputError> {
    let is_raw = match frame {
        LatentFrame::Normalized => false,
        LatentFrame::Raw => true,
        LatentFrame::ComfyUi => options.backbone != Some(Backbone::Flux2),
    };
    if options.vae.is_some() && !(is_raw && options.backbone == Some(Backbone::Flux2)) {
        warnings.push("--vae is not used: it holds the batch norm of a raw latent of FLUX.2, which this is not".into());
    }
    match (is_raw, &options.vae) {
        (false, _) => warnings.extend(spread_warning(latent, options.backbone)),
        (true, Some(norm)) if options.backbone == Some(Backbone::Flux2) => norm.apply(latent)?,
        (true, _) => scale(latent, frame, options.backbone)?,
    }
    if is_raw && frame == LatentFrame::ComfyUi {
        warnings.push("latent: ComfyUI's file, taken as raw: normalized as by --latent-frame raw".into());
    }
    Ok(())
}

/// Converts a raw latent whose constants are known, in place.
fn scale(latent: &mut Latent, frame: LatentFrame, backbone: Option<Backbone>) -> Result<(), InputError> {
    let whose = if frame == LatentFrame::ComfyUi { "ComfyUI's latent, which is raw," } else { "a raw latent" };
    let backbone = backbone.ok_or_else(|| {
        InputError::Frame(format!(
            "{whose} needs --backbone: FLUX, SD3, Z-Image and Qwen-Image all have 16 channels, scaled differently"
        ))
    })?;
    let plane = latent.height * latent.width;
    for (i, values) in latent.data.chunks_exact_mut(plane).enumerate() {
        let Some((shift, scale)) = constants(backbone, i % latent.channels) else {
            return Err(InputError::Frame(format!(
                "a raw latent of {backbone} cannot be normalized here: {}",
                why(backbone)
            )));
        };
        values.iter_mut().for_each(|v| *v = (*v - shift) * scale);
    }
    Ok(())
}

fn why(backbone: Backbone) -> &'static str {
    match backbone {
        Backbone::Flux2 => {
            "it is raw as its pipeline returns it, [B, 32, h, w]; PiD takes it as the generator denoises it, 2x2 positions as 128 channels, normalized by the batch norm in the VAE's file; give that file as --vae (diffusers' vae/diffusion_pytorch_model.safetensors, tensors bn.running_mean and bn.running_var)"
        }
        _ => "its statistics sit in the encoder's files; normalize it in the pipeline",
    }
}

/// SDXL's Euler frame `x0 + s eps` to the variance-preserving one: `x / d`, `sigma = s / d`,
/// `d = sqrt(s^2 + 1)`.
pub(super) fn from_euler(latent: &mut Latent, s: f64, backbone: Option<Backbone>) -> Result<Sigma, InputError> {
    if backbone != Some(Backbone::Sdxl) {
        let name = backbone.map_or("this checkpoint", Backbone::name);
        return Err(InputError::Frame(format!(
            "--euler-sigma is for SDXL's Euler scheduler; latents of {name} need none: give their noise level as --sigma"
        )));
    }
    if !(s.is_finite() && s >= 0.0) {
        return Err(InputError::Frame(format!("--euler-sigma {s}: expected a number of at least 0")));
    }
    let d = (s * s + 1.0).sqrt();
    latent.data.iter_mut().for_each(|v| *v = (f64::from(*v) / d) as f32);
    Sigma::new(vec![(s / d) as f32])
}

/// Normalized latents of all backbones spread about 1, clean or noisy; raw ones of FLUX 2.8, SDXL 7.7,
/// Qwen-Image 1.1 to 3.3, SD3 0.65.
const USUAL_SPREAD: std::ops::RangeInclusive<f64> = 0.3..=2.0;
/// Fewer values say little about their spread.
const SPREAD_SAMPLES: usize = 256;

/// A warning when the values do not look normalized.
fn spread_warning(latent: &Latent, backbone: Option<Backbone>) -> Option<String> {
    let count = latent.data.len();
    let values = || latent.data.iter().map(|v| f64::from(*v));
    let mean = values().sum::<f64>() / count as f64;
    let spread = (values().map(|v| (v - mean) * (v - mean)).sum::<f64>() / count as f64).sqrt();
    if count < SPREAD_SAMPLES || USUAL_SPREAD.contains(&spread) {
        return None;
    }
    let convertible = backbone.is_none_or(|b| constants(b, 0).is_some());
    let advice = if convertible {
        "if it comes straight from a VAE encoder, say --latent-frame raw"
    } else {
        "if it comes straight from an encoder, normalize it in the pipeline"
    };
    Some(format!("latent: standard deviation {spread:.2}, a normalized one has about 1 (0.3 to 2); {advice}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn latent(channels: usize, value: impl Fn(usize) -> f32) -> Latent {
        let data = (0..channels * 64).map(value).collect();
        Latent::new(data, [1, channels, 8, 8]).unwrap()
    }

    fn raw(latent: &mut Latent, backbone: Option<Backbone>) -> Result<(), InputError> {
        let options = LatentOptions { backbone, ..LatentOptions::default() };
        normalize(latent, LatentFrame::Raw, &options, &mut Vec::new())
    }

    /// `spec: sigma_eu -> sigma_vp` of SDXL with 30 steps, as published with the pipeline.
    #[test]
    fn euler_frame_check_values() {
        for (s, expected) in [(0.4924, 0.4418), (0.3439, 0.3252), (0.1822, 0.1792)] {
            let mut x = latent(4, |_| 2.0);
            let sigma = from_euler(&mut x, s, Some(Backbone::Sdxl)).unwrap();
            assert!((sigma.values()[0] - expected).abs() < 1e-4, "{s}");
            assert!((f64::from(x.data[0]) - 2.0 / (s * s + 1.0).sqrt()).abs() < 1e-6);
        }
        assert!(from_euler(&mut latent(16, |_| 0.0), 0.3, Some(Backbone::Flux)).is_err());
        assert!(from_euler(&mut latent(4, |_| 0.0), f64::NAN, Some(Backbone::Sdxl)).is_err());
    }

    #[test]
    fn raw_latents_are_normalized_or_refused() {
        let mut x = latent(16, |_| 1.1159);
        raw(&mut x, Some(Backbone::Flux)).unwrap();
        assert!((x.data[0] - 0.3611).abs() < 1e-6);
        let mut x = latent(16, |_| 0.0);
        raw(&mut x, Some(Backbone::QwenImage)).unwrap();
        assert!((x.data[64] - 0.7089 / 1.4541).abs() < 1e-6);
        let error = raw(&mut latent(128, |_| 0.0), Some(Backbone::Flux2)).unwrap_err();
        assert!(error.to_string().contains("--vae"), "{error}");
        assert!(raw(&mut latent(16, |_| 0.0), None).is_err());
    }

    /// `ComfyUI_00001_.latent` is `l.safetensors` in the raw space of FLUX.1's VAE.
    #[test]
    fn comfyuis_file_becomes_the_generators_latent() {
        let open = |name: &str| {
            let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases").join(name);
            let (tensor, told) = crate::latent::TensorFile::open(&path).unwrap().latent(&mut Vec::new()).unwrap();
            (Latent::new(tensor.data, [1, 16, 4, 4]).unwrap(), told)
        };
        let ((mut found, told), (expected, _)) = (open("ComfyUI_00001_.latent"), open("l.safetensors"));
        assert_eq!(told, Some(LatentFrame::ComfyUi));
        let options = LatentOptions { backbone: Some(Backbone::Flux), ..LatentOptions::default() };
        normalize(&mut found, LatentFrame::ComfyUi, &options, &mut Vec::new()).unwrap();
        let off = found.data.iter().zip(&expected.data).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(off < 1e-6, "{off}");
    }

    #[test]
    fn flux2_is_normalized_in_comfyui() {
        let options = LatentOptions { backbone: Some(Backbone::Flux2), ..LatentOptions::default() };
        let (mut x, mut warnings) = (latent(128, |i| (i as f32 * 1.7).sin() * 1.4), Vec::new());
        let before = x.clone();
        normalize(&mut x, LatentFrame::ComfyUi, &options, &mut warnings).unwrap();
        assert_eq!((x, warnings), (before, Vec::new()));
        let text =
            normalize(&mut latent(16, |_| 0.5), LatentFrame::ComfyUi, &LatentOptions::default(), &mut Vec::new());
        let text = text.unwrap_err().to_string();
        assert!(text.contains("ComfyUI's") && text.contains("--backbone"), "{text}");
    }

    #[test]
    fn only_odd_spreads_are_warned_of() {
        let wave = |scale: f32| latent(16, move |i| scale * (i as f32 * 1.7).sin() * std::f32::consts::SQRT_2);
        assert_eq!(spread_warning(&wave(1.0), None), None);
        assert_eq!(spread_warning(&wave(0.5), None), None);
        let warning = spread_warning(&wave(2.8), Some(Backbone::Flux)).unwrap();
        assert!(warning.contains("--latent-frame raw") && warning.contains("2.80"), "{warning}");
        assert!(!spread_warning(&wave(2.8), Some(Backbone::Flux2)).unwrap().contains("raw"));
        assert!(spread_warning(&wave(0.01), None).is_some());
    }
}
