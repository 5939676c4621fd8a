"""A VAE decoder of FLUX's shape with random weights: what PiD replaces, for time and memory only.

Latent [B, 16, h, w] -> picture [B, 3, 8h, 8w]. Channels 512, 512, 256, 128 from the latent up, three residual blocks a
level, three nearest upsamplings, one attention of a single head at the latent's size, GroupNorm of 32 groups with eps
1e-6 (AutoencoderKL of Latent Diffusion, arXiv 2112.10752; FLUX.1's autoencoder configuration has these numbers).
"""

import torch
import torch.nn.functional as F
from torch import nn

FACTOR = 8           # picture pixels per latent pixel along a side
TILE = 64            # latent pixels of a tile's side: 512 pixels
OVERLAP = 0.25       # of a tile, with each neighbour
CHANNELS = (128, 256, 512, 512)
RESIDUALS = 3


def group_norm(channels):
    return nn.GroupNorm(32, channels, eps=1e-6)


class Residual(nn.Module):
    def __init__(self, inputs, outputs):
        super().__init__()
        self.norm1, self.conv1 = group_norm(inputs), nn.Conv2d(inputs, outputs, 3, padding=1)
        self.norm2, self.conv2 = group_norm(outputs), nn.Conv2d(outputs, outputs, 3, padding=1)
        self.shortcut = nn.Conv2d(inputs, outputs, 1) if inputs != outputs else nn.Identity()

    def forward(self, x):
        z = self.conv1(F.silu(self.norm1(x)))
        return self.shortcut(x) + self.conv2(F.silu(self.norm2(z)))


class Attention(nn.Module):
    """All latent pixels attend to all, one head as wide as the channels."""

    def __init__(self, channels):
        super().__init__()
        self.norm = group_norm(channels)
        self.q, self.k, self.v, self.out = (nn.Linear(channels, channels) for _ in range(4))

    def forward(self, x):
        """x [B, C, h, w]."""
        z = self.norm(x).flatten(2).transpose(1, 2)
        out = F.scaled_dot_product_attention(*(m(z)[:, None] for m in (self.q, self.k, self.v)))[:, 0]
        return x + self.out(out).transpose(1, 2).reshape(x.shape)


class Upsample(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x):
        return self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))


class Decoder(nn.Sequential):
    """Latent [B, C, h, w] -> picture [B, 3, 8h, 8w]."""

    def __init__(self, channels=CHANNELS, latent_channels=16):
        top = channels[-1]
        layers = [nn.Conv2d(latent_channels, top, 3, padding=1), Residual(top, top), Attention(top), Residual(top, top)]
        width = top
        for level, outputs in enumerate(reversed(channels)):
            for _ in range(RESIDUALS):
                layers.append(Residual(width, outputs))
                width = outputs
            if level < len(channels) - 1:
                layers.append(Upsample(width))
        layers += [group_norm(width), nn.SiLU(), nn.Conv2d(width, 3, 3, padding=1)]
        super().__init__(*layers)


def blend(before, tile, extent, axis):
    """`tile` with its first `extent` pixels along `axis` faded over from the last ones of its neighbour `before`."""
    extent = min(extent, before.shape[axis], tile.shape[axis])
    shape = [1] * tile.ndim
    shape[axis] = extent
    ramp = (torch.arange(extent, device=tile.device) / extent).to(tile.dtype).view(shape)
    old = before.narrow(axis, before.shape[axis] - extent, extent)
    tile = tile.clone()
    start = tile.narrow(axis, 0, extent)
    start.copy_(old * (1 - ramp) + start * ramp)
    return tile


def decode_tiled(decoder, latent, tile=TILE, overlap=OVERLAP):
    """Decodes overlapping squares of `tile` latent pixels and fades neighbours into each other, in the way of the usual
    pipelines: every tile is blended with the one above, then with the one to its left, and cut to its stride."""
    stride = int(tile * (1 - overlap))
    extent, keep = int(tile * FACTOR * overlap), tile * FACTOR - int(tile * FACTOR * overlap)
    rows, above = [], None
    for y in range(0, latent.shape[2], stride):
        row = [decoder(latent[:, :, y:y + tile, x:x + tile]) for x in range(0, latent.shape[3], stride)]
        done = []
        for k, piece in enumerate(row):
            if above is not None:
                piece = blend(above[k], piece, extent, 2)
            if k > 0:
                piece = blend(row[k - 1], piece, extent, 3)
            row[k] = piece
            done.append(piece[:, :, :keep, :keep])
        rows.append(torch.cat(done, dim=3))
        above = row
    height, width = latent.shape[2] * FACTOR, latent.shape[3] * FACTOR
    return torch.cat(rows, dim=2)[:, :, :height, :width]
