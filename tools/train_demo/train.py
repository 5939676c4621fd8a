"""Trains the demo model, in pieces that may stop at any time: `python train.py --minutes 9 --resume`.

Stages, each at least one call (the state file says where the last one stopped):

* `reading`: time 1, where x is noise alone and flow matching is regression of the picture from the latent. Only the
  adapter, the patch blocks and the rows that write x0 take part, which costs a fifth of the whole network.
* `flow`: flow matching on the velocity, the whole network, at the times of the schedule.
* `steps`: the four-step sampler itself; the loss is on every step's estimate, most on the last.
"""

import argparse
import csv
import os
import pathlib
import sys
import time

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # on a busy machine spinning threads take each other's time

import torch
import torch.nn.functional as F

import batches
import dct16
import network as demo
import start
import weights

OUT = pathlib.Path(__file__).resolve().parents[2] / "out" / "train_demo"
EMA = 0.998
RATES = {"reading": 3e-3, "flow": 1e-4, "steps": 1e-4}
BATCHES = {"reading": 16, "flow": 8, "steps": 4}  # crops in a batch
WARM_UP = 100  # batches
FLOOR = 0.003  # squared error that no longer counts; 31 dB
SLOPES = 4.0  # weight of the error's squared differences between neighbouring pixels
SEAM = 16.0  # how much more such a difference counts across the border of two patches
SIDE, WHOLE = 256, 32  # a crop's side in pixels; the side in patches of the picture it is a window of
NOISY = 0.3  # share of latents that are noised
SAVE_EVERY_S = 60
COLUMNS = ("stage", "batch", "seconds", "loss", "psnr_db")


def noised(latent, generator):
    """(latent, sigma [B]): a part of the batch at (1 - sigma) z + sigma n with sigma from 0 to 0.8."""
    sigma = 0.8 * torch.rand(len(latent), generator=generator)
    sigma = torch.where(torch.rand(len(latent), generator=generator) < NOISY, sigma, 0.0)
    s = sigma[:, None, None, None]
    return (1 - s) * latent + s * torch.randn(latent.shape, generator=generator), sigma


def window(side, generator):
    """A random place of a crop in a whole of WHOLE x WHOLE patches."""
    n = side // demo.DEMO.patch_size
    top, left = (int(torch.randint(0, WHOLE - n + 1, (), generator=generator)) for _ in range(2))
    return demo.Window(n, n, (WHOLE, WHOLE), top, left)


def any_times(count, generator):
    """Times [count] of the sampler's calls."""
    return torch.tensor(demo.TIMES)[torch.randint(0, len(demo.TIMES), (count,), generator=generator)]


def reading_loss(network, picture, latent, sigma, place, generator):
    n = place.rows
    features = network.lq_proj(latent, n, n)
    t = any_times(len(picture), generator)
    s = demo.trunk(network, None, t, features, sigma, place)
    weight, bias, rows = start.reading(network)
    read = F.linear(s, weight[rows], bias[rows]).float().transpose(1, 2).unflatten(2, (n, n))
    return weighted([F.pixel_shuffle(read, demo.DEMO.patch_size) - picture], (1.0,), sigma)


def flow_loss(network, picture, latent, sigma, place, generator):
    t = any_times(len(picture), generator)
    at = t[:, None, None, None]
    x = (1 - at) * picture + at * torch.randn(picture.shape, generator=generator)
    features = network.lq_proj(latent, place.rows, place.columns)
    velocity = demo.velocity(network, x, t, features, sigma, place)
    return weighted([x - at * velocity - picture], (1.0,), sigma)


def steps_loss(network, picture, latent, sigma, place, generator):
    noise = [torch.randn(picture.shape, generator=generator) for _ in range(4)]
    _, estimates = demo.sample(network, latent, sigma, noise, place)
    return weighted([estimate - picture for estimate in estimates], (0.1, 0.1, 0.2, 0.6), sigma)


