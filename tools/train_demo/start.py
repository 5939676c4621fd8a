"""The weights that training starts from: a linear reading of the latent, so that no time goes into finding one.

What is laid down by hand, and why:

* The adapter sees every latent cell twice in each direction (nearest upsampling). Which half a patch is in shows only
  in which neighbour differs from it, so the first convolution holds the latent's channels and the jumps towards the
  four neighbours, each with both signs, because silu(a) - silu(-a) = a exactly and silu(a) + silu(-a) is nearly |a|.
* The first gate multiplies copies of the latent with the half so found, in rows and in columns.
* One pixel channel holds a large constant: the norms over the channels then hardly depend on the picture.
* The pixel block's attention writes -x0, its feed-forward scales x - x0 to the velocity (x - x0)/t.
* Blocks start with gates of 0.1 and no modulation; time enters through channels of its own.
"""

import math

import torch

import dct16
from network import DEMO, TIMES, PidNetwork, position_code

JUMP_SCALE = 6.0  # so that |a| is sharp for jumps of a tenth of a deviation
SHARPNESS = 6.0  # of the first gate, over the difference of jumps
PIXEL_SCALE = 6.0  # of x among the pixel channels: large against what the readout leaves of the position code
NORM_CHANNEL, NORM_LEVEL = 0, 96.0  # a constant among the pixel channels, so large that it alone sets their norm
RGB_CHANNELS = (3, 11, 15)  # pixel channels that hold x; the others predict their position code well
WAYS = ((0, -1), (0, 1), (-1, 0), (1, 0))  # (row, column) of the neighbours: left, right, up, down
LATENT, JUMPS, HALVES = 16, 16, 2
PLAIN, ACROSS, DOWN, EDGES, HALF, TIME = 0, 32, 64, 96, 128, 130  # first channel of each group in the hidden state
TIME_CHANNELS, TIME_LEVEL = len(TIMES), 4.0


def jump_rows():
    """Weights [4, 4, 16] over a neighbour's difference in the latent: per way, what two modes of Y, and Cb and Cr, jump
    by at the common edge."""
    _, std = dct16.statistics()
    rows = torch.zeros(4, 4, LATENT)
    starts = [sum(dct16.KEPT[:i]) for i in range(3)]
    for way, (dy, dx) in enumerate(WAYS):
        for signal, (component, mode) in enumerate(((0, 0), (0, 1), (1, 0), (2, 0))):
            for k, frequencies in enumerate(dct16.ZIGZAG[:dct16.KEPT[component]]):
                along, across = frequencies if dx else frequencies[::-1]
                if along == mode:
                    edge = 1.0 if across == 0 else math.sqrt(2)
                    sign = -1 if dx + dy < 0 and across % 2 else 1
                    rows[way, signal, starts[component] + k] = edge * sign
        rows[way] *= std.view(-1) / 4
    return rows


@torch.no_grad()
def adapter(lq):
    first, second = lq.latent_proj[0], lq.latent_proj[2]
    rows = jump_rows()
    first.weight.zero_()
    first.bias.zero_()
    for sign, half in ((1, 0), (-1, 32)):
        for k in range(LATENT):
            first.weight[half + k, k, 1, 1] = sign
        for way, (dy, dx) in enumerate(WAYS):
            at = slice(half + LATENT + 4 * way, half + LATENT + 4 * way + 4)
            first.weight[at, :, 1 + dy, 1 + dx] = sign * JUMP_SCALE * rows[way]
            first.weight[at, :, 1, 1] = -sign * JUMP_SCALE * rows[way]
    second.weight[:34].zero_()
    second.bias.zero_()
    for k in range(32):
        scale = 1.0 if k < LATENT else 1 / JUMP_SCALE
        second.weight[k, k, 1, 1], second.weight[k, 32 + k, 1, 1] = scale, -scale
    for axis in range(2):  # right of the cell's middle: the jump to the right is there, the one to the left is not
        for way, sign in ((2 * axis, -1), (2 * axis + 1, 1)):
            for half in (0, 32):
                at = slice(half + LATENT + 4 * way, half + LATENT + 4 * way + 4)
                second.weight[32 + axis, at, 1, 1] = sign
    for block in lq.latent_proj[3:]:
        block.block[5].weight.mul_(0.1)
        block.block[5].bias.zero_()
        block.block[5].weight[:34].zero_()


