//! Sizes and choices of one graph, and the rules they follow.

use super::config::Config;
use crate::graph::ElementType;

/// Number format of weights and activations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Precision {
    /// float32 activations; weights as stored.
    #[default]
    F32,
    /// bfloat16 weights and activations, float32 accumulation; the residual streams `s` and `y` and the
    /// image stay float32.
    Bf16,
}

impl Precision {
    /// Element type of activations that feed matrix products.
    pub const fn activation(self) -> ElementType {
        match self {
            Self::F32 => ElementType::F32,
            Self::Bf16 => ElementType::Bf16,
        }
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
    /// Number format.
    pub precision: Precision,
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
