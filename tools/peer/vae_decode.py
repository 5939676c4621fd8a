"""Times a FLUX-shaped VAE decoder (`vae`, random weights, bfloat16) and prints one JSON object, a row (see `isolate`).

    python vae_decode.py --width 2048 --height 2048
    python vae_decode.py --width 4096 --height 4096 --tiled --channels-last

The picture's size is given; the latent is an eighth of it along each side. PiD makes a picture four times as large along
each side from the same latent: a 2048x2048 picture of PiD is from a latent of 64x64, which this decoder turns into
512x512. `seconds.decode` and the memory are as in `time_decode`; running out of memory is a row with `error`.
"""

import argparse
import sys

import torch

import isolate
import measure
import modes
import vae


def parse(argv):
    parser = argparse.ArgumentParser(description="Time a VAE decoder; prints one JSON object.")
    modes.add_arguments(parser)
    parser.add_argument("--width", type=int, default=2048)
    parser.add_argument("--height", type=int, default=2048)
    parser.add_argument("--dtype", choices=("bf16", "float32"), default="bf16")
    parser.add_argument("--tiled", action="store_true", help=f"tiles of {vae.TILE} latent pixels, a quarter overlapping")
    args = parser.parse_args(argv)
    if args.width % vae.FACTOR or args.height % vae.FACTOR:
        parser.error(f"{args.width}x{args.height}: sides must be multiples of {vae.FACTOR}")
    return args


def describe(args):
    """What the row is about; known before anything runs."""
    names = ("width", "height", "mode", "attention", "dtype", "tiled", "channels_last", "cudnn_benchmark", "seed")
    return {"program": "vae", **{name: getattr(args, name) for name in names}}


def timed(decode, latent, device):
    """One decode: ({phase: seconds}, picture)."""
    clock = measure.Clock(device)
    clock.start()
    picture = decode(latent)
    _, total, wall = clock.stop()
    return {"decode": total, "wall": wall}, picture


@torch.no_grad()
def run(args, row):
    """Fills `row` with times and memory."""
    device = modes.prepare(args)
    row.update(measure.machine(device))
    isolate.stage("weights")
    torch.manual_seed(args.seed)
    dtype = torch.bfloat16 if args.dtype == "bf16" else torch.float32
    layout = torch.channels_last if args.channels_last else torch.contiguous_format
    decoder = vae.Decoder().eval().to(device, dtype, memory_format=layout)
    latent = torch.randn(1, 16, args.height // vae.FACTOR, args.width // vae.FACTOR)
    latent = latent.to(device, dtype, memory_format=layout)
    row["parameters"] = sum(w.numel() for w in decoder.parameters())
    # No CUDA graph: tiles are kept until their neighbours are blended.
    modes.compile_in_place(decoder, args.mode, graphs=False)
    decode = (lambda z: vae.decode_tiled(decoder, z)) if args.tiled else decoder
    with modes.context(device, args.dtype, args.attention):
        isolate.stage("warm-up" if args.mode == "eager" else "compile")
        row["warm_up_s"] = []
        for k in range(args.warm_up):
            if k == args.warm_up - 1:
                measure.reset_peak(device)
            row["warm_up_s"].append(timed(decode, latent, device)[0]["wall"])
        isolate.stage("runs")
        runs = []
        for _ in range(args.repeat):
            seconds, picture = timed(decode, latent, device)
            runs.append(seconds)
            if tuple(picture.shape) != (1, 3, args.height, args.width):
                raise RuntimeError(f"the picture is {tuple(picture.shape)}")
            del picture
        row.update(measure.peaks(device))
    row["seconds"] = {phase: measure.summary([r[phase] for r in runs]) for phase in runs[0]}
    row["decode_s"] = [r["decode"] for r in runs]
    if args.mode != "eager":
        row["compiler"] = modes.compiler_facts()


def main(argv):
    args = parse(argv)
    return isolate.program(__file__, argv, args, describe(args), run)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
