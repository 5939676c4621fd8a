//! The generators whose latents PiD decodes.

use std::fmt;
use std::str::FromStr;

use super::InputError;
use crate::models::pid::Config;

/// A family of image generators that share a latent space.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Backbone {
    Flux,
    Flux2,
    Sd3,
    Sdxl,
    QwenImage,
    ZImage,
    DinoV2,
    Siglip,
}

impl Backbone {
    /// All of them.
    pub const ALL: [Self; 8] =
        [Self::Flux, Self::Flux2, Self::Sd3, Self::Sdxl, Self::QwenImage, Self::ZImage, Self::DinoV2, Self::Siglip];

    /// As written on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Flux => "flux",
            Self::Flux2 => "flux2",
            Self::Sd3 => "sd3",
            Self::Sdxl => "sdxl",
            Self::QwenImage => "qwenimage",
            Self::ZImage => "zimage",
            Self::DinoV2 => "dinov2",
            Self::Siglip => "siglip",
        }
    }

    /// Channels of the latent that the network takes.
    pub const fn channels(self) -> usize {
        match self {
            Self::Flux | Self::Sd3 | Self::QwenImage | Self::ZImage => 16,
            Self::Flux2 => 128,
            Self::Sdxl => 4,
            Self::DinoV2 => 768,
            Self::Siglip => 1152,
        }
    }

    /// Checks that the network of `config` takes this backbone's latents.
    pub(crate) fn check(self, config: &Config) -> Result<(), InputError> {
        let (channels, expected) = (self.channels(), config.lq_latent_channels);
        if channels == expected {
            return Ok(());
        }
        Err(InputError::WrongBackbone { name: self.name(), channels, expected })
    }

    /// The backbone that `config` was made for, where its channels tell; 16 channels do not.
    pub fn of_config(config: &Config) -> Option<Self> {
        let mut fitting = Self::ALL.into_iter().filter(|b| b.channels() == config.lq_latent_channels);
        let first = fitting.next()?;
        fitting.next().is_none().then_some(first)
    }
}

impl fmt::Display for Backbone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Backbone {
    type Err = InputError;

    fn from_str(text: &str) -> Result<Self, InputError> {
        Self::ALL
            .into_iter()
            .find(|b| b.name() == text)
            .ok_or_else(|| InputError::Backbone { name: text.into(), known: Self::ALL.map(Self::name).join(", ") })
    }
}
