"""Procedural pictures: dead leaves, that is shapes of all sizes laid over each other, each with its own texture."""

import numpy as np
import torch


def colours(rng, count):
    """RGB [count, 3] in [-1, 1], more often dull than bright."""
    grey = rng.uniform(-1, 1, (count, 1))
    return np.clip(grey + rng.normal(0, 0.35, (count, 3)), -1, 1).astype(np.float32)


def shape_mask(rng, y, x):
    """Which points of the plane, in units of the shape's radius, belong to it: a random one of four kinds."""
    kind = rng.integers(4)
    if kind == 0:
        return x * x + (y * rng.uniform(1, 3)) ** 2 < 1
    if kind == 1:
        return (np.abs(x) < 0.9) & (np.abs(y) < rng.uniform(0.05, 0.9))
    if kind == 2:
        return np.abs(x) + np.abs(y) * rng.uniform(0.8, 2) < 1
    angle, lobes = np.arctan2(y, x), rng.integers(3, 8)
    return np.hypot(x, y) < 0.7 + 0.3 * np.sin(lobes * angle + rng.uniform(0, 6.28))


def texture(rng, y, x, radius):
    """RGB [h, w, 3] of one shape: a gradient of two colours, mostly with stripes or grain over it."""
    first, second = colours(rng, 2)
    second = first + (second - first) * rng.uniform(0, 0.6)
    across = np.clip(0.5 + 0.5 * (x if rng.random() < 0.5 else np.hypot(x, y) * 1.4 - 0.7), 0, 1)[..., None]
    out = first + (second - first) * across
    kind, strength = rng.integers(3), rng.uniform(0.02, 0.35)
    if kind == 1:
        wave = np.sin((x + rng.uniform(-0.3, 0.3) * y * y) * radius * 6.28 / rng.uniform(4, 40))
        out = out + strength * wave[..., None]
    elif kind == 2:
        out = out + 0.5 * strength * rng.standard_normal(x.shape)[..., None]
    return out.astype(np.float32)


def dead_leaves(rng, side):
    """Picture [3, side, side] of torch float32 in [-1, 1]. Radii have the density r^-3 that gives scale invariance.
    Edges are hard: a crop should shrink them by up to 2."""
    grid = np.mgrid[0:side, 0:side].astype(np.float32) * 2 / side - 1
    canvas = texture(rng, grid[0], grid[1], side / 2)
    low, high = 5.0, 0.35 * side
    count = int(rng.integers(60, 260))
    radii = 1 / np.sqrt(rng.uniform(1 / high**2, 1 / low**2, count))
    radii = np.concatenate([rng.uniform(0.1, 0.35, count // 8) * side, radii])
    for radius in radii:
        centre = rng.uniform(0, side, 2)
        top, left = (max(0, int(c - 1.3 * radius)) for c in centre)
        bottom, right = (min(side, int(c + 1.3 * radius) + 1) for c in centre)
        if bottom <= top or right <= left:
            continue
        gy, gx = np.mgrid[top:bottom, left:right].astype(np.float32)
        gy, gx = (gy - centre[0]) / radius, (gx - centre[1]) / radius
        turn = rng.uniform(0, 6.28)
        x, y = np.cos(turn) * gx + np.sin(turn) * gy, np.cos(turn) * gy - np.sin(turn) * gx
        mask = shape_mask(rng, y, x)
        window = canvas[top:bottom, left:right]
        window[mask] = texture(rng, y, x, radius)[mask]
    return torch.from_numpy(np.ascontiguousarray(canvas.clip(-1, 1).transpose(2, 0, 1)))
