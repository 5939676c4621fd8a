"""Hyper-parameters of the PiD networks under their official argument names."""

import dataclasses
import json


@dataclasses.dataclass(frozen=True)
class Config:
    """The network's hyper-parameters under their official names; defaults are the v1 FLUX checkpoint."""

    num_groups: int = 24
    hidden_size: int = 1536
    pixel_hidden_size: int = 16
    pixel_attn_hidden_size: int = 1152
    pixel_num_groups: int = 16
    patch_depth: int = 14
    pixel_depth: int = 2
    patch_size: int = 16
    txt_embed_dim: int = 2304
    txt_max_length: int = 300
    lq_latent_channels: int = 16
    lq_hidden_dim: int = 512
    lq_interval: int = 2
    lq_num_res_blocks: int = 4
    lq_gate_type: str = "sigma_aware_per_token_per_dim"
    lq_conv_padding_mode: str = "zeros"
    lq_latent_unpatchify_factor: int = 1
    latent_spatial_down_factor: int = 8
    sr_scale: int = 4
    pit_lq_inject: bool = False
    rope_ref_h: int = 1024
    rope_ref_w: int = 1024

    @staticmethod
    def from_json(text):
        """Reads the official names from a JSON object; names that do not change the released networks are skipped."""
        values = json.loads(text)
        known = {field.name for field in dataclasses.fields(Config)}
        unknown = set(values) - known - {"in_channels", "lq_in_channels", "rope_mode"}
        if unknown:
            raise ValueError(f"unknown network arguments: {sorted(unknown)}")
        return Config(**{name: value for name, value in values.items() if name in known})

    @property
    def gate_width(self):
        """Outputs of a gate between patch blocks: one per token (v1.5), or one per token and channel (v1)."""
        return 1 if self.lq_gate_type == "sigma_aware_per_token" else self.hidden_size


V15 = dict(lq_hidden_dim=1024, lq_gate_type="sigma_aware_per_token", lq_conv_padding_mode="replicate",
           pit_lq_inject=True, rope_ref_h=2048, rope_ref_w=2048)
TINY = dict(num_groups=3, hidden_size=192, pixel_attn_hidden_size=144, pixel_num_groups=2, patch_depth=4,
            txt_embed_dim=64, txt_max_length=24)
CONFIGS = {"flux-v1": Config(), "flux-v1.5": Config(**V15), "tiny": Config(**{**V15, **TINY, "lq_hidden_dim": 64})}
