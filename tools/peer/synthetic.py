"""Synthetic weights and inputs: pure functions of a tensor's name, an element's index and a seed.

The released weights may not be passed on. Any program can make these instead, bit for bit: a hash of the name keys a
splitmix64 sequence, whose top 24 bits become a uniform number of the mean and deviation that `distribution` gives.
Run as a program, it writes such a checkpoint in bfloat16: `python synthetic.py --config tiny --seed 0 OUT.safetensors`.
"""

import argparse
import concurrent.futures
import math

import numpy as np
import torch

import pid_torch
from config import CONFIGS

MASK = (1 << 64) - 1
GOLDEN_GAMMA = 0x9E3779B97F4A7C15
ROOT_3 = np.float32(1.7320508)
CHUNK = 1 << 15  # elements made at once, so that the passes over them stay in the processor's cache
HEAD_NORMS = tuple(f"{x}_norm{stream}.weight" for x in "qk" for stream in ("", "_x", "_y"))


def fnv1a64(text):
    value = 0xCBF29CE484222325
    for byte in text.encode():
        value = (value ^ byte) * 0x100000001B3 & MASK
    return value


def uniform(name, seed, start, count):
    """Elements start..start+count of the stream `name`: float32 [count] in [-1, 1)."""
    key = fnv1a64(name) ^ (seed * 0xD1B54A32D192ED03 & MASK)
    z = np.arange(start + 1, start + count + 1, dtype=np.uint64)
    z *= np.uint64(GOLDEN_GAMMA)
    z += np.uint64(key)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        z ^= z >> np.uint64(shift)
        z *= np.uint64(factor)
    z ^= z >> np.uint64(31)
    u = (z >> np.uint64(40)).astype(np.float32) * np.float32(2.0**-24)
    return np.float32(2) * u - np.float32(1)


def round_bf16(x):
    """x float32 rounded in place to the nearest bfloat16, ties to even."""
    bits = x.view(np.uint32)
    bits += ((bits >> np.uint32(16)) & np.uint32(1)) + np.uint32(0x7FFF)
    bits &= np.uint32(0xFFFF0000)
    return x


def distribution(name, shape):
    """(mean, deviation) of a weight; the first rule that fits wins."""
    fan_in = math.prod(shape[1:])
    if name.endswith(HEAD_NORMS):
        return 1.5, 0.25
    if name.endswith("log_alpha"):
        return 1.609438, 0.1
    if name.endswith("content_proj.bias"):
        return 2.0, 0.1
    if name.endswith("y_pos_embedding"):
        return 0.0, 0.3
    if len(shape) == 1 and name.endswith(".weight"):
        return 1.0, 0.1
    if name.endswith(".bias"):
        return 0.0, 0.02
    if "adaLN_modulation" in name:
        return 0.0, (0.7 if name.startswith("pixel_blocks") else 3.0) / math.sqrt(fan_in)
    return 0.0, 1.0 / math.sqrt(fan_in)


def fill(name, shape, seed, mean=0.0, deviation=None, bf16=True, limit=None):
    """Tensor `shape` of float32; without a deviation the numbers have unit variance and no mean is added. With a
    `limit` the result is flat, the first `limit` elements."""
    if limit is not None:
        shape = (min(limit, math.prod(shape)),)
    out = np.empty(math.prod(shape), dtype=np.float32)
    for start in range(0, out.size, CHUNK):
        part = out[start:start + CHUNK]
        np.multiply(uniform(name, seed, start, part.size), ROOT_3, out=part)
        if deviation is not None:
            part *= np.float32(deviation)
            part += np.float32(mean)
        if bf16:
            round_bf16(part)
    return torch.from_numpy(out.reshape(shape))


def shapes(config):
    """{name: shape} of every weight of `config`."""
    with torch.device("meta"):
        return {name: tuple(w.shape) for name, w in pid_torch.PidNetwork(config).state_dict().items()}


def checkpoint(config, seed):
    """{name: float32 tensor}, values exact in bfloat16, of every weight of `config`."""
    with concurrent.futures.ThreadPoolExecutor(torch.get_num_threads()) as pool:
        tensors = {name: pool.submit(fill, name, shape, seed, *distribution(name, shape))
                   for name, shape in shapes(config).items()}
        return {name: tensor.result() for name, tensor in tensors.items()}


def inputs(config, seed, batch, height, width, text_length, steps=4):
    """(latent [B, C, h, w], caption [B, T, E], list of `steps` noises [B, 3, H, W])."""
    side = config.sr_scale * config.latent_spatial_down_factor
    if height % side or width % side:
        raise ValueError(f"{width}x{height}: sides must be multiples of {side}")
    latent = fill("input.latent", (batch, config.lq_latent_channels, height // side, width // side), seed)
    caption = fill("input.caption", (batch, text_length, config.txt_embed_dim), seed)
    noise = [fill(f"input.noise.{k}", (batch, 3, height, width), seed, bf16=False) for k in range(steps)]
    return latent, caption, noise


def main():
    parser = argparse.ArgumentParser(description="Write a synthetic checkpoint in bfloat16.")
    parser.add_argument("--config", choices=CONFIGS, default="tiny")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("out")
    args = parser.parse_args()
    from safetensors.torch import save_file

    weights = checkpoint(CONFIGS[args.config], args.seed)
    save_file({name: weights.pop(name).bfloat16() for name in list(weights)}, args.out)


if __name__ == "__main__":
    main()
