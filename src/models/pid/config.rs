//! Network configurations: the released checkpoints by name, the JSON form, and detection from tensor shapes.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::release::Release;

/// How the adapter's features are gated into the patch stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum GateType {
    /// One gate per token (v1.5).
    #[serde(rename = "sigma_aware_per_token")]
    PerToken,
    /// One gate per token and channel (v1).
    #[serde(rename = "sigma_aware_per_token_per_dim", alias = "sigma_aware_per_token_and_dim")]
    PerTokenPerDim,
}

/// Border handling of the adapter's convolutions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum PaddingMode {
    Zeros,
    Replicate,
}

/// The network's hyper-parameters under their official argument names (nv-tlabs/PiD). Absent names in JSON
/// take the defaults of the released v1 FLUX checkpoint; arguments of the public code that only training uses
/// are skipped ([`Config::from_json`]), unknown names are refused.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Channels of the picture; 3.
    pub in_channels: usize,
    /// Attention heads of the patch blocks.
    pub num_groups: usize,
    /// Width `D` of the token streams.
    pub hidden_size: usize,
    /// Channels of a pixel.
    pub pixel_hidden_size: usize,
    /// Width of the pixel blocks' attention.
    pub pixel_attn_hidden_size: usize,
    /// Attention heads of the pixel blocks.
    pub pixel_num_groups: usize,
    /// Number of patch blocks.
    pub patch_depth: usize,
    /// Number of pixel blocks.
    pub pixel_depth: usize,
    /// Side of a patch in pixels.
    pub patch_size: usize,
    /// Width of the caption embeddings.
    pub txt_embed_dim: usize,
    /// Most caption tokens used.
    pub txt_max_length: usize,
    /// Channels of a low-quality picture given beside the latent; 0 in every released checkpoint.
    pub lq_in_channels: usize,
    /// Channels of the latent as given.
    pub lq_latent_channels: usize,
    /// Width of the adapter.
    pub lq_hidden_dim: usize,
    /// A gate stands before every `lq_interval`-th patch block.
    pub lq_interval: usize,
    /// Residual blocks of the adapter.
    pub lq_num_res_blocks: usize,
    /// Form of the gates.
    pub lq_gate_type: GateType,
    /// Border handling of the adapter's convolutions.
    pub lq_conv_padding_mode: PaddingMode,
    /// Factor by which the adapter unpacks channels into space: 1 or 2.
    pub lq_latent_unpatchify_factor: usize,
    /// Pixels of the generator's own picture per latent position.
    pub latent_spatial_down_factor: usize,
    /// Size of the output over the generator's own picture.
    pub sr_scale: usize,
    /// One more gate before the pixel blocks (v1.5).
    pub pit_lq_inject: bool,
    /// Form of the rotary embedding; only `ntk_aware` exists.
    pub rope_mode: RopeMode,
    /// Reference height of the rotary embedding in pixels.
    pub rope_ref_h: usize,
    /// Reference width of the rotary embedding in pixels.
    pub rope_ref_w: usize,
}

/// Form of the rotary embedding.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum RopeMode {
    #[default]
    NtkAware,
}

/// Arguments of the public code that have one value (as JSON) in all released networks.
const FIXED_ARGUMENTS: &[(&str, &str)] = &[
    ("use_text_rope", "true"),
    ("text_rope_theta", "10000.0"),
    ("lq_inject_mode", "\"controlnet\""),
    ("enable_ed", "false"),
];

/// Arguments of the public code that have no part in decoding.
const TRAINING_ARGUMENTS: &[&str] = &[
    "num_text_blocks",
    "repa_encoder_index",
    "lq_aux_rgb_head",
    "lq_aux_rgb_head_latent_block_idx",
    "zero_init_lq",
    "train_lq_proj_only",
    "ed_compress_ratio",
    "ed_depth_per_stage",
    "ed_window_size",
    "ed_num_heads",
    "ed_hidden_size",
    "ed_use_token_shuffle",
];