def weighted(errors, shares, sigma):
    """(loss, mean squared error of each clean picture by the last of `errors`), errors [B, 3, H, W] with their shares.

    The loss is the logarithm of the squared error, since decibels are what is measured: pictures that are hard to tell
    do not outweigh the rest. What little a noisy latent tells counts less."""
    loss = 0.0
    for error, share in zip(errors, shares):
        squared = error.pow(2).mean((1, 2, 3))
        loss = loss + share * torch.log(squared + SLOPES * slopes(error) + FLOOR)
    return (loss * (1 - 0.7 * sigma)).mean(), squared.detach()[sigma == 0]


def slopes(error):
    """Mean squared difference [B] of neighbouring pixels of `error`. The squared error alone hardly minds a patch grid
    that the eye sees at once; the borders alone would turn its steps into lines."""
    p, total = demo.DEMO.patch_size, 0.0
    for axis in (2, 3):
        squared = error.diff(dim=axis).pow(2).mean((1, 5 - axis))
        weight = torch.ones(squared.shape[1])
        weight[p - 1::p] = SEAM
        total = total + (squared * weight).mean(1)
    return total / 2


LOSSES = {"reading": reading_loss, "flow": flow_loss, "steps": steps_loss}


def optimisers(network):
    """Muon for the matrices of the patch blocks, AdamW for the rest; one learning rate serves both."""
    matrices = {name: w for name, w in network.patch_blocks.named_parameters() if w.ndim == 2 and "adaLN" not in name}
    chosen = {id(w) for w in matrices.values()}
    others = [w for w in network.parameters() if id(w) not in chosen]
    return (torch.optim.Muon(list(matrices.values()), weight_decay=0.01, adjust_lr_fn="match_rms_adamw"),
            torch.optim.AdamW(others, betas=(0.9, 0.98), weight_decay=1e-4, fused=True))


class Run:
    """Weights, their moving average, the optimiser and the log of a training run."""

    def __init__(self, args):
        self.path = args.out / "state.pt"
        self.log_path = args.out / "log.csv"
        self.network, self.done, self.seconds = start.initial(args.seed), 0, 0.0
        if args.weights:
            self.network.load_state_dict(weights.load(args.weights).state_dict())
        if args.resume and not self.path.exists():
            sys.exit(f"{self.path}: no run to go on with; leave --resume away to start one")
        state = torch.load(self.path) if args.resume else None
        if state:
            self.network.load_state_dict(state["network"])
            self.done, self.seconds = state["batches"], state["seconds"]
        self.seed = args.seed * 1_000_003 + self.done
        self.average = {n: w.detach().clone() for n, w in self.network.state_dict().items()}
        self.optimisers = optimisers(self.network)
        self.since = 0
        if state:
            self.average = state["average"]
            if state["stage"] == args.stage:
                for optimiser, saved in zip(self.optimisers, state["optimisers"]):
                    optimiser.load_state_dict(saved)
                self.since = state["since"]
        self.rows = []
        self.network.t_embedder.requires_grad_(False)  # its channels must stay apart, see start.py

    def step(self, loss, rate):
        self.since += 1
        self.network.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        for optimiser in self.optimisers:
            for group in optimiser.param_groups:
                group["lr"] = rate * min(1.0, self.since / WARM_UP)
            optimiser.step()
        start.keep_time(self.network)
        decay = min(EMA, (1 + self.since) / (10 + self.since))
        with torch.no_grad():
            for name, weight in self.network.state_dict().items():
                self.average[name].lerp_(weight, 1 - decay)
        self.done += 1

    def save(self, stage):
        state = {"network": self.network.state_dict(), "average": self.average, "stage": stage, "since": self.since,
                 "optimisers": [optimiser.state_dict() for optimiser in self.optimisers], "batches": self.done,
                 "seconds": self.seconds}
        partial = self.path.with_suffix(".partial")
        torch.save(state, partial)
        partial.replace(self.path)
        new = not self.log_path.exists()
        with self.log_path.open("a", newline="") as file:
            writer = csv.writer(file)
            if new:
                writer.writerow(COLUMNS)
            writer.writerows(self.rows)
        self.rows = []


