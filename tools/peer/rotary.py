"""Rotary position factors of the PiD network and their application."""

import torch


def image_rotary(rows, columns, head_size, config, device):
    """Rotary factors [rows*columns, head_size/2] complex64: pair 2k turns with the column, pair 2k+1 with the row."""
    k = torch.arange(head_size // 4, dtype=torch.float64, device=device)
    stretch = (head_size / 2) / (head_size / 2 - 2)

    def angles(count, reference):
        theta = 10000.0 * (count / (reference / config.patch_size)) ** stretch
        return torch.linspace(0, 16, count, dtype=torch.float64, device=device)[:, None] * theta ** (-4 * k / head_size)

    across = angles(columns, config.rope_ref_w)[None].expand(rows, -1, -1)
    down = angles(rows, config.rope_ref_h)[:, None].expand(-1, columns, -1)
    angle = torch.stack([across, down], dim=-1).reshape(rows * columns, head_size // 2)
    return torch.polar(torch.ones_like(angle), angle).to(torch.complex64)


def text_rotary(length, head_size, device):
    """Rotary factors [length, head_size/2] complex64."""
    m = torch.arange(head_size // 2, dtype=torch.float64, device=device)
    angle = torch.arange(length, dtype=torch.float64, device=device)[:, None] * 10000.0 ** (-2 * m / head_size)
    return torch.polar(torch.ones_like(angle), angle).to(torch.complex64)


def rotate(x, factors):
    """Turns neighbouring pairs of x [B, N, heads, d], in float32, by factors [N, d/2] complex or [N, d/2, 2] real."""
    if factors.is_complex():
        pairs = torch.view_as_complex(x.float().unflatten(-1, (-1, 2)))
        return torch.view_as_real(pairs * factors[:, None]).flatten(-2)
    a, b = x.float().unflatten(-1, (-1, 2)).unbind(-1)
    cos, sin = factors[:, None].unbind(-1)
    return torch.stack([a * cos - b * sin, a * sin + b * cos], dim=-1).flatten(-2)
