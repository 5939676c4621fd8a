"""The generator of `synthetic` in torch operations, so that a GPU makes 1.4 billion weights in about a second.

Bit for bit the numbers of `synthetic`: integers wrap modulo 2^64 in two's complement, the shifts are made logical by a
mask, and each float operation is one torch call, hence rounded once. `checkpoint` proves it where it runs, on the start
of a few tensors.
"""

import math

import torch

import synthetic

CHUNK = 1 << 24  # elements made at once: 128 MiB of integers
PROOF = 4096     # elements of a tensor that are compared with `synthetic`


def signed(value):
    """A 64-bit pattern as the int64 torch takes."""
    value &= synthetic.MASK
    return value - (1 << 64) if value >> 63 else value


def shift_right(z, bits):
    return (z >> bits) & ((1 << (64 - bits)) - 1)


def fill(name, shape, seed, mean, deviation, device):
    """Tensor `shape` of float32 on `device`, values exact in bfloat16; see `synthetic.fill`."""
    out = torch.empty(math.prod(shape), dtype=torch.float32, device=device)
    key = signed(synthetic.fnv1a64(name) ^ (seed * 0xD1B54A32D192ED03 & synthetic.MASK))
    for start in range(0, out.numel(), CHUNK):
        part = out[start:start + CHUNK]
        z = torch.arange(start + 1, start + 1 + part.numel(), dtype=torch.int64, device=device)
        z.mul_(signed(synthetic.GOLDEN_GAMMA)).add_(key)
        for bits, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
            z.bitwise_xor_(shift_right(z, bits)).mul_(signed(factor))
        z.bitwise_xor_(shift_right(z, 31))
        u = shift_right(z, 40).to(torch.float32).mul_(2.0**-23).sub_(1.0)
        u.mul_(float(synthetic.ROOT_3)).mul_(float(synthetic.np.float32(deviation)))
        part.copy_(u.add_(float(synthetic.np.float32(mean))).bfloat16())
    return out.view(shape)


def checkpoint(config, seed, device):
    """{name: float32 tensor on `device`} of every weight of `config`: `synthetic.checkpoint`, made on the device."""
    shapes = synthetic.shapes(config)
    weights = {name: fill(name, shape, seed, *synthetic.distribution(name, shape), device)
               for name, shape in shapes.items()}
    for name in list(shapes)[::max(1, len(shapes) // 12)]:
        ours = weights[name].flatten()[:PROOF].cpu()
        theirs = synthetic.fill(name, shapes[name], seed, *synthetic.distribution(name, shapes[name]), limit=PROOF)
        if not torch.equal(ours, theirs.flatten()):
            raise RuntimeError(f"{name}: weights made on {device} differ from those made on the CPU")
    return weights