def fit(run, pictures, generator, count=6):
    """Sets the rows that write x0 by least squares, on fresh crops."""
    tokens, patches = [], []
    with torch.no_grad():
        for _ in range(count):
            picture, place = pictures.batch(4, SIDE), window(SIDE, generator)
            features = run.network.lq_proj(dct16.encode(picture), place.rows, place.columns)
            t = torch.full((len(picture),), demo.TIMES[1])
            tokens.append(demo.trunk(run.network, None, t, features, torch.zeros(len(picture)), place).flatten(0, 1))
            patches.append(demo.to_patches(picture).flatten(0, 1))
    start.fit_reading(run.network, torch.cat(tokens), torch.cat(patches))
    run.average = {n: w.detach().clone() for n, w in run.network.state_dict().items()}


@torch.no_grad()
def rescale(run, pictures, generator, count=4):
    """Fits the pixel block's scale to what the patch blocks have become, for the weights and their average."""
    live = {n: w.clone() for n, w in run.network.state_dict().items()}
    crops = [(dct16.encode(pictures.batch(4, SIDE)), window(SIDE, generator)) for _ in range(count)]
    for weights in (run.average, live):
        run.network.load_state_dict(weights)
        tokens = {t: [] for t in demo.TIMES}
        for t in demo.TIMES:
            for clean, place in crops:
                latent, sigma = noised(clean, generator)
                features = run.network.lq_proj(latent, place.rows, place.columns)
                s = demo.trunk(run.network, None, torch.full((len(clean),), t), features, sigma, place)
                tokens[t].append(s.flatten(0, 1))
        start.fit_scale(run.network, {t: torch.cat(parts) for t, parts in tokens.items()})
        weights.update({n: w.clone() for n, w in run.network.state_dict().items()})


def train(run, args):
    generator = torch.Generator().manual_seed(run.seed)
    pictures = batches.Pictures(run.seed, max(SIDE, args.side))
    if run.done == 0 and not args.weights:
        fit(run, pictures, generator)
    begin = saved = time.monotonic()
    earlier = run.seconds
    while time.monotonic() - begin < 60 * args.minutes:
        picture = pictures.batch(args.batch or BATCHES[args.stage], args.side)
        latent, sigma = noised(dct16.encode(picture), generator)
        with torch.autocast("cpu", torch.bfloat16):
            loss, clean = LOSSES[args.stage](run.network, picture, latent, sigma, window(args.side, generator), generator)
        fade = max(0.1, 1 - (time.monotonic() - begin) / (60 * args.minutes)) if args.fade else 1.0
        run.step(loss, (args.rate or RATES[args.stage]) * fade)
        run.seconds = earlier + time.monotonic() - begin
        psnr = -10 * torch.log10(clean / 4).mean().item() if len(clean) else float("nan")
        run.rows.append((args.stage, run.done, f"{run.seconds:.1f}", f"{loss.item():.5f}", f"{psnr:.2f}"))
        if run.done % 10 == 1:
            print(*run.rows[-1], flush=True)
        if time.monotonic() - saved > SAVE_EVERY_S:
            run.save(args.stage)
            saved = time.monotonic()
    if args.stage == "reading":
        rescale(run, pictures, generator)
    run.save(args.stage)


def main():
    parser = argparse.ArgumentParser(description="Train the demo model.")
    parser.add_argument("--stage", choices=LOSSES, default="reading")
    parser.add_argument("--minutes", type=float, default=9)
    parser.add_argument("--resume", action="store_true", help="go on from the state file")
    parser.add_argument("--weights", type=pathlib.Path, help="exported weights to start a run from")
    parser.add_argument("--batch", type=int, help="crops in a batch; by default the stage's")
    parser.add_argument("--side", type=int, default=SIDE, help="of a crop in pixels, a multiple of 32 up to 512")
    parser.add_argument("--rate", type=float, help="learning rate; by default the stage's")
    parser.add_argument("--fade", action="store_true", help="lower the rate to a tenth over this call")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=4)
    parser.add_argument("--out", type=pathlib.Path, default=OUT)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    args.out.mkdir(parents=True, exist_ok=True)
    train(Run(args), args)


if __name__ == "__main__":
    main()
