"""The run's averaged weights as a checkpoint that `pid decode --checkpoint` takes."""

import json

import torch
from safetensors.torch import load_file, save_file

import dct16
import network as demo


def export(average, path):
    """Writes {name: float32 tensor} as bfloat16, with the configuration and the latent code's statistics."""
    mean, std = dct16.statistics()
    metadata = {"format": "pt", "config": demo.config_json(demo.DEMO), "pid.caption": "none",
                "dct16.mean": json.dumps(rounded(mean)), "dct16.std": json.dumps(rounded(std)),
                "description": "pid-engine's demo model: own weights, not NVIDIA's"}
    save_file({name: weight.to(torch.bfloat16).contiguous() for name, weight in average.items()}, path, metadata)


def rounded(values):
    return [round(v, 6) for v in values.flatten().tolist()]


def load(path):
    """The network of an exported file, in float32."""
    network = demo.PidNetwork(demo.DEMO)
    network.load_state_dict({name: weight.float() for name, weight in load_file(path).items()})
    return network.eval().requires_grad_(False)
