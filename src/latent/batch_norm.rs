//! The batch norm at the end of FLUX.2's encoder: what its raw latents are normalized by. Its statistics are learned, so
//! they come from the VAE's file. diffusers: `AutoencoderKLFlux2.bn`, `Flux2Pipeline` (`batch_norm_eps` of the VAE's config).

use std::path::{Path, PathBuf};

use super::{InputError, Latent, check_finite};
use crate::checkpoint::Checkpoint;

/// `(x - mean) / std` per channel of a patchified latent.
#[derive(Clone, Debug, PartialEq)]
pub struct BatchNorm {
    /// Mean of each channel.
    mean: Vec<f32>,
    /// `sqrt(var + eps)`, positive.
    std: Vec<f32>,
}

/// Added to the variance where no config says otherwise; diffusers' and Black Forest Labs' default.
const EPS: f64 = 1e-4;
/// The VAE's file in a folder of diffusers.
const DIFFUSERS_FILE: &str = "diffusion_pytorch_model.safetensors";

impl BatchNorm {
    /// Reads `bn.running_mean` and `bn.running_var`, under any prefix, from a VAE's file or its folder in a model of
    /// diffusers, and `batch_norm_eps` from `config.json` beside it, if it is there.
    ///
    /// # Errors
    /// When the file cannot be read, does not hold the two tensors in one length, or they are no statistics.
    pub fn open(path: &Path) -> Result<Self, InputError> {
        let file: PathBuf = if path.is_dir() { path.join(DIFFUSERS_FILE) } else { path.to_path_buf() };
        let fail = |message: String| InputError::File { path: file.display().to_string(), message };
        // The error names the file itself.
        let vae = Checkpoint::open(&file).map_err(|e| fail(format!("expected the file of a VAE: {e}")))?;
        let find = |suffix: &str| {
            let mut names =
                vae.names().filter(|n| n.strip_suffix(suffix).is_some_and(|p| p.is_empty() || p.ends_with('.')));
            let (first, second) = (names.next(), names.next());
            let name = match (first, second) {
                (Some(name), None) => name,
                (None, _) => return Err(fail(format!("holds no {suffix}: is it the VAE of FLUX.2?"))),
                (Some(a), Some(b)) => return Err(fail(format!("holds several {suffix}: {a}, {b}"))),
            };
            let values = vae.get(name).map(|view| view.to_f32()).unwrap_or_default();
            check_finite(&format!("{} {name}", file.display()), &values)?;
            Ok(values)
        };
        let (mean, var) = (find("bn.running_mean")?, find("bn.running_var")?);
        let eps = eps_beside(&file)?;
        let std: Vec<f32> = var.iter().map(|v| (f64::from(*v) + eps).sqrt() as f32).collect();
        if mean.len() != std.len() || !std.iter().all(|s| *s > 0.0) {
            let (means, variances) = (mean.len(), var.len());
            return Err(fail(format!(
                "{means} means and {variances} variances of bn, not all above 0, are no statistics"
            )));
        }
        Ok(Self { mean, std })
    }

    /// Normalizes a raw latent in place.
    pub(super) fn apply(&self, latent: &mut Latent) -> Result<(), InputError> {
        if self.mean.len() != latent.channels {
            return Err(InputError::Frame(format!(
                "--vae: its batch norm has {} channels, the latent {}",
                self.mean.len(),
                latent.channels
            )));
        }
        let plane = latent.height * latent.width;
        for (i, values) in latent.data.chunks_exact_mut(plane).enumerate() {
            let (mean, std) = (self.mean[i % latent.channels], self.std[i % latent.channels]);
            values.iter_mut().for_each(|v| *v = (*v - mean) / std);
        }
        Ok(())
    }
}

/// `batch_norm_eps` of the `config.json` beside a VAE's file.
fn eps_beside(file: &Path) -> Result<f64, InputError> {
    let path = file.with_file_name("config.json");
    let Ok(text) = std::fs::read_to_string(&path) else { return Ok(EPS) };
    let fail = |message: String| InputError::File { path: path.display().to_string(), message };
    let config: serde_json::Value = serde_json::from_str(&text).map_err(|e| fail(e.to_string()))?;
    match config.get("batch_norm_eps") {
        None => Ok(EPS),
        Some(value) => match value.as_f64() {
            Some(eps) if eps >= 0.0 => Ok(eps),
            _ => Err(fail(format!("batch_norm_eps is {value}; expected a number of at least 0"))),
        },
    }
}
