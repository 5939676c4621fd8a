"""Runs golden cases through `pid_torch` on the CPU in float32 and prints the relative L2 error of every stored tensor.

    python check_golden.py FOLDER [--case tiny_v1_flux ...] [--threads N]

FOLDER holds safetensors files whose metadata names config, seed and sizes. A case's inputs are compared with the
stored ones where the file has them. The exit status is 1 when an error exceeds 1e-4, or when no case was found.
"""

import argparse
import math
import pathlib
import sys
import time

import torch
from safetensors import safe_open

import pid_torch
import synthetic
from config import Config

TOLERANCE = 1e-4  # float32 of two implementations; the public code's own bfloat16 run is at 2e-2
TAPPED_STEP = 1


def relative_l2(a, b):
    """||a - b|| / ||b||; infinite when the shapes differ or the quotient is not a number."""
    if a.shape != b.shape:
        return math.inf
    error = ((a.double() - b.double()).norm() / b.double().norm()).item()
    return math.inf if math.isnan(error) else error


def tap_modules(network, golden, captured, step):
    """Has every module that the file has a tap of leave its output in `captured` while `step[0]` is the tapped one."""
    prefix = f"fp32.step{TAPPED_STEP}."
    modules = dict(network.named_modules())

    def hook(name):
        def keep(module, args, output):
            if step[0] == TAPPED_STEP:
                for i, tensor in enumerate(output if isinstance(output, (tuple, list)) else [output]):
                    captured[f"{prefix}{name}.{i}" if isinstance(output, (tuple, list)) else prefix + name] = tensor
        return keep

    for name in modules:
        if name and any(key == prefix + name or key.startswith(f"{prefix}{name}.") for key in golden):
            modules[name].register_forward_hook(hook(name))


def run_case(path):
    """Errors {tensor name: relative L2} of one golden file."""
    with safe_open(path, framework="pt") as file:
        meta = file.metadata()
        golden = {name: file.get_tensor(name) for name in file.keys()}
    config = Config.from_json(meta["config"])
    seed, batch, height, width, text_length = (
        int(meta[key]) for key in ("seed", "batch", "height", "width", "text_length"))
    network = pid_torch.build(config, synthetic.checkpoint(config, seed))
    latent, caption, noise = synthetic.inputs(config, seed, batch, height, width, text_length)
    ours = {"latent": latent, "caption": caption, **{f"noise.{k}": n for k, n in enumerate(noise)}}

    step = [0]
    tap_modules(network, golden, ours, step)

    def on_step(k, velocity, x):
        ours[f"fp32.step{k}.velocity"], ours[f"fp32.step{k}.x"] = velocity, x
        step[0] = k + 1

    ours["fp32.image"] = pid_torch.sample(network, latent, caption, golden["sigma"], noise, on_step=on_step)
    if (tap := f"fp32.step{TAPPED_STEP}.pixel_embedder") in golden:
        ours[tap] = per_patch(ours[tap], config.patch_size)
    return {name: relative_l2(ours[name], golden[name]) for name in sorted(golden.keys() - {"sigma", "t_list"})}


def per_patch(pixels, p):
    """[B, H, W, C] -> [B*L, p*p, C]."""
    batch, height, width, c = pixels.shape
    return pixels.view(batch, height // p, p, width // p, p, c).transpose(2, 3).reshape(-1, p * p, c)


def main():
    parser = argparse.ArgumentParser(description="Compare with golden files.")
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--case", nargs="+", help="file names without suffix; default all that describe a case")
    parser.add_argument("--threads", type=int)
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    worst, cases = 0.0, 0
    for path in sorted(args.folder.glob("*.safetensors")):
        with safe_open(path, framework="pt") as file:
            described = "config" in (file.metadata() or {})
        if not described or args.case and path.stem not in args.case:
            continue
        start = time.perf_counter()
        errors = run_case(path)
        for name, error in errors.items():
            print(f"{path.stem:24} {name:32} {error:.2e}")
        worst, cases = max(worst, *errors.values()), cases + 1
        print(f"{path.stem:24} worst {max(errors.values()):.2e} of {len(errors)} tensors, "
              f"{time.perf_counter() - start:.1f} s")
    print(f"{cases} cases, worst {worst:.2e}, tolerance {TOLERANCE:.0e}")
    sys.exit(0 if cases and worst <= TOLERANCE else 1)


if __name__ == "__main__":
    main()
