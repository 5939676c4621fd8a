"""Measures the demo model at 512x512: PSNR of its decodes and of the baseline, what shows of the patches, a panel,
the loss curve.

Reads the training run's state, writes demo.safetensors (bfloat16, which is what is measured) beside it, and
evaluation.json, panel.png and curve.csv into the folder --report.
"""

import argparse
import csv
import json
import pathlib

import numpy as np
import torch
from PIL import Image

import dct16
import network as demo
import photographs
import weights
from train import OUT

SIDE = 512
NOISY = 0.4  # sigma of the noisy latents
PANEL_SIDE = 224  # of a picture in the panel, in pixels
CURVE_POINTS = 150


def psnr(a, b):
    """In dB, of pictures in [-1, 1]."""
    return -10 * torch.log10((a - b).pow(2).mean() / 4).item()


def grid(picture):
    """How visible the patches are: neighbouring pixels' mean difference across their borders over that within them."""
    p, ratios = demo.DEMO.patch_size, []
    for axis in (2, 3):
        differences = picture.diff(dim=axis).abs().mean((0, 1, 5 - axis))
        border = torch.arange(1, len(differences) + 1) % p == 0
        ratios.append(differences[border].mean() / differences[~border].mean())
    return torch.stack(ratios).mean().item()


@torch.no_grad()
def decode(network, latent, sigma=0.0, steps=4, seed=0):
    """Picture [1, 3, H, W] in [-1, 1] of a latent [1, 16, H/32, W/32]; noise from torch's CPU generator, the engine's
    --rng torch-cpu."""
    generator = torch.Generator().manual_seed(seed)
    rows, columns = (2 * extent for extent in latent.shape[2:])
    p = demo.DEMO.patch_size
    noise = [torch.randn(1, 3, rows * p, columns * p, generator=generator) for _ in range(steps)]
    picture, _ = demo.sample(network, latent, torch.tensor([sigma]), noise, demo.Window(rows, columns), steps)
    return picture.float().clamp(-1, 1)


def measure(network, name):
    """(numbers, pictures [3, 512, 512]: low quality enlarged, baseline, decoded, original) of one photograph."""
    original = photographs.square(name, SIDE)[None]
    latent = dct16.encode(original)
    noisy = (1 - NOISY) * latent + NOISY * torch.randn(latent.shape, generator=torch.Generator().manual_seed(1))
    decoded, baseline = decode(network, latent), dct16.baseline(latent)
    found = {"psnr_db": decoded, "baseline_psnr_db": baseline, "one_step_psnr_db": decode(network, latent, steps=1),
             "noisy_psnr_db": decode(network, noisy, NOISY), "noisy_declared_clean_psnr_db": decode(network, noisy),
             "noisy_baseline_psnr_db": dct16.baseline(noisy)}
    blocks = dct16.decode(latent).clamp(-1, 1).repeat_interleave(4, 2).repeat_interleave(4, 3)
    numbers = {key: round(psnr(picture, original), 3) for key, picture in found.items()}
    shown = {"grid": decoded, "baseline_grid": baseline, "original_grid": original}
    numbers |= {key: round(grid(picture), 3) for key, picture in shown.items()}
    return numbers, [picture[0] for picture in (blocks, baseline, decoded, original)]


def bf16_error(network):
    """Relative L2 of a decode under autocast to bfloat16, of the middle 256x256 pixels of the held-out picture."""
    edge = SIDE // 4
    latent = dct16.encode(photographs.square("chelsea", SIDE)[None, :, edge:-edge, edge:-edge])
    exact = decode(network, latent)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = decode(network, latent)
    return ((rounded - exact).norm() / exact.norm()).item()


def panel(rows):
    """One row of four pictures per photograph, RGB [h, w, 3] uint8."""
    lines = [torch.cat([photographs.resize(p, PANEL_SIDE, PANEL_SIDE) for p in row], dim=2) for row in rows]
    return ((torch.cat(lines, dim=1).permute(1, 2, 0) + 1) * 127.5).round().byte().numpy()


def curve(log, path):
    """Means over CURVE_POINTS equal pieces of the log."""
    with log.open() as file:
        rows = list(csv.DictReader(file))
    size = max(1, len(rows) // CURVE_POINTS)
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("stage", "batch", "seconds", "loss", "psnr_db"))
        for start in range(0, len(rows), size):
            piece = [row for row in rows[start:start + size] if row["stage"] == rows[start]["stage"]]
            clean = [row for row in piece if row["psnr_db"] != "nan"] or piece
            mean = [float(np.mean([float(row[key]) for row in use]))
                    for key, use in (("loss", piece), ("psnr_db", clean))]
            writer.writerow((piece[-1]["stage"], piece[-1]["batch"], piece[-1]["seconds"],
                             f"{mean[0]:.5f}", f"{mean[1]:.2f}"))


def main():
    parser = argparse.ArgumentParser(description="Measure the demo model.")
    parser.add_argument("--run", type=pathlib.Path, default=OUT, help="folder of the training run")
    parser.add_argument("--report", type=pathlib.Path, default=pathlib.Path(__file__).with_name("report"))
    parser.add_argument("--threads", type=int, default=4)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    args.report.mkdir(parents=True, exist_ok=True)
    state = torch.load(args.run / "state.pt")
    weights.export(state["average"], args.run / "demo.safetensors")
    network = weights.load(args.run / "demo.safetensors")

    numbers, rows = {}, []
    for name in [*photographs.TRAINING, *photographs.HELD_OUT]:
        numbers[name], pictures = measure(network, name)
        rows.append(pictures)
        print(name, numbers[name], flush=True)
    mean = {key: round(float(np.mean([numbers[name][key] for name in photographs.TRAINING])), 3)
            for key in numbers["chelsea"]}
    report = {"batches": state["batches"], "minutes": round(state["seconds"] / 60, 1), "noisy_sigma": NOISY,
              "bf16_error": bf16_error(network), "training_mean": mean, "pictures": numbers,
              "sources": photographs.TRAINING | photographs.TEXTURES | photographs.HELD_OUT}
    print(json.dumps(mean))
    (args.report / "evaluation.json").write_text(json.dumps(report, indent=1) + "\n")
    picture = Image.fromarray(panel([rows[0], rows[1], rows[-1]]))
    picture.quantize(256, dither=Image.Dither.NONE).save(args.report / "panel.png", optimize=True)
    curve(args.run / "log.csv", args.report / "curve.csv")


if __name__ == "__main__":
    main()
