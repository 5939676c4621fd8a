"""The demo network: the peer's PiD network at the size `DEMO`, with the entry points that training needs.

Training sees windows of a larger picture. A window keeps the rotary factors and pixel positions that it has in the
whole, since both depend on the whole picture's size. Symbols as in tools/peer/pid_torch.py.
"""

import json
import pathlib
import sys

import torch
import torch.nn.functional as F

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "peer"))

import pid_torch
from config import Config
from pid_torch import PidNetwork
from rotary import image_rotary, text_rotary

CAPTION_TOKENS = 4
DEMO = Config(num_groups=3, hidden_size=192, pixel_attn_hidden_size=144, pixel_num_groups=2, patch_depth=4,
              pixel_depth=1, txt_embed_dim=64, txt_max_length=CAPTION_TOKENS, lq_hidden_dim=64)
TIMES = (1.0, *pid_torch.TIMES[:-1])  # every time at which a decode of 1 to 4 steps calls the network


def config_json(config):
    """The configuration as the engine writes it into a checkpoint's metadata."""
    return json.dumps({"in_channels": 3, "lq_in_channels": 0, "rope_mode": "ntk_aware",
                       **{name: getattr(config, name) for name in config.__dataclass_fields__}})


def empty_caption(batch):
    """The caption of every picture, [B, T, E]: zeros, which the engine puts in when none is given."""
    return torch.zeros(batch, CAPTION_TOKENS, DEMO.txt_embed_dim)


class Window:
    """A window of `rows` x `columns` patches at (top, left) of a picture of `whole` = (rows, columns) patches."""

    def __init__(self, rows, columns, whole=None, top=0, left=0):
        whole = whole or (rows, columns)
        self.rows, self.columns, self.top, self.left = rows, columns, top, left
        index = (torch.arange(top, top + rows)[:, None] * whole[1] + torch.arange(left, left + columns)).flatten()
        head = DEMO.hidden_size // DEMO.num_groups
        pixel_head = DEMO.pixel_attn_hidden_size // DEMO.pixel_num_groups
        self.rotary = (image_rotary(*whole, head, DEMO, "cpu")[index], text_rotary(CAPTION_TOKENS, head, "cpu"),
                       image_rotary(*whole, pixel_head, DEMO, "cpu")[index])


def time_embedding(network, t):
    """The embedding [B, 1, D] of times t [B], in float32 even under autocast: the time's channels depend on it."""
    with torch.autocast("cpu", enabled=False):
        return network.t_embedder(t)[:, None]


def to_patches(picture, p=16):
    """[B, C, H, W] -> [B, L, C*p*p], channel-major rows."""
    return F.pixel_unshuffle(picture, p).flatten(2).transpose(1, 2)


def trunk(network, patches, t, features, sigma, window):
    """What the pixel blocks are given, [B, L, D]; `patches` [B, L, 768] of x, or None where x tells nothing."""
    time = time_embedding(network, t)
    batch, tokens, _ = features[0].shape
    y = network.y_embedder(empty_caption(batch)) + network.y_pos_embedding
    if patches is None:
        s = network.s_embedder.proj.bias.expand(batch, tokens, -1)
    else:
        s = network.s_embedder(patches)
    for i, block in enumerate(network.patch_blocks):
        if i % DEMO.lq_interval == 0:
            gate = i // DEMO.lq_interval
            s = network.lq_proj.gate_modules[gate](s, features[gate], sigma)
        s, y = block(s, y, F.silu(time), window.rotary[0], window.rotary[1])
    return F.silu(time + s)


def position_code(rows, columns, top=0, left=0):
    """The pixel embedder's code of position, [rows, columns, 16], from pixel (top, left) on."""
    w = 10000.0 ** (-torch.arange(4) / 4)

    def waves(start, count):
        angle = torch.arange(start, start + count)[:, None] * w
        return torch.cat([angle.sin(), angle.cos()], dim=-1)

    across = waves(left, columns)[None].expand(rows, -1, -1)
    down = waves(top, rows)[:, None].expand(-1, columns, -1)
    return torch.cat([across, down], dim=-1)


def velocity(network, x, t, features, sigma, window):
    """Velocity [B, 3, H, W] of a window's x at times t [B]."""
    p, (batch, _, height, width) = DEMO.patch_size, x.shape
    s = trunk(network, to_patches(x), t, features, sigma, window)
    code = position_code(height, width, window.top * p, window.left * p)
    px = network.pixel_embedder.proj(x.permute(0, 2, 3, 1)) + code
    px = px.view(batch, window.rows, p, window.columns, p, -1).transpose(2, 3).reshape(-1, p * p, px.shape[-1])
    for block in network.pixel_blocks:
        px = block(px, s, window.rotary[2])
    v = network.final_layer(px).view(batch, window.rows, window.columns, p, p, 3)
    return v.permute(0, 5, 1, 3, 2, 4).reshape(batch, 3, height, width)


def sample(network, latent, sigma, noise, window, steps=4):
    """The four-step decode, differentiable: picture [B, 3, H, W], not clamped, and every step's estimate."""
    times, x, estimates = pid_torch.schedule(steps), noise[0], []
    features = network.lq_proj(latent, window.rows, window.columns)
    for k in range(steps):
        t = torch.full((x.shape[0],), times[k])
        estimate = x - times[k] * velocity(network, x, t, features, sigma, window)
        estimates.append(estimate)
        if k + 1 < steps:
            x = (1 - times[k + 1]) * estimate + times[k + 1] * noise[k + 1]
    return estimate, estimates