impl Default for Config {
    fn default() -> Self {
        Self {
            in_channels: 3,
            num_groups: 24,
            hidden_size: 1536,
            pixel_hidden_size: 16,
            pixel_attn_hidden_size: 1152,
            pixel_num_groups: 16,
            patch_depth: 14,
            pixel_depth: 2,
            patch_size: 16,
            txt_embed_dim: 2304,
            txt_max_length: 300,
            lq_in_channels: 0,
            lq_latent_channels: 16,
            lq_hidden_dim: 512,
            lq_interval: 2,
            lq_num_res_blocks: 4,
            lq_gate_type: GateType::PerTokenPerDim,
            lq_conv_padding_mode: PaddingMode::Zeros,
            lq_latent_unpatchify_factor: 1,
            latent_spatial_down_factor: 8,
            sr_scale: 4,
            pit_lq_inject: false,
            rope_mode: RopeMode::NtkAware,
            rope_ref_h: 1024,
            rope_ref_w: 1024,
        }
    }
}

/// Why a configuration cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum ConfigError {
    #[error("unknown config `{name}`; known: {known}; or give a JSON file with the official argument names")]
    UnknownName { name: String, known: String },
    #[error("config JSON: {0}")]
    Json(String),
    #[error("config: {field} = {value}, {expected}")]
    Invalid { field: &'static str, value: usize, expected: String },
    #[error("cannot tell the config from the checkpoint: {0}; pass --config NAME or CONFIG.json")]
    Undetected(String),
}

impl Config {
    pub(crate) fn v1(channels: usize, down: usize, sr_scale: usize) -> Self {
        Self { lq_latent_channels: channels, latent_spatial_down_factor: down, sr_scale, ..Self::default() }
    }

    pub(super) fn v15(channels: usize, down: usize, unpatchify: usize) -> Self {
        Self {
            lq_hidden_dim: 1024,
            lq_gate_type: GateType::PerToken,
            lq_conv_padding_mode: PaddingMode::Replicate,
            lq_latent_unpatchify_factor: unpatchify,
            pit_lq_inject: true,
            rope_ref_h: 2048,
            rope_ref_w: 2048,
            ..Self::v1(channels, down, 4)
        }
    }

    /// The same architecture with fewer and narrower layers.
    pub(crate) fn small(self) -> Self {
        Self {
            num_groups: 3,
            hidden_size: 192,
            pixel_attn_hidden_size: 144,
            pixel_num_groups: 2,
            patch_depth: 4,
            txt_embed_dim: 64,
            txt_max_length: 24,
            lq_hidden_dim: 64,
            ..self
        }
    }

    /// An 18-million-parameter network of the v1.5 architecture for tests.
    pub fn tiny() -> Self {
        Self::v15(16, 8, 1).small()
    }

    /// The 12-million-parameter network of the v1 architecture that `demo/` has trained weights of; its caption is
    /// always empty.
    pub fn demo() -> Self {
        Self { pixel_depth: 1, txt_max_length: 4, ..Self::v1(16, 8, 4).small() }
    }

