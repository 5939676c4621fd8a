"""Times what PyTorch has for the shapes that `pid bench --tune --json` measured, and prints one JSON object.

    python time_kernels.py tune-2048x2048.json --config flux-v1.5 --width 2048 --height 2048

For every shape of a kernel: `ours_s`, the fastest variant's median out of the file; and, in `theirs_s`, medians of
`product` (the matrix product alone: cuBLAS, or cuDNN's convolution, channels last), `with_epilogue` (the same, then what
our kernel does in its epilogue, in PyTorch's own kernels: bias, norm, gate, residual, what the next product reads) or, for
attention, one time for each kernel that `scaled_dot_product_attention` has. `ratio` is the fastest of theirs that does the
same work, by ours; above 1 ours is faster. bfloat16, random inputs, a cold start never counts. Take both on one machine.
"""

import argparse
import json
import pathlib
import sys

import torch
import torch.nn.functional as F

import isolate
import measure
import modes
from config import CONFIGS

ATTENTION = ("flash", "cudnn", "efficient", "math")


def parse(argv):
    parser = argparse.ArgumentParser(description="Time PyTorch's kernels at the shapes of a tuning run.")
    parser.add_argument("tuned", type=pathlib.Path, help="what `pid bench --tune --json` printed")
    modes.add_arguments(parser)
    parser.add_argument("--config", choices=CONFIGS, default="tiny")
    parser.add_argument("--width", type=int, default=2048, help="picture of the tuning run")
    parser.add_argument("--height", type=int, default=2048)
    return parser.parse_args(argv)


class Product:
    """A [rows, k] times W [n, k] transposed, and what follows it in each of our kernels."""

    def __init__(self, shape, device):
        self.rows, self.n, self.k = shape["rows"], shape["n"], shape["k"]
        self.a, self.w = self.random(self.rows, self.k), self.random(self.n, self.k)
        self.device = device

    def random(self, *shape, dtype=torch.bfloat16):
        return torch.randn(shape, dtype=torch.float32).to(dtype) * 0.1

    def to(self, device):
        for name, value in vars(self).items():
            if torch.is_tensor(value):
                setattr(self, name, value.to(device))
        return self

    def product(self):
        return F.linear(self.a, self.w)


class Linear(Product):
    def __init__(self, shape, device):
        super().__init__(shape, device)
        self.bias = self.random(self.n)

    def with_epilogue(self):
        return F.linear(self.a, self.w, self.bias)