@torch.no_grad()
def gates(lq):
    head, gate = lq.output_heads[0], lq.gate_modules[0]
    d = DEMO.hidden_size
    head.weight[:TIME].zero_()
    head.bias.zero_()
    gate.content_proj.weight.mul_(0.3)
    gate.content_proj.weight[:TIME].zero_()
    gate.content_proj.bias.fill_(2.0)
    for k in range(LATENT):
        for sign, half in ((1, 0), (-1, LATENT)):
            for group in (PLAIN, ACROSS, DOWN):
                head.weight[group + half + k, k] = sign
            head.weight[EDGES + half + k, LATENT + k] = sign
    for axis, group in enumerate((ACROSS, DOWN)):
        head.weight[HALF + axis, 32 + axis] = 1.0
        gate.content_proj.weight[group:group + 32, d + HALF + axis] = SHARPNESS
        gate.content_proj.bias[group:group + 32] = 0.0
    lq.output_heads[1].weight.mul_(0.3)
    lq.output_heads[1].bias.zero_()
    for module in lq.gate_modules:
        module.log_alpha.fill_(math.log(2.0))


@torch.no_grad()
def blocks(network):
    for block in network.patch_blocks:
        for name in ("adaLN_modulation_img", "adaLN_modulation_txt"):
            linear = getattr(block, name)[0]
            linear.weight.zero_()
            linear.bias.zero_()
            gate = linear.bias.view(6, -1)
            gate[2], gate[5] = 0.1, 0.1


@torch.no_grad()
def keep_time(network):
    """Has nothing but the time embedder write into time's channels. Training must call it after every step: a scale by
    1/t that is 8 % off costs more than a decibel."""
    embedder, (first, second) = network.s_embedder.proj, network.lq_proj.output_heads
    writers = [embedder.weight, embedder.bias, first.weight, first.bias, second.weight, second.bias]
    for block in network.patch_blocks:
        writers += [block.attn.proj_x.weight, block.attn.proj_x.bias, block.mlp_x.w2.weight]
    for weight in writers:
        weight[TIME:TIME + TIME_CHANNELS] = 0.0


@torch.no_grad()
def time_channels(network):
    """Time `TIMES[i]` raises channel TIME + i by `TIME_LEVEL`, and nothing else."""
    mlp = network.t_embedder.mlp
    for tensor in (mlp[0].weight, mlp[0].bias):
        tensor.copy_(tensor.bfloat16().float())  # as shipped: what follows depends on it
    mlp[2].weight.zero_()
    mlp[2].bias.zero_()
    times = torch.tensor(TIMES)
    captured = []
    handle = mlp[1].register_forward_hook(lambda module, args, output: captured.append(output))
    network.t_embedder(times)
    handle.remove()
    target = TIME_LEVEL * torch.eye(len(TIMES), dtype=torch.float64)
    mlp[2].weight[TIME:TIME + TIME_CHANNELS] = (torch.linalg.pinv(captured[0].double()) @ target).T.float()


def readout(side=512):
    """Matrix [3, 16] that reads x from the pixel channels and as little as it can of the position code."""
    code = position_code(side, side).reshape(-1, 16).double()
    moment = code.T @ code / code.shape[0]
    moment[NORM_CHANNEL, NORM_CHANNEL] = NORM_LEVEL**2
    chosen = torch.zeros(16, 3, dtype=torch.float64)
    for i, channel in enumerate(RGB_CHANNELS):
        chosen[channel, i] = 1
    inverse = torch.linalg.inv(moment + 1e-6 * torch.eye(16, dtype=torch.float64))
    return (torch.linalg.inv(chosen.T @ inverse @ chosen) @ chosen.T @ inverse).float()


def gelu_pairs(mlp, matrix):
    """Has hidden units 0..6 of a feed-forward put matrix [3, 16] into RGB_CHANNELS: gelu(a) - gelu(-a) = a."""
    mlp.fc1.weight[:6] = torch.cat([matrix, -matrix])
    mlp.fc1.bias[:6] = 0.0
    mlp.fc2.weight[:, 6:].mul_(0.1)
    mlp.fc2.weight[list(RGB_CHANNELS)] = 0.0
    mlp.fc2.weight[:, :6] = 0.0
    mlp.fc2.bias.zero_()
    for i, channel in enumerate(RGB_CHANNELS):
        mlp.fc2.weight[channel, i], mlp.fc2.weight[channel, 3 + i] = 1.0, -1.0


