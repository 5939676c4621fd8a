//! Sizes and choices of one graph, and the rules they follow.

use std::fmt;
use std::str::FromStr;

use super::config::Config;
use crate::graph::Format;

/// Number formats of a decode. Streams that are updated in place, and pictures, are float32 in all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Policy {
    /// Of matrices on a device; the CPU reads them as they are stored.
    pub weights: Format,
    /// Of what products read and write, sums in float32.
    pub activations: Format,
    /// Of queries, keys, values and what attention makes of them.
    pub attention: Format,
}

impl Policy {
    /// float32 activations.
    pub const F32: Self = Self { weights: Format::BF16, activations: Format::F32, attention: Format::F32 };
    /// bfloat16 weights and activations.
    pub const BF16: Self = Self { weights: Format::BF16, activations: Format::BF16, attention: Format::BF16 };

    /// Every policy that has a name.
    const NAMED: [(&'static str, Self); 2] = [("f32", Self::F32), ("bf16", Self::BF16)];
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match Self::NAMED.iter().find(|(_, policy)| policy == self) {
            Some((name, _)) => f.write_str(name),
            None => {
                write!(f, "{} weights, {} activations, {} attention", self.weights, self.activations, self.attention)
            }
        }
    }
}

impl FromStr for Policy {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::NAMED.iter().find(|(name, _)| *name == text);
        found.map(|(_, policy)| *policy).ok_or_else(|| format!("unknown precision `{text}`; known: f32, bf16"))
    }
}

/// Sizes and choices of one graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct NetworkOptions {
    /// Samples decoded together.
    pub batch: usize,
    /// Caption tokens, 1 to `txt_max_length`.
    pub text_tokens: usize,
    /// Output width in pixels, a multiple of `patch_size` and of `pixels_per_latent`.
    pub width: usize,
    /// Output height in pixels.
    pub height: usize,
    /// Number formats.
    pub precision: Policy,
    /// Ops fused as kernels run them.
    pub fused: bool,
    /// Keep only the adapter's trunk and recompute each gate's features in every step: less memory, same
    /// result, about 1% more work.
    pub recompute_features: bool,
    /// Also compute what only an observer reads: the velocity and the last block's text stream.
    pub observed: bool,
}

/// A picture size or caption length that a network cannot take.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum SizeError {
    #[error(
        "{side} {value} is not a multiple of {multiple}: the network works on {patch}-pixel patches and {per} pixels per latent position; the next sizes are {below} and {above}"
    )]
    Indivisible {
        side: &'static str,
        value: usize,
        multiple: usize,
        patch: usize,
        per: usize,
        below: usize,
        above: usize,
    },
    #[error("{side} {value}: expected {multiple} to {most}")]
    OutOfRange { side: &'static str, value: usize, multiple: usize, most: usize },
    #[error("{value} caption tokens: expected 1 to {most}")]
    Tokens { value: usize, most: usize },
    #[error("batch of {value}: expected 1 to {most}")]
    Batch { value: usize, most: usize },
}

/// Largest side of a picture: far above what any memory holds, low enough that no product overflows.
const MAX_SIDE: usize = 1 << 16;
const MAX_BATCH: usize = 1 << 12;

impl NetworkOptions {
    /// A decode as users run it, nothing observed: fused where kernels know the formats, plain in others.
    pub fn new(batch: usize, text_tokens: usize, [width, height]: [usize; 2], precision: Policy) -> Self {
        let fused = precision == Policy::BF16;
        Self { batch, text_tokens, width, height, precision, fused, recompute_features: false, observed: false }
    }

    /// Checks that a network of `config` can be built for these sizes.
    ///
    /// # Errors
    /// [`SizeError`] names the size, its value and the nearest ones that work.
    pub fn check(&self, config: &Config) -> Result<(), SizeError> {
        let (patch, per) = (config.patch_size, config.pixels_per_latent());
        let multiple = least_common_multiple(patch, per);
        for (side, value) in [("width", self.width), ("height", self.height)] {
            if value < multiple || value > MAX_SIDE {
                return Err(SizeError::OutOfRange { side, value, multiple, most: MAX_SIDE });
            }
            if value % multiple != 0 {
                let below = value / multiple * multiple;
                let above = below + multiple;
                return Err(SizeError::Indivisible { side, value, multiple, patch, per, below, above });
            }
        }
        if self.text_tokens == 0 || self.text_tokens > config.txt_max_length {
            return Err(SizeError::Tokens { value: self.text_tokens, most: config.txt_max_length });
        }
        if self.batch == 0 || self.batch > MAX_BATCH {
            return Err(SizeError::Batch { value: self.batch, most: MAX_BATCH });
        }
        Ok(())
    }
}

pub(super) fn least_common_multiple(a: usize, b: usize) -> usize {
    let (mut x, mut y) = (a, b);
    while y != 0 {
        (x, y) = (y, x % y);
    }
    a / x * b
}