class Qkv(Product):
    """Row scale and shift (folded norm), RMS norm of q's and k's heads, rotation, heads first."""

    def __init__(self, shape, device):
        super().__init__(shape, device)
        self.head = 72 if "d72" in shape["kernel"] else 64
        self.scale, self.shift = self.random(self.rows, 1), self.random(self.n)
        self.weight, self.angles = self.random(self.head), self.random(self.rows, 1, self.head // 2, dtype=torch.float32)

    def with_epilogue(self):
        z = self.product() * self.scale + self.shift
        q, k, v = z.view(self.rows, 3, -1, self.head).unbind(1)
        q, k = (F.rms_norm(x, (self.head,), self.weight, 1e-6) for x in (q, k))
        cos, sin = self.angles.cos(), self.angles.sin()
        q, k = (self.rotated(x.float(), cos, sin).to(x.dtype) for x in (q, k))
        return [x.transpose(0, 1).contiguous() for x in (q, k, v)]

    @staticmethod
    def rotated(x, cos, sin):
        even, odd = x[..., 0::2], x[..., 1::2]
        return torch.stack((even * cos - odd * sin, even * sin + odd * cos), -1).flatten(-2)


class SwiGlu(Product):
    def __init__(self, shape, device):
        super().__init__(shape, device)
        self.scale, self.shift = self.random(self.rows, 1), self.random(self.n)

    def with_epilogue(self):
        z = self.product() * self.scale + self.shift
        w1, w3 = z.chunk(2, -1)
        return F.silu(w1) * w3


class Residual(Product):
    """Gate, residual in float32, and what the next product reads: the scaled copy and each row's sum of squares."""

    def __init__(self, shape, device):
        super().__init__(shape, device)
        self.bias, self.gate, self.scale = (self.random(self.n, dtype=torch.float32) for _ in range(3))
        self.x = self.random(self.rows, self.n, dtype=torch.float32)

    def update(self, product):
        return torch.addcmul(self.x, self.gate, product + self.bias)

    def with_epilogue(self):
        x = self.update(self.product())
        return x, (x * self.scale).bfloat16(), x.square().sum(-1)


class LatentGate(Residual):
    def __init__(self, shape, device):
        super().__init__(shape, device)
        self.half, self.features = self.random(self.rows, self.n), self.random(self.rows, self.n)

    def update(self, product):
        return self.x + torch.sigmoid(product + self.half - 0.3) * self.features


class Modulate(Product):
    """Columns are shift and scale, 16 each, of every pixel; the pixels' RMS norm, modulated."""

    def __init__(self, shape, device):
        super().__init__(shape, device)
        self.bias, self.norm, self.pixels = self.random(self.n), self.random(16), self.random(self.rows, self.n // 32, 16)

    def with_epilogue(self):
        shift, scale = F.linear(self.a, self.w, self.bias).view(self.rows, -1, 2, 16).unbind(2)
        return F.rms_norm(self.pixels, (16,), self.norm, 1e-6) * (1 + scale) + shift


class Convolution(Product):
    """3x3 on the patch grid, channels last; bias and SiLU."""

    def __init__(self, shape, device, grid):
        channels = shape["k"] // 9
        self.rows, self.n, self.k, self.device = shape["rows"], shape["n"], shape["k"], device
        image = self.random(shape["rows"] // (grid[0] * grid[1]), channels, *grid)
        self.a, self.w = (x.to(memory_format=torch.channels_last) for x in (image, self.random(self.n, channels, 3, 3)))
        self.bias = self.random(self.n)

    def product(self):
        return F.conv2d(self.a, self.w, padding=1)

    def with_epilogue(self):
        return F.silu(F.conv2d(self.a, self.w, self.bias, padding=1))


FAMILIES = {
    "gemm_linear": Linear, "gemm_qkv_folded_d64": Qkv, "gemm_qkv_d72": Qkv, "gemm_swiglu": SwiGlu,
    "gemm_residual": Residual, "gemm_latent_gate": LatentGate, "gemm_pixel_modulate": Modulate,
    # Of the pixel blocks' update the first product alone: the rest has no like in PyTorch.
    "gemm_pixel_update": Product, "gemm_pixel_update_sample": Product,
}


def median(work, args, device):
    """Median seconds of `work()`."""
    clock = measure.Clock(device)
    times = []
    for k in range(args.warm_up + args.repeat):
        clock.start()
        work()
        seconds = clock.stop()[1]
        if k >= args.warm_up:
            times.append(seconds)
    return measure.summary(times)["median"]


def attention(shape, args, device):
    """Seconds by kernel; null where PyTorch has none for the shape."""
    config = CONFIGS[args.config]
    heads = config.num_groups if shape["k"] == 64 else config.pixel_num_groups
    # Queries of text may be left out.
    queries, keys = shape["rows"] // heads, shape["n"]
    q, k, v = (torch.randn(1, heads, n, shape["k"], device=device, dtype=torch.bfloat16) for n in (queries, keys, keys))
    theirs = {}
    for name in ATTENTION:
        try:
            with modes.context(device, "bf16", name):
                theirs[name] = median(lambda: F.scaled_dot_product_attention(q, k, v), args, device)
        except RuntimeError as error:
            if not any(sign in str(error) for sign in (*isolate.UNAVAILABLE, "out of memory")):
                raise
            theirs[name] = None
    return theirs


def products(shape, args, device):
    if shape["kernel"].startswith("conv3x3"):
        family = Convolution(shape, device, (args.height // 16, args.width // 16))
    else:
        family = FAMILIES[shape["kernel"]](shape, device)
    family.to(device)
    theirs = {"product": median(family.product, args, device)}
    if hasattr(family, "with_epilogue"):
        theirs["with_epilogue"] = median(family.with_epilogue, args, device)
    return theirs


def timed(shape, args, device):
    """The row of one shape."""
    is_attention = shape["kernel"].startswith("attention")
    theirs = (attention if is_attention else products)(shape, args, device)
    ours = next(trial for trial in shape["trials"] if trial["chosen"])
    same_work = theirs.values() if is_attention else [theirs.get("with_epilogue", theirs["product"])]
    fastest = min((seconds for seconds in same_work if seconds is not None), default=None)
    names = ("kernel", "rows", "n", "k")
    return {**{name: shape[name] for name in names}, "variant": ours["variant"], "ours_s": ours["seconds"],
            "ours_tflops": ours["tflops"], "theirs_s": theirs,
            "ratio": fastest / ours["seconds"] if fastest is not None else None}


def run(args, row):
    device = modes.prepare(args)
    row.update(measure.machine(device))
    torch.manual_seed(args.seed)
    tuned = json.loads(args.tuned.read_text().splitlines()[-1])
    row["ours_device"] = tuned["device"]
    row["shapes"] = []
    with torch.no_grad():
        for shape in tuned["tuned"]:
            isolate.stage(f"{shape['kernel']} {shape['rows']} x {shape['n']} x {shape['k']}")
            row["shapes"].append(timed(shape, args, device))
    ratios = [shape["ratio"] for shape in row["shapes"] if shape["ratio"] is not None]
    row["geometric_mean"] = float(torch.tensor(ratios).log().mean().exp()) if ratios else None


def main(argv):
    args = parse(argv)
    row = {"program": "time_kernels", "config": args.config, "width": args.width, "height": args.height}
    return isolate.program(__file__, argv, args, row, run)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