@torch.no_grad()
def pixels(network):
    """Everything behind the patch blocks but what writes x0 (`reading`)."""
    norm = math.sqrt((NORM_LEVEL**2 + 8 + 6 * PIXEL_SCALE**2) / 16)  # with |x|^2 near 6
    matrix, channels = readout(), list(RGB_CHANNELS)
    embed, block = network.pixel_embedder.proj, network.pixel_blocks[0]
    embed.weight.zero_()
    embed.bias.zero_()
    for i, channel in enumerate(channels):
        embed.weight[channel, i] = PIXEL_SCALE
    embed.bias[NORM_CHANNEL] = NORM_LEVEL
    modulation = block.adaLN_modulation[0]
    modulation.weight.zero_()
    modulation.bias.zero_()
    weight, bias = modulation.weight.view(256, 6, 16, -1), modulation.bias.view(256, 6, 16)
    bias[:, 2], bias[:, 5] = 0.1, 0.1
    bias[:, 2, channels] = 0.0
    block.expand_from_attn.weight.zero_()
    block.expand_from_attn.bias.zero_()
    block.expand_from_attn.bias.view(256, 16)[:, channels] = -PIXEL_SCALE
    gelu_pairs(block.mlp, matrix * norm)
    level = TIME_LEVEL / (1 + math.exp(-TIME_LEVEL))  # of a raised channel behind the SiLU
    bias[:, 5, channels] = 0.0
    for i, t in enumerate(TIMES):
        weight[:, 5, channels, TIME + i] = (1 / t - 1) / level
    network.final_layer.linear.weight.copy_(matrix * norm / PIXEL_SCALE)
    network.final_layer.linear.bias.zero_()


def reading(network):
    """The views (weight [256, 3, D], bias [256, 3]) of the modulation's rows that write x0."""
    modulation = network.pixel_blocks[0].adaLN_modulation[0]
    rows = torch.arange(256)[:, None] * 96 + 2 * 16 + torch.tensor(RGB_CHANNELS)
    return modulation.weight, modulation.bias, rows.T.flatten()  # channel-major, as the patches are


@torch.no_grad()
def fit_reading(network, s, patches, ridge=1e-4):
    """Least squares of patches [N, 768] over s [N, D], time's channels left out, into the rows that write x0."""
    s = s.clone()
    s[:, TIME:TIME + TIME_CHANNELS] = 0
    ones = torch.cat([s, torch.ones(len(s), 1)], dim=1).double()
    moment = ones.T @ ones + ridge * len(s) * torch.eye(ones.shape[1], dtype=torch.float64)
    solution = torch.linalg.solve(moment, ones.T @ patches.double()).float()
    weight, bias, rows = reading(network)
    weight[rows], bias[rows] = solution[:-1].T, solution[-1]


@torch.no_grad()
def fit_scale(network, tokens, ridge=1e-4):
    """Sets anew, by least squares over tokens {time: s [N, D]}, the rows that scale x - x0 by 1/t."""
    s = torch.cat(list(tokens.values())).double()
    target = torch.cat([torch.full((len(one),), 1 / t - 1, dtype=torch.float64) for t, one in tokens.items()])
    ones = torch.cat([s, torch.ones(len(s), 1, dtype=torch.float64)], dim=1)
    moment = ones.T @ ones + ridge * len(s) * torch.eye(ones.shape[1], dtype=torch.float64)
    solution = torch.linalg.solve(moment, ones.T @ target).float()
    modulation = network.pixel_blocks[0].adaLN_modulation[0]
    modulation.weight.view(256, 6, 16, -1)[:, 5, list(RGB_CHANNELS)] = solution[:-1]
    modulation.bias.view(256, 6, 16)[:, 5, list(RGB_CHANNELS)] = solution[-1]


def initial(seed):
    torch.manual_seed(seed)
    network = PidNetwork(DEMO)
    with torch.no_grad():
        network.s_embedder.proj.weight.zero_()
        network.s_embedder.proj.bias.zero_()
    adapter(network.lq_proj)
    gates(network.lq_proj)
    blocks(network)
    keep_time(network)
    time_channels(network)
    pixels(network)
    return network
