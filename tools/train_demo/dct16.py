"""The latent code `dct16`, which needs no weights: a picture's quarter-size copy as 16 numbers per 8x8 block.

Encoding: the picture is averaged over squares of 4x4 pixels, turned into full-range BT.601 YCbCr (chroma centred on 0),
cut into 8x8 blocks and transformed by the orthonormal DCT-II. Of each block the first 8 coefficients of Y, 4 of Cb and
4 of Cr in zig-zag order (the first step goes right) are kept, each less its mean over its standard deviation.
Pictures are [B, 3, H, W] RGB in [-1, 1] with sides in multiples of 32; latents are [B, 16, H/32, W/32].
"""

import json
import math
import pathlib

import torch
import torch.nn.functional as F

SHRINK, BLOCK = 4, 8
KEPT = (8, 4, 4)  # coefficients of Y, Cb, Cr
ZIGZAG = ((0, 0), (0, 1), (1, 0), (2, 0), (1, 1), (0, 2), (0, 3), (1, 2))  # (row, column) frequencies
TO_YCBCR = ((0.299, 0.587, 0.114),
            (-0.299 / 1.772, -0.587 / 1.772, 0.5),
            (0.5, -0.587 / 1.402, -0.114 / 1.402))
STATISTICS = pathlib.Path(__file__).with_name("dct16.json")


def basis():
    """Kept basis pictures [16, 3, 8, 8] over (Y, Cb, Cr): orthonormal, so they both analyse and synthesise."""
    i = torch.arange(BLOCK, dtype=torch.float64)
    waves = torch.cos(math.pi * (2 * i[None] + 1) * i[:, None] / (2 * BLOCK)) * math.sqrt(2 / BLOCK)
    waves[0] /= math.sqrt(2)
    out = torch.zeros(sum(KEPT), 3, BLOCK, BLOCK, dtype=torch.float64)
    channel = 0
    for component, kept in enumerate(KEPT):
        for row, column in ZIGZAG[:kept]:
            out[channel, component] = waves[row][:, None] * waves[column][None]
            channel += 1
    return out.float()


def colour_matrix():
    return torch.tensor(TO_YCBCR, dtype=torch.float64)


def coefficients(picture):
    """Raw coefficients [B, 16, H/32, W/32] of pictures [B, 3, H, W]."""
    small = F.avg_pool2d(picture, SHRINK)
    ycbcr = torch.einsum("dc,bchw->bdhw", colour_matrix().to(small), small)
    return F.conv2d(ycbcr, basis().to(small), stride=BLOCK)


def low_quality(raw):
    """The quarter-size picture [B, 3, H/4, W/4] that raw coefficients stand for, not clamped."""
    ycbcr = F.conv_transpose2d(raw, basis().to(raw), stride=BLOCK)
    return torch.einsum("dc,bchw->bdhw", torch.linalg.inv(colour_matrix()).to(raw), ycbcr)


def statistics():
    """(mean, std) [1, 16, 1, 1] of the raw coefficients."""
    values = json.loads(STATISTICS.read_text())
    return tuple(torch.tensor(values[name]).view(1, -1, 1, 1) for name in ("mean", "std"))


def encode(picture):
    """Latent [B, 16, H/32, W/32] of pictures [B, 3, H, W]."""
    mean, std = statistics()
    return (coefficients(picture) - mean) / std


def decode(latent):
    """Quarter-size picture [B, 3, H/4, W/4] of a latent, not clamped."""
    mean, std = statistics()
    return low_quality(latent * std + mean)


def baseline(latent):
    """Full-size picture [B, 3, H, W] in [-1, 1]: `decode` enlarged by bicubic interpolation, whose a is -0.5 under
    `antialias`, as in the engine."""
    small = decode(latent)
    return F.interpolate(small, scale_factor=SHRINK, mode="bicubic", align_corners=False, antialias=True).clamp(-1, 1)
