"""Times a decode of `pid_torch` and prints one JSON object, a row; what goes wrong is a row too (see `isolate`).

    python time_decode.py --config flux-v1.5 --width 2048 --height 2048 --mode max-autotune --attention cudnn
    python time_decode.py --device cpu --config flux-v1.5 --width 512 --height 512 --threads 4 --repeat 3

Weights are synthetic unless --checkpoint names a safetensors file. The default has the structure of the public code:
float32 weights under bfloat16 autocast, the adapter run in every step. `--hoist` runs it once per decode, `--dtype bf16`
keeps the weights in bfloat16, `--per-block` compiles each block by itself, which takes a fraction of the time.

`seconds` has median, mad, p95, min and the number of runs of: `decode` (first to last device event), `prepare` (rotary
tables, and the adapter under --hoist), `step0`..., and `wall` (the same on the host's clock). `warm_up_s` lists the
decodes before, compilation included. `parts_s`, in eager mode, splits one more decode by module, waiting after each.
"""

import argparse
import sys
import time

import torch

import isolate
import measure
import modes
import pid_torch
import synthetic
import synthetic_device
from config import CONFIGS

PARTS = {"lq_proj": "adapter", "y_embedder": "text", "patch_blocks": "patch_blocks", "pixel_blocks": "pixel_blocks"}


def parse(argv):
    parser = argparse.ArgumentParser(description="Time a decode; prints one JSON object.")
    modes.add_arguments(parser)
    parser.add_argument("--dtype", choices=modes.DTYPES, help="default autocast on a GPU, float32 on the CPU")
    parser.add_argument("--config", choices=CONFIGS, default="tiny")
    parser.add_argument("--checkpoint", help="safetensors file; default synthetic weights")
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--height", type=int, default=512)
    parser.add_argument("--steps", type=int, choices=range(1, 5), default=4)
    parser.add_argument("--text-length", type=int, help="caption tokens; default the most the network takes")
    parser.add_argument("--sigma", type=float, default=0.0)
    parser.add_argument("--hoist", action="store_true", help="run the adapter once, not in every step")
    parser.add_argument("--per-block", action="store_true", help="compile each block, not the network")
    args = parser.parse_args(argv)
    args.dtype = args.dtype or ("float32" if args.device == "cpu" else "autocast")
    args.text_length = args.text_length or CONFIGS[args.config].txt_max_length
    return args


def describe(args):
    """What the row is about; known before anything runs, so that a cut run has it too."""
    names = ("config", "width", "height", "mode", "attention", "dtype", "hoist", "per_block", "channels_last",
             "cudnn_benchmark", "steps", "text_length", "seed")
    return {"program": "pid_torch", **{name: getattr(args, name) for name in names},
            "weights": "file" if args.checkpoint else "synthetic"}


def network_of(args, config, device):
    """The network on `device`, in the type and layout asked for."""
    if args.checkpoint:
        network = pid_torch.load(config, args.checkpoint, args.device)
    elif device.type == "cpu":
        network = pid_torch.build(config, synthetic.checkpoint(config, args.seed))
    else:
        network = pid_torch.build(config, synthetic_device.checkpoint(config, args.seed, device))
    if args.dtype == "bf16":
        network.bfloat16()
    return network.to(memory_format=torch.channels_last) if args.channels_last else network


def compile_network(network, args):
    if args.per_block:
        # The blocks of one kind share code, so the compiler sees two of them and the adapter.
        for block in [*network.patch_blocks, *network.pixel_blocks, network.lq_proj]:
            modes.compile_in_place(block, args.mode, graphs=False)
        return
    modes.compile_in_place(network, args.mode)
    if args.hoist:
        modes.compile_in_place(network.lq_proj, args.mode, graphs=False)


def inputs(args, config, device):
    """Arguments of `pid_torch.sample` on `device`."""
    latent, caption, noise = synthetic.inputs(config, args.seed, 1, args.height, args.width, args.text_length,
                                              args.steps)
    layout = torch.channels_last if args.channels_last else torch.contiguous_format
    return dict(latent=latent.to(device, memory_format=layout), caption=caption.to(device),
                noise=[n.to(device) for n in noise], sigma=torch.full((1,), args.sigma, device=device),
                steps=args.steps, adapter_once=args.hoist, real_rotary=args.mode != "eager")


def timed(network, arguments, device):
    """One decode: ({phase: seconds}, picture)."""
    clock = measure.Clock(device)
    clock.start()
    image = pid_torch.sample(network, **arguments, on_prepared=clock.mark, on_step=lambda *_: clock.mark())
    parts, total, wall = clock.stop()
    prepare, *steps, _clamp = parts
    return {"decode": total, "prepare": prepare, **{f"step{k}": s for k, s in enumerate(steps)}, "wall": wall}, image


def parts_of(network, arguments, device):
    """Seconds of one decode by kind of module, summed over the steps; `other` is embedders, gates, output, sampler."""
    spans = {part: [] for part in PARTS.values()}
    hooks = []

    def clocked(module, part):
        clock = measure.Clock(device)
        hooks.append(module.register_forward_pre_hook(lambda *_: clock.start()))
        hooks.append(module.register_forward_hook(lambda *_: spans[part].append(clock.stop()[1])))

    for name, part in PARTS.items():
        module = getattr(network, name)
        for piece in module if isinstance(module, torch.nn.ModuleList) else [module]:
            clocked(piece, part)
    seconds, _ = timed(network, arguments, device)
    for hook in hooks:
        hook.remove()
    sums = {part: sum(times) for part, times in spans.items()}
    return {**sums, "other": seconds["decode"] - sum(sums.values())}


def run(args, row):
    """Fills `row` with times and memory."""
    device, config = modes.prepare(args), CONFIGS[args.config]
    row.update(measure.machine(device))
    isolate.stage("weights")
    start = time.perf_counter()
    network = network_of(args, config, device)
    arguments = inputs(args, config, device)
    row.update(weights_s=time.perf_counter() - start, parameters=sum(w.numel() for w in network.parameters()))
    compile_network(network, args)
    with modes.context(device, args.dtype, args.attention):
        isolate.stage("warm-up" if args.mode == "eager" else "compile")
        row["warm_up_s"] = []
        for k in range(args.warm_up):
            if k == args.warm_up - 1:
                measure.reset_peak(device)
            seconds, _ = timed(network, arguments, device)
            row["warm_up_s"].append(seconds["wall"])
            isolate.stage("warm-up")
        runs = []
        for _ in range(args.repeat):
            seconds, image = timed(network, arguments, device)
            runs.append(seconds)
        row.update(measure.peaks(device, graphs=args.mode == "max-autotune" and not args.per_block))
        if not torch.isfinite(image).all():
            raise RuntimeError("the image holds numbers that are not finite")
        row["seconds"] = {phase: measure.summary([r[phase] for r in runs]) for phase in runs[0]}
        row["decode_s"] = [r["decode"] for r in runs]
        if args.mode != "eager":
            row["compiler"] = modes.compiler_facts()
        if args.mode == "eager":
            row["parts_s"] = parts_of(network, arguments, device)


def main(argv):
    args = parse(argv)
    return isolate.program(__file__, argv, args, describe(args), run)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
