//! The released checkpoints by name, and the sizes they were trained for.

use super::config::Config;

/// Sizes a checkpoint was trained for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrainedSizes {
    /// 2048x2048, 2304x1728, 1728x2304, 2688x1536, 1536x2688.
    TwoK,
    /// Those, up to 4096 on a side.
    TwoKToFourK,
    /// Up to this many pixels on a side.
    UpTo(usize),
    /// A test network: any.
    Any,
}

/// The 2K buckets of the public training code, width x height.
pub const TWO_K_SIZES: [(usize, usize); 5] = [(2048, 2048), (2304, 1728), (1728, 2304), (2688, 1536), (1536, 2688)];

impl TrainedSizes {
    /// A warning when `width x height` is not a size the checkpoint was trained for.
    pub fn warning(self, width: usize, height: usize) -> Option<String> {
        let (long, short) = (width.max(height), width.min(height));
        let fits = match self {
            Self::Any => true,
            Self::UpTo(side) => long <= side,
            Self::TwoK => TWO_K_SIZES.contains(&(width, height)),
            Self::TwoKToFourK => long <= 4096 && short >= 1536 && long >= 2048 && long * 4 <= short * 7 + 4,
        };
        if fits {
            return None;
        }
        let buckets = TWO_K_SIZES.map(|(w, h)| format!("{w}x{h}")).join(", ");
        let sizes = match self {
            Self::UpTo(side) => format!("up to {side} on a side"),
            Self::TwoKToFourK => format!("{buckets}, and larger ones of those shapes up to 4096 on a side"),
            Self::TwoK | Self::Any => buckets,
        };
        Some(format!(
            "{width}x{height} is not a size this checkpoint was trained for ({sizes}): expect a worse picture"
        ))
    }
}

/// A released checkpoint (or a network of our own) by name.
#[derive(Clone, Copy, Debug)]
pub struct Release {
    /// `flux-2k`, `flux2-v1.5`, ...
    pub name: &'static str,
    /// Folder of the published checkpoint; empty for networks of our own.
    pub checkpoint: &'static str,
    /// Sizes it was trained for.
    pub sizes: TrainedSizes,
    config: fn() -> Config,
}

impl Release {
    /// Every known network. Source: spec of the public checkpoints, nv-tlabs/PiD
    /// `pid/_src/inference/checkpoint_registry.py`.
    pub const ALL: &'static [Self] = &[
        Self {
            name: "flux-2k",
            checkpoint: "PiD_res2k_sr4x_official_flux_distill_4step",
            sizes: TrainedSizes::TwoK,
            config: || Config::v1(16, 8, 4),
        },
        Self {
            name: "flux2-2k",
            checkpoint: "PiD_res2k_sr4x_official_flux2_distill_4step",
            sizes: TrainedSizes::TwoK,
            config: || Config::v1(128, 16, 4),
        },
        Self {
            name: "sd3-2k",
            checkpoint: "PiD_res2k_sr4x_official_sd3_distill_4step",
            sizes: TrainedSizes::TwoK,
            config: || Config::v1(16, 8, 4),
        },
        Self {
            name: "sd3-2kto4k",
            checkpoint: "PiD_res2kto4k_sr4x_official_sd3_distill_4step",
            sizes: TrainedSizes::TwoKToFourK,
            config: || Config::v1(16, 8, 4),
        },
        Self {
            name: "sdxl-2kto4k",
            checkpoint: "PiD_res2kto4k_sr4x_official_sdxl_distill_4step",
            sizes: TrainedSizes::TwoKToFourK,
            config: || Config::v1(4, 8, 4),
        },
        Self {
            name: "dinov2-2k",
            checkpoint: "PiD_res2k_sr4x_official_dinov2_distill_4step",
            sizes: TrainedSizes::TwoK,
            config: || Config::v1(768, 16, 4),
        },
        Self {
            name: "siglip-2k",
            checkpoint: "PiD_res2k_sr8x_official_siglip_distill_4step",
            sizes: TrainedSizes::TwoK,
            config: || Config::v1(1152, 16, 8),
        },
        Self {
            name: "flux-v1.5",
            checkpoint: "PiD_v1pt5_res2kto4k_sr4x_official_flux_distill_4step",
            sizes: TrainedSizes::TwoKToFourK,
            config: || Config::v15(16, 8, 1),
        },
        Self {
            name: "qwenimage-v1.5",
            checkpoint: "PiD_v1pt5_res2kto4k_sr4x_official_qwenimage_distill_4step",
            sizes: TrainedSizes::TwoKToFourK,
            config: || Config::v15(16, 8, 1),
        },
        Self {
            name: "flux2-v1.5",
            checkpoint: "PiD_v1pt5_res2kto4k_sr4x_official_flux2_distill_4step",
            sizes: TrainedSizes::TwoKToFourK,
            config: || Config::v15(128, 16, 2),
        },
        Self { name: "demo", checkpoint: "", sizes: TrainedSizes::UpTo(512), config: Config::demo },
        Self { name: "tiny", checkpoint: "", sizes: TrainedSizes::Any, config: Config::tiny },
    ];

    /// The release called `name`.
    pub fn by_name(name: &str) -> Option<&'static Self> {
        Self::ALL.iter().find(|r| r.name == name)
    }

    /// Its network.
    pub fn config(&self) -> Config {
        (self.config)()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn untrained_sizes_are_named() {
        let two = TrainedSizes::TwoK;
        assert!(two.warning(2688, 1536).is_none() && two.warning(1024, 1024).is_some_and(|w| w.contains("2048x2048")));
        let four = TrainedSizes::TwoKToFourK;
        assert!(four.warning(4096, 4096).is_none() && four.warning(512, 512).is_some());
        let small = TrainedSizes::UpTo(512);
        assert!(small.warning(512, 32).is_none() && small.warning(256, 544).is_some_and(|w| w.contains("up to 512")));
    }
}
