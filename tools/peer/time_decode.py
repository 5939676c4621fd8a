"""Times a decode of `pid_torch` on the CPU and prints one JSON object; all times are wall-clock seconds.

    python time_decode.py --config flux-v1.5 --width 512 --height 512 --threads 4 --steps 4 --repeat 3

Weights are synthetic unless --checkpoint names a safetensors file. One network call warms up and is not counted.
`step_s` and `phase_s` belong to the decode with the median total; `phase_s` sums over its steps: `adapter` (latent to
features), `text`, `patch_blocks` and `pixel_blocks`, with `other` (embedders, gates, output, sampler) the rest.
"""

import argparse
import json
import resource
import statistics
import time

import torch

import pid_torch
import synthetic
from config import CONFIGS

PHASES = {"lq_proj": "adapter", "y_embedder": "text", "patch_blocks": "patch_blocks", "pixel_blocks": "pixel_blocks"}


def time_modules(network, seconds):
    """Adds the time spent in the modules of each phase to `seconds[phase]`."""
    def clock(phase, sign):
        def hook(*_):
            seconds[phase] = seconds.get(phase, 0.0) + sign * time.perf_counter()
        return hook

    for name, phase in PHASES.items():
        module = getattr(network, name)
        for part in module if isinstance(module, torch.nn.ModuleList) else [module]:
            part.register_forward_pre_hook(clock(phase, -1))
            part.register_forward_hook(clock(phase, 1))


def timed_decode(network, phases, arguments):
    """One decode: (total, [step, ...], {phase: seconds})."""
    phases.clear()
    marks = [time.perf_counter()]
    image = pid_torch.sample(network, **arguments, on_step=lambda *_: marks.append(time.perf_counter()))
    total = time.perf_counter() - marks[0]
    if not torch.isfinite(image).all():
        raise RuntimeError("the image holds numbers that are not finite")
    split = dict(phases)
    return total, [b - a for a, b in zip(marks, marks[1:])], {**split, "other": total - sum(split.values())}


def main():
    parser = argparse.ArgumentParser(description="Time a decode; prints JSON.")
    parser.add_argument("--config", choices=CONFIGS, default="tiny")
    parser.add_argument("--checkpoint", help="safetensors file; default synthetic weights")
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--height", type=int, default=512)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--steps", type=int, choices=range(1, 5), default=4)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--text-length", type=int, help="caption tokens; default the most the network takes")
    parser.add_argument("--sigma", type=float, default=0.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--adapter-once", action="store_true", help="run the adapter once, not in every step")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    config = CONFIGS[args.config]
    text_length = args.text_length or config.txt_max_length

    start = time.perf_counter()
    if args.checkpoint:
        network = pid_torch.load(config, args.checkpoint)
    else:
        network = pid_torch.build(config, synthetic.checkpoint(config, args.seed))
    weights_s = time.perf_counter() - start
    latent, caption, noise = synthetic.inputs(config, args.seed, 1, args.height, args.width, text_length, args.steps)
    arguments = dict(latent=latent, caption=caption, sigma=torch.full((1,), args.sigma), noise=noise, steps=args.steps,
                     adapter_once=args.adapter_once)

    start = time.perf_counter()
    pid_torch.sample(network, **{**arguments, "steps": 1})
    warm_up_s = time.perf_counter() - start
    phases = {}
    time_modules(network, phases)
    runs = sorted((timed_decode(network, phases, arguments) for _ in range(args.repeat)), key=lambda run: run[0])
    total, steps, split = runs[(args.repeat - 1) // 2]
    rounded = lambda values: {name: round(value, 4) for name, value in values.items()}
    print(json.dumps({
        "program": "pid_torch", "torch": torch.__version__, "dtype": "float32", "config": args.config,
        "weights": "file" if args.checkpoint else "synthetic",
        "parameters": sum(w.numel() for w in network.parameters()),
        "width": args.width, "height": args.height, "text_length": text_length, "threads": torch.get_num_threads(),
        "steps": args.steps, "adapter_once": args.adapter_once, "repeat": args.repeat, "seed": args.seed,
        "weights_s": round(weights_s, 3), "warm_up_s": round(warm_up_s, 4),
        "decode_median_s": round(statistics.median(run[0] for run in runs), 4),
        "decode_s": [round(run[0], 4) for run in runs], "step_s": [round(s, 4) for s in steps],
        "phase_s": rounded(split),
        "peak_rss_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
    }))


if __name__ == "__main__":
    main()
