//! The configuration that the shapes of a network's tensors tell.

use super::{Config, ConfigError, GateType, PaddingMode};
use crate::weights::TensorSource;

/// What does not show in shapes follows from the version (a gate before the pixel blocks means v1.5) and the number of latent
/// channels, as in the released checkpoints.
pub(super) fn config_of_shapes(source: &dyn TensorSource) -> Result<Config, ConfigError> {
    Shapes(source).config()
}

struct Shapes<'a>(&'a dyn TensorSource);

impl Shapes<'_> {
    fn has(&self, name: &str) -> bool {
        self.0.tensor(name).is_some()
    }

    /// Extent `axis` of tensor `name`.
    fn extent(&self, name: &str, axis: usize) -> Result<usize, ConfigError> {
        let view = self.0.tensor(name);
        let view = view.ok_or_else(|| ConfigError::Undetected(format!("it has no tensor {name}")))?;
        match view.shape.get(axis) {
            Some(extent) if *extent > 0 => Ok(*extent),
            _ => Err(ConfigError::Undetected(format!("{name} has shape {:?}", view.shape))),
        }
    }

    /// Outputs of a linear layer; its bias has them even where the weight is padded.
    fn outputs(&self, layer: &str) -> Result<usize, ConfigError> {
        self.extent(&format!("{layer}.bias"), 0).or_else(|_| self.extent(&format!("{layer}.weight"), 0))
    }

    /// Number of `n` from 0 on for which `{prefix}.{n}.{suffix}` exists.
    fn count(&self, prefix: &str, suffix: &str) -> usize {
        (0..).take_while(|n| self.has(&format!("{prefix}.{n}.{suffix}"))).count()
    }

    fn config(&self) -> Result<Config, ConfigError> {
        let hidden_size = self.outputs("s_embedder.proj")?;
        let pixels = self.extent("s_embedder.proj.weight", 1)?;
        let attention = self.outputs("pixel_blocks.0.attn.proj")?;
        let patch_depth = self.count("patch_blocks", "attn.q_norm_x.weight");
        let gates = self.count("lq_proj.output_heads", "weight").max(1);
        let gate_width = self.outputs("lq_proj.gate_modules.0.content_proj")?;
        let v15 = self.has("pit_lq_gate.log_alpha");
        let channels = self.extent("lq_proj.latent_proj.0.weight", 1)?;
        // 32 adapter channels are FLUX.2's 128, unpatchified.
        let unpatchify = if v15 && channels == 32 { 2 } else { 1 };
        let lq_latent_channels = channels * unpatchify * unpatchify;
        let wide = matches!(lq_latent_channels, 128 | 768 | 1152);
        let config = Config {
            num_groups: hidden_size / self.extent("patch_blocks.0.attn.q_norm_x.weight", 0)?,
            hidden_size,
            pixel_hidden_size: self.outputs("pixel_embedder.proj")?,
            pixel_attn_hidden_size: attention,
            pixel_num_groups: attention / self.extent("pixel_blocks.0.attn.q_norm.weight", 0)?,
            patch_depth,
            pixel_depth: self.count("pixel_blocks", "attn.q_norm.weight"),
            patch_size: (pixels / 3).isqrt(),
            txt_embed_dim: self.extent("y_embedder.proj.weight", 1)?,
            txt_max_length: self.extent("y_pos_embedding", 1)?,
            lq_latent_channels,
            lq_hidden_dim: self.extent("lq_proj.latent_proj.0.weight", 0)?,
            lq_interval: patch_depth.div_ceil(gates).max(1),
            lq_num_res_blocks: self.res_blocks(),
            lq_gate_type: if gate_width == 1 { GateType::PerToken } else { GateType::PerTokenPerDim },
            lq_conv_padding_mode: if v15 { PaddingMode::Replicate } else { PaddingMode::Zeros },
            lq_latent_unpatchify_factor: unpatchify,
            latent_spatial_down_factor: if wide { 16 } else { 8 },
            sr_scale: if lq_latent_channels == 1152 { 8 } else { 4 },
            pit_lq_inject: v15,
            rope_ref_h: if v15 { 2048 } else { 1024 },
            rope_ref_w: if v15 { 2048 } else { 1024 },
            ..Config::default()
        };
        config.validate()?;
        Ok(config)
    }

    /// Residual blocks are `latent_proj.3`, `.4`, ...
    fn res_blocks(&self) -> usize {
        let name = |n: usize| format!("lq_proj.latent_proj.{n}.block.0.weight");
        (3..).take_while(|n| self.has(&name(*n))).count()
    }
}