    /// Checks that every value is one the network can be built with.
    ///
    /// # Errors
    /// [`ConfigError::Invalid`] names the first argument that is not, its value and what is expected.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let fail = |field, value, expected: &str| Err(ConfigError::Invalid { field, value, expected: expected.into() });
        let sizes: [(&'static str, usize, usize); 16] = [
            ("num_groups", self.num_groups, 1024),
            ("hidden_size", self.hidden_size, 1 << 16),
            ("pixel_hidden_size", self.pixel_hidden_size, 1024),
            ("pixel_attn_hidden_size", self.pixel_attn_hidden_size, 1 << 16),
            ("pixel_num_groups", self.pixel_num_groups, 1024),
            ("patch_depth", self.patch_depth, 1024),
            ("pixel_depth", self.pixel_depth, 1024),
            ("patch_size", self.patch_size, 256),
            ("txt_embed_dim", self.txt_embed_dim, 1 << 16),
            ("txt_max_length", self.txt_max_length, 1 << 16),
            ("lq_latent_channels", self.lq_latent_channels, 1 << 16),
            ("lq_hidden_dim", self.lq_hidden_dim, 1 << 16),
            ("lq_interval", self.lq_interval, 1024),
            ("lq_num_res_blocks", self.lq_num_res_blocks, 1024),
            ("latent_spatial_down_factor", self.latent_spatial_down_factor, 256),
            ("sr_scale", self.sr_scale, 64),
        ];
        for (field, value, most) in sizes {
            if value == 0 || value > most {
                return Err(ConfigError::Invalid { field, value, expected: format!("expected 1 to {most}") });
            }
        }
        if self.in_channels != 3 {
            return fail("in_channels", self.in_channels, "expected 3");
        }
        if self.lq_in_channels != 0 {
            return fail(
                "lq_in_channels",
                self.lq_in_channels,
                "expected 0 (a low-quality picture input is not part of any released checkpoint)",
            );
        }
        if !self.hidden_size.is_multiple_of(4 * self.num_groups) || self.head_dim() < 8 {
            return fail("hidden_size", self.hidden_size, "expected num_groups heads of a multiple of 4, at least 8");
        }
        if !self.hidden_size.is_multiple_of(3) {
            return fail("hidden_size", self.hidden_size, "expected a multiple of 3 (the feed-forward is 8/3 wide)");
        }
        if !self.pixel_attn_hidden_size.is_multiple_of(4 * self.pixel_num_groups) || self.pixel_head_dim() < 8 {
            return fail(
                "pixel_attn_hidden_size",
                self.pixel_attn_hidden_size,
                "expected pixel_num_groups heads of a multiple of 4, at least 8",
            );
        }
        if !self.pixel_hidden_size.is_multiple_of(4) {
            return fail("pixel_hidden_size", self.pixel_hidden_size, "expected a multiple of 4");
        }
        if !self.lq_hidden_dim.is_multiple_of(4) {
            return fail("lq_hidden_dim", self.lq_hidden_dim, "expected a multiple of 4 (group norm has 4 groups)");
        }
        let factor = self.lq_latent_unpatchify_factor;
        if factor != 1 && factor != 2 || !self.lq_latent_channels.is_multiple_of(factor * factor) {
            return fail(
                "lq_latent_unpatchify_factor",
                factor,
                "expected 1 or 2, its square dividing lq_latent_channels",
            );
        }
        for (field, value) in [("rope_ref_h", self.rope_ref_h), ("rope_ref_w", self.rope_ref_w)] {
            if value < self.patch_size || value > 1 << 20 {
                return fail(field, value, "expected at least patch_size");
            }
        }
        Ok(())
    }

    /// Head size of the patch blocks.
    pub const fn head_dim(&self) -> usize {
        self.hidden_size / self.num_groups
    }

    /// Head size of the pixel blocks.
    pub const fn pixel_head_dim(&self) -> usize {
        self.pixel_attn_hidden_size / self.pixel_num_groups
    }

    /// Inner width of the patch blocks' feed-forward, `8 D / 3`.
    pub const fn ffn_inner(&self) -> usize {
        self.hidden_size * 8 / 3
    }

    /// Hidden width of the pixel MLP.
    pub const fn pixel_mlp(&self) -> usize {
        self.pixel_hidden_size * 4
    }

    /// Values of one patch's pixels in the pixel blocks: `P * P * C`.
    pub const fn pixel_row(&self) -> usize {
        self.patch_size * self.patch_size * self.pixel_hidden_size
    }

    /// Number of gates between patch blocks (the pit gate not counted).
    pub const fn num_gates(&self) -> usize {
        self.patch_depth.div_ceil(self.lq_interval)
    }

