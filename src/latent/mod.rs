//! What a decode is given: latents as pipelines leave them, captions, noise levels. Everything is checked
//! here, so that what reaches the network is finite, normalized and of the right shape.

mod backbone;
mod batch_norm;
mod bicubic;
pub mod dct16;
mod file;
mod frame;
mod guard;
mod input;
mod layout;
mod npy;
mod picture;
mod record;

use std::collections::BTreeMap;

pub use backbone::Backbone;
pub use batch_norm::BatchNorm;
pub use file::{NamedTensor, TensorFile, read_tensor};
pub use frame::LatentFrame;
#[cfg(feature = "cli")]
pub(crate) use input::is_stdin;
pub use picture::{Colour, PictureFile, SourceProfile, read_picture};
pub use record::{LatentRecord, disagreements};

use crate::models::pid::Config;
use crate::sampler::{Noise, NoiseSource};

/// An input that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum InputError {
    #[error("{path}: {message}")]
    File { path: String, message: String },
    #[error("{what}: element {index} is {value}; every value must be finite")]
    NotFinite { what: String, index: usize, value: String },
    #[error("{what}: shape {shape:?}, {expected}")]
    Shape { what: &'static str, shape: Vec<usize>, expected: String },
    #[error("{what}: {values} values for shape {shape:?}")]
    Length { what: &'static str, values: usize, shape: Vec<usize> },
    #[error("latent: {found} channels, the checkpoint takes {expected}{hint}")]
    Channels { found: usize, expected: usize, hint: String },
    #[error(
        "output of {width}x{height} does not fit the latent: {latent_width}x{latent_height} latent positions of {per} pixels make {made_width}x{made_height}; leave --width and --height out or give those"
    )]
    OutputSize {
        width: usize,
        height: usize,
        latent_width: usize,
        latent_height: usize,
        per: usize,
        made_width: usize,
        made_height: usize,
    },
    #[error("sigma {value}: expected 0 (clean) to 1 (pure noise)")]
    SigmaRange { value: String },
    #[error("sigma `{text}` is not a number or a list of numbers like 0.25,0.5")]
    SigmaSyntax { text: String },
    #[error("{found} sigmas for a batch of {batch}: give one for all, or {batch}")]
    SigmaCount { found: usize, batch: usize },
    #[error(
        "backbone {name} has latents of {channels} channels, the checkpoint takes {expected}; it belongs to another backbone"
    )]
    WrongBackbone { name: &'static str, channels: usize, expected: usize },
    #[error("unknown backbone `{name}`; known: {known}")]
    Backbone { name: String, known: String },
    #[error("{0}")]
    Frame(String),
    #[error("picture of {width}x{height}: both sides must be multiples of {of}; {}", nearest(*width, *height, *of))]
    PictureSize { width: usize, height: usize, of: usize },
    #[error("metadata {key}: {message}; expected a JSON array of 16 finite numbers (deviations above 0)")]
    Statistics { key: &'static str, message: String },
}

/// The sizes below and above that fit.
fn nearest(width: usize, height: usize, of: usize) -> String {
    let above = |side: usize| side.max(1).next_multiple_of(of);
    let below = |side: usize| side / of * of;
    let (up, down) = ((above(width), above(height)), (below(width), below(height)));
    if down.0 == 0 || down.1 == 0 {
        return format!("the nearest size is {}x{}", up.0, up.1);
    }
    format!("the nearest sizes are {}x{} (--crop takes the middle of that size) and {}x{}", down.0, down.1, up.0, up.1)
}

/// Refuses NaN and infinities.
fn check_finite(what: &str, values: &[f32]) -> Result<(), InputError> {
    match values.iter().position(|v| !v.is_finite()) {
        Some(index) => Err(InputError::NotFinite { what: what.into(), index, value: values[index].to_string() }),
        None => Ok(()),
    }
}

/// Checks that `shape` has `values` elements and none of its extents is 0.
fn check_length(what: &'static str, values: usize, shape: &[usize]) -> Result<(), InputError> {
    let product = shape.iter().try_fold(1usize, |p, e| p.checked_mul(*e));
    if product == Some(values) && values > 0 {
        Ok(())
    } else {
        Err(InputError::Length { what, values, shape: shape.to_vec() })
    }
}

/// A batch of latents in the normalized frame: the space the generator denoises in.
#[derive(Clone, Debug, PartialEq)]
pub struct Latent {
    /// `[B, C, h, w]`, finite.
    pub data: Vec<f32>,
    /// `B`.
    pub batch: usize,
    /// `C`.
    pub channels: usize,
    /// `h`.
    pub height: usize,
    /// `w`.
    pub width: usize,
}

/// How to read a latent file.
#[derive(Clone, Debug, Default)]
pub struct LatentOptions {
    /// The generator, when known.
    pub backbone: Option<Backbone>,
    /// Wanted output, width x height in pixels; needed for packed tokens, else checked.
    pub output: Option<(usize, usize)>,
    /// Space of the values; by default raw where the layout is one that only raw latents have (FLUX.2's `[B, 32, h, w]`),
    /// else normalized.
    pub frame: Option<LatentFrame>,
    /// FLUX.2: the VAE's batch norm, which raw latents need.
    pub vae: Option<BatchNorm>,
    /// SDXL: sigma of the Euler frame the latent is in.
    pub euler_sigma: Option<f64>,
}

impl Latent {
    /// A latent from values already in `[B, C, h, w]` and the normalized frame.
    ///
    /// # Errors
    /// When the number of values does not fit the shape, or one is not finite.
    pub fn new(data: Vec<f32>, [batch, channels, height, width]: [usize; 4]) -> Result<Self, InputError> {
        check_length("latent", data.len(), &[batch, channels, height, width])?;
        check_finite("latent", &data)?;
        Ok(Self { data, batch, channels, height, width })
    }

    /// A latent from a tensor in any layout that pipelines leave, for the network of `config`. With
    /// `euler_sigma` the matching sigma is returned too.
    ///
    /// # Errors
    /// When the layout is not one of the backbone's, the size does not fit, or the frame cannot be converted.
    pub fn from_tensor(
        tensor: NamedTensor,
        config: &Config,
        options: &LatentOptions,
        warnings: &mut Vec<String>,
    ) -> Result<(Self, Option<Sigma>), InputError> {
        let is_unpatched = layout::is_unpatched(&tensor.shape, config);
        let (data, shape) = layout::unpack(tensor, config, options)?;
        let mut latent = Self::new(data, shape)?;
        latent.check_channels(config.lq_latent_channels)?;
        latent.check_output(config, options.output)?;
        let sigma = options.euler_sigma.map(|s| frame::from_euler(&mut latent, s, options.backbone)).transpose()?;
        let usual = if is_unpatched { LatentFrame::Raw } else { LatentFrame::Normalized };
        let frame = options.frame.unwrap_or(usual);
        frame::normalize(&mut latent, frame, options, warnings)?;
        if is_unpatched && frame == LatentFrame::Raw {
            let said = "as FLUX.2's pipeline returns it: taken as raw and normalized by the VAE's batch norm";
            warnings.push(format!("latent: [B, 32, h, w], {said}"));
        }
        check_finite("latent after conversion", &latent.data)?;
        Ok((latent, sigma))
    }

    /// The latent as flow matching noises it, `(1 - sigma) x + sigma n`: what a generator stopped at `sigma` gives.
    /// `n` is Philox noise of `seed`, from a draw of its own: a decode of the same seed starts from other noise.
    ///
    /// # Errors
    /// When `sigma` has neither one value nor one per sample.
    pub fn noised(mut self, sigma: &Sigma, seed: u64) -> Result<Self, InputError> {
        let sigmas = sigma.for_batch(self.batch, &mut Vec::new())?;
        let mut noise = vec![0.0; self.data.len()];
        Noise::new(NoiseSource::Philox { seed })
            .fill(LATENT_DRAW, &mut noise)
            .expect("Philox draws any number of values in any order");
        let sample = self.data.len() / self.batch;
        for (i, (value, noise)) in self.data.iter_mut().zip(&noise).enumerate() {
            let sigma = sigmas[i / sample];
            *value = (1.0 - sigma) * *value + sigma * noise;
        }
        Ok(self)
    }

    /// Checks the number of channels against the network's.
    pub(crate) fn check_channels(&self, expected: usize) -> Result<(), InputError> {
        if self.channels == expected {
            return Ok(());
        }
        let fitting: Vec<&str> =
            Backbone::ALL.iter().filter(|b| b.channels() == self.channels).map(|b| b.name()).collect();
        let hint = match fitting.as_slice() {
            [] if self.channels == 32 => {
                "; 32 channels are FLUX.2's, before 2x2 positions become 128 channels".to_owned()
            }
            [] => String::new(),
            _ => format!("; {} channels are a latent of {}", self.channels, fitting.join(", ")),
        };
        Err(InputError::Channels { found: self.channels, expected, hint })
    }

    fn check_output(&self, config: &Config, output: Option<(usize, usize)>) -> Result<(), InputError> {
        let per = config.pixels_per_latent();
        let made = (self.width * per, self.height * per);
        match output {
            Some((width, height)) if (width, height) != made => Err(InputError::OutputSize {
                width,
                height,
                latent_width: self.width,
                latent_height: self.height,
                per,
                made_width: made.0,
                made_height: made.1,
            }),
            _ => Ok(()),
        }
    }
}

/// How noisy each latent of a batch is: 0 clean, 1 pure noise. One value serves a whole batch.
#[derive(Clone, Debug, PartialEq)]
pub struct Sigma(Vec<f32>);

impl Default for Sigma {
    /// Clean.
    fn default() -> Self {
        Self(vec![0.0])
    }
}

/// The sampler's draws count from 0.
const LATENT_DRAW: usize = 1 << 16;

/// The v1.5 networks were trained with latents noised up to this level.
const TRAINED_SIGMA: f32 = 0.8;

impl Sigma {
    /// One value for all samples, or one each.
    ///
    /// # Errors
    /// When a value is not from 0 to 1.
    pub fn new(values: Vec<f32>) -> Result<Self, InputError> {
        match values.iter().find(|v| !(0.0..=1.0).contains(*v)) {
            Some(value) => Err(InputError::SigmaRange { value: value.to_string() }),
            None if values.is_empty() => Err(InputError::SigmaSyntax { text: String::new() }),
            None => Ok(Self(values)),
        }
    }

    /// The values as given.
    pub fn values(&self) -> &[f32] {
        &self.0
    }

    /// One value per sample; warns above the training range.
    pub(crate) fn for_batch(&self, batch: usize, warnings: &mut Vec<String>) -> Result<Vec<f32>, InputError> {
        let values = match self.0.as_slice() {
            [one] => vec![*one; batch],
            all if all.len() == batch => all.to_vec(),
            all => return Err(InputError::SigmaCount { found: all.len(), batch }),
        };
        if let Some(high) = values.iter().find(|v| **v > TRAINED_SIGMA) {
            warnings.push(format!("sigma {high} is above {TRAINED_SIGMA}, the most the networks were trained with"));
        }
        Ok(values)
    }
}

impl std::str::FromStr for Sigma {
    type Err = InputError;

    fn from_str(text: &str) -> Result<Self, InputError> {
        let parse = |part: &str| part.trim().parse::<f32>();
        let values: Result<Vec<f32>, _> = text.split(',').map(parse).collect();
        Self::new(values.map_err(|_| InputError::SigmaSyntax { text: text.into() })?)
    }
}

/// Caption embeddings: Gemma-2-2b-it's last hidden states, `[B, T, E]`. One sample serves a whole batch.
#[derive(Clone, Debug, PartialEq)]
pub struct Caption {
    /// `[B, T, E]`, finite.
    pub data: Vec<f32>,
    /// `B`, or 1 for all samples.
    pub batch: usize,
    /// `T`.
    pub tokens: usize,
    /// `E`.
    pub width: usize,
}

impl Caption {
    /// A caption from its values.
    ///
    /// # Errors
    /// When the number of values does not fit the shape, or one is not finite.
    pub fn new(data: Vec<f32>, [batch, tokens, width]: [usize; 3]) -> Result<Self, InputError> {
        check_length("caption", data.len(), &[batch, tokens, width])?;
        check_finite("caption", &data)?;
        Ok(Self { data, batch, tokens, width })
    }

    /// A caption from a tensor `[B, T, E]` or `[T, E]`.
    ///
    /// # Errors
    /// When it has another rank, or a value is not finite.
    pub fn from_tensor(tensor: NamedTensor) -> Result<Self, InputError> {
        let shape = match *tensor.shape.as_slice() {
            [tokens, width] => [1, tokens, width],
            [batch, tokens, width] => [batch, tokens, width],
            _ => {
                let expected = "expected [B, T, E] or [T, E]".to_owned();
                return Err(InputError::Shape { what: "caption", shape: tensor.shape, expected });
            }
        };
        Self::new(tensor.data, shape)
    }

    /// Whether a checkpoint's metadata say that it was trained without captions, on [`Self::zeros`] alone.
    pub fn is_never_given(checkpoint: &BTreeMap<String, String>) -> bool {
        checkpoint.get("pid.caption").is_some_and(|text| text == "none")
    }

    /// As many zero embeddings as the network takes.
    pub fn zeros(config: &Config) -> Self {
        let (tokens, width) = (config.txt_max_length, config.txt_embed_dim);
        Self { data: vec![0.0; tokens * width], batch: 1, tokens, width }
    }

    /// Repeated for every sample, and cut to what the network takes (with a warning).
    pub(crate) fn for_network(
        &self,
        config: &Config,
        batch: usize,
        warnings: &mut Vec<String>,
    ) -> Result<Self, InputError> {
        let shape = vec![self.batch, self.tokens, self.width];
        if self.width != config.txt_embed_dim {
            let expected = format!("the network takes embeddings of width {}", config.txt_embed_dim);
            return Err(InputError::Shape { what: "caption", shape, expected });
        }
        if self.batch != 1 && self.batch != batch {
            let expected = format!("the latent's batch is {batch}: give one caption for all, or {batch}");
            return Err(InputError::Shape { what: "caption", shape, expected });
        }
        let tokens = self.tokens.min(config.txt_max_length);
        if tokens < self.tokens {
            let cut = self.tokens;
            warnings.push(format!("caption: {cut} tokens, the network uses the first {tokens}"));
        }
        if tokens < config.txt_max_length {
            warnings.push(format!(
                "caption: {tokens} rows, the networks were trained on {}, padding included: keep the encoder's pad rows",
                config.txt_max_length
            ));
        }
        let mut data = Vec::with_capacity(batch * tokens * self.width);
        for b in 0..batch {
            let start = (b % self.batch) * self.tokens * self.width;
            data.extend_from_slice(&self.data[start..start + tokens * self.width]);
        }
        Ok(Self { data, batch, tokens, width: self.width })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sigmas_are_parsed_and_spread() {
        let sigma: Sigma = "0.25, 0.5".parse().unwrap();
        let mut warnings = Vec::new();
        assert_eq!(sigma.for_batch(2, &mut warnings).unwrap(), [0.25, 0.5]);
        assert_eq!(sigma.for_batch(3, &mut warnings), Err(InputError::SigmaCount { found: 2, batch: 3 }));
        let one: Sigma = "0.9".parse().unwrap();
        assert_eq!(one.for_batch(2, &mut warnings).unwrap(), [0.9, 0.9]);
        assert!(warnings[0].contains("0.9") && warnings.len() == 1);
        for bad in ["1.01", "-0.1", "NaN", "inf", "", "0.1,", "x"] {
            assert!(bad.parse::<Sigma>().is_err(), "{bad}");
        }
    }

    #[test]
    fn captions_are_cut_and_repeated() {
        let config = Config::tiny();
        let data: Vec<f32> = (0..30 * 64).map(|i| i as f32).collect();
        let caption = Caption::new(data, [1, 30, 64]).unwrap();
        let mut warnings = Vec::new();
        let fitted = caption.for_network(&config, 2, &mut warnings).unwrap();
        assert_eq!((fitted.batch, fitted.tokens, fitted.data.len()), (2, 24, 2 * 24 * 64));
        assert_eq!(fitted.data[24 * 64], 0.0);
        assert_eq!(warnings.len(), 1);
        let wrong = Caption::new(vec![0.0; 2 * 64], [2, 1, 64]).unwrap();
        assert!(wrong.for_network(&config, 3, &mut warnings).unwrap_err().to_string().contains('3'));
    }

    #[test]
    fn values_must_be_finite_and_fit() {
        assert!(Latent::new(vec![0.0; 5], [1, 2, 3, 1]).is_err());
        let error = Latent::new(vec![0.0, f32::NAN], [1, 2, 1, 1]).unwrap_err();
        assert!(error.to_string().contains("element 1 is NaN"), "{error}");
        assert!(Latent::new(Vec::new(), [0, 16, 1, 1]).is_err());
    }
}
