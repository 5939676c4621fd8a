"""Which programs are compared, at which sizes: a list of {name, size, ours, command}.

A picture of PiD is four times as large along each side as what a VAE makes of the same latent, so the VAE decoder is
measured twice: making a picture of the same size, and from the same latent.
"""

import re

PID_SCALE = 4  # PiD's picture against the VAE's, along a side, from one latent

# (turn, name, options). The first turn of every size comes before the second of any, so that a session that is cut
# short has the rows that matter; compiling takes minutes and comes late.
PEER = (
    (0, "PyTorch eager", []),
    (0, "PyTorch compile", ["--mode", "compile"]),
    (1, "PyTorch eager, flash", ["--attention", "flash"]),
    (1, "PyTorch eager, cuDNN attention", ["--attention", "cudnn"]),
    (1, "PyTorch eager, memory-efficient attention", ["--attention", "efficient"]),
    (1, "PyTorch eager, bf16 weights, adapter once", ["--dtype", "bf16", "--hoist"]),
    (1, "PyTorch compile, bf16 weights, adapter once", ["--mode", "compile", "--dtype", "bf16", "--hoist"]),
    (2, "PyTorch max-autotune", ["--mode", "max-autotune"]),
    (2, "PyTorch max-autotune, bf16 weights, adapter once", ["--mode", "max-autotune", "--dtype", "bf16", "--hoist"]),
)
VAE = (
    (0, "untiled", []),
    (0, "untiled, channels last", ["--channels-last"]),
    (0, "tiled 512", ["--tiled"]),
    (1, "tiled 512, channels last", ["--tiled", "--channels-last"]),
    (1, "untiled, channels last, compile", ["--channels-last", "--mode", "compile"]),
)


def size(text):
    """(width, height) of "WxH", or None."""
    match = re.fullmatch(r"(\d+)x(\d+)", text)
    if not match:
        return None
    width, height = int(match[1]), int(match[2])
    return (width, height) if width > 0 and height > 0 and width % 32 == height % 32 == 0 else None


def sides(width, height):
    return ["--width", str(width), "--height", str(height)]


def plan(args, python, peer_folder):
    """The runs that `args` ask for, in order: by turn, then by size, ours first."""
    weights = ["--config", args.config] + (["--checkpoint", args.checkpoint] if args.checkpoint else [])
    # `--inside`: the budget is kept here, and a process between would outlive being cut.
    common = ["--inside", "--device", args.device, *args.peer_args]
    decode = [python, str(peer_folder / "time_decode.py"), *common, *weights]
    vae = [python, str(peer_folder / "vae_decode.py"), *common]
    # A checkpoint carries its config, and `pid` takes one or the other.
    source = ["--checkpoint", args.checkpoint] if args.checkpoint else ["--config", args.config]
    found = []
    for width, height in args.sizes:
        label, small = f"{width}x{height}", (width // PID_SCALE, height // PID_SCALE)

        def add(turn, name, command, ours=False):
            found.append((turn, {"name": name, "size": label, "ours": ours, "command": command}))

        add(0, "pid-engine", [args.pid, "bench", "--json", "--device", args.device, *source, *sides(width, height),
                              *args.pid_args], ours=True)
        for turn, name, options in PEER:
            add(turn, name, [*decode, *sides(width, height), *options])
        for turn, name, options in VAE:
            add(turn, f"VAE, same picture, {name}", [*vae, *sides(width, height), *options])
        for _, name, options in VAE[:2]:
            add(0, f"VAE, same latent ({small[0]}x{small[1]} picture), {name}", [*vae, *sides(*small), *options])
    found.sort(key=lambda entry: entry[0])
    return [run for _, run in found if run["ours"] or args.filter in run["name"]]