    /// Width of a gate between patch blocks.
    pub const fn gate_width(&self) -> usize {
        match self.lq_gate_type {
            GateType::PerToken => 1,
            GateType::PerTokenPerDim => self.hidden_size,
        }
    }

    /// Channels of the latent after unpatchifying.
    pub const fn adapter_channels(&self) -> usize {
        self.lq_latent_channels / (self.lq_latent_unpatchify_factor * self.lq_latent_unpatchify_factor)
    }

    /// Output pixels per latent position.
    pub const fn pixels_per_latent(&self) -> usize {
        self.sr_scale * self.latent_spatial_down_factor
    }

    /// `v1` or `v1.5`, as far as this config can be told to be either.
    pub const fn version(&self) -> &'static str {
        if self.pit_lq_inject { "v1.5" } else { "v1" }
    }

    /// Parses the JSON form.
    ///
    /// # Errors
    /// When the text is not JSON, names an unknown argument, or a value is out of range.
    pub fn from_json(text: &str) -> Result<Self, ConfigError> {
        let json = |e: serde_json::Error| ConfigError::Json(e.to_string());
        let mut object: Map<String, Value> = serde_json::from_str(text).map_err(json)?;
        for (name, only) in FIXED_ARGUMENTS {
            let only: Value = serde_json::from_str(only).map_err(json)?;
            match object.remove(*name) {
                Some(found) if found != only => {
                    return Err(ConfigError::Json(format!("{name} = {found}: only {only} is supported, as released")));
                }
                _ => {}
            }
        }
        for name in TRAINING_ARGUMENTS {
            object.remove(*name);
        }
        let config: Self = serde_json::from_value(Value::Object(object)).map_err(json)?;
        config.validate()?;
        Ok(config)
    }

    /// The JSON form, all arguments spelled out.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("a struct of numbers and names has a JSON form")
    }

    /// The released checkpoint or test network of that name.
    ///
    /// # Errors
    /// [`ConfigError::UnknownName`] lists the known names.
    pub fn by_name(name: &str) -> Result<Self, ConfigError> {
        Release::by_name(name).map(|r| r.config()).ok_or_else(|| ConfigError::UnknownName {
            name: name.into(),
            known: Release::ALL.iter().map(|r| r.name).collect::<Vec<_>>().join(", "),
        })
    }

    /// Name of a release with exactly this network, if there is one.
    pub fn name(&self) -> Option<&'static str> {
        Release::ALL.iter().find(|r| r.config() == *self).map(|r| r.name)
    }
}

impl fmt::Display for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "PiD {}: hidden {}, {} heads, {} patch + {} pixel blocks, latent {} channels /{}, x{}",
            self.version(),
            self.hidden_size,
            self.num_groups,
            self.patch_depth,
            self.pixel_depth,
            self.lq_latent_channels,
            self.latent_spatial_down_factor,
            self.sr_scale
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_round_trips() {
        for release in Release::ALL {
            assert_eq!(Config::from_json(&release.config().to_json()), Ok(release.config()), "{}", release.name);
        }
    }

    #[test]
    fn official_arguments_are_read_and_others_refused() {
        let text = r#"{"hidden_size": 192, "num_groups": 3, "repa_encoder_index": 6, "use_text_rope": true}"#;
        assert_eq!(Config::from_json(text).unwrap().hidden_size, 192);
        for (text, word) in [
            (r#"{"lq_inject_mode": "token_add"}"#, "lq_inject_mode"),
            (r#"{"hidden_sise": 192}"#, "hidden_sise"),
            (r#"{"hidden_size": 0}"#, "hidden_size = 0"),
            (r#"{"hidden_size": 1537}"#, "1537"),
            (r#"{"num_groups": -1}"#, "-1"),
            (r#"{"lq_gate_type": "open"}"#, "open"),
            ("[]", "config JSON"),
            ("", "config JSON"),
        ] {
            let error = Config::from_json(text).unwrap_err().to_string();
            assert!(error.contains(word), "{text}: {error}");
        }
    }
}
