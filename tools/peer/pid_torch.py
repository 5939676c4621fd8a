"""The PiD pixel diffusion decoder in plain eager PyTorch: network and sampler.

An independent yardstick for pid-engine: it computes what the engine computes, with ordinary torch calls and no
optimisation of its own. Written from the description of the network (arXiv 2605.23902), not from its public code.
Modules carry the names of a released checkpoint's tensors, so `state_dict` loads unchanged. It runs in the type of its
weights, or under autocast; the casts below keep the token streams s, y and px in the type of the linear layers' outputs
(bfloat16 under autocast, as in the public code) and change nothing in float32.

Symbols: B batch, H x W output pixels (multiples of P = 16), L = (H/P)*(W/P) patch tokens in row-major order,
D hidden size, T caption tokens, C16 = 16 channels of a pixel. Last axis contiguous throughout.
"""

import functools
import math
from collections import OrderedDict

import torch
import torch.nn.functional as F
from torch import nn

from rotary import image_rotary, rotate, text_rotary

TIMES = (0.999, 0.866, 0.634, 0.342, 0.0)


class RmsNorm(nn.RMSNorm):
    """Normalises in the type of its weight: float32 under autocast, as the public code does, modulation included."""

    def forward(self, x):
        return super().forward(x.to(self.weight.dtype))


rms_norm = functools.partial(RmsNorm, eps=1e-6)


def conv3x3(inputs, outputs, padding):
    return nn.Conv2d(inputs, outputs, 3, padding=1, padding_mode=padding)


def modulate(z, shift, scale):
    return z * (1 + scale) + shift


def attend(q, k, v):
    """Softmax attention over all tokens; q, k, v and the result are [B, N, heads, d]."""
    out = F.scaled_dot_product_attention(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2))
    return out.transpose(1, 2)


class TimeEmbedder(nn.Module):
    def __init__(self, d):
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(256, d), nn.SiLU(), nn.Linear(d, d))

    def forward(self, t):
        """t [B], the sampler's time in (0, 1] -> [B, D]."""
        angle = 1000 * t[:, None] * torch.exp(-math.log(10) * torch.arange(128, device=t.device) / 128)
        return self.mlp(torch.cat([angle.cos(), angle.sin()], dim=-1).to(self.mlp[0].weight.dtype))


class Embedder(nn.Module):
    def __init__(self, inputs, d, norm=False):
        super().__init__()
        self.proj = nn.Linear(inputs, d)
        self.norm = rms_norm(d) if norm else nn.Identity()

    def forward(self, x):
        return self.norm(self.proj(x))


class PixelEmbedder(Embedder):
    def forward(self, rgb):
        """rgb [B, H, W, 3] -> [B, H, W, C16]: projection plus sines of the pixel's column and row in the picture."""
        _, height, width, _ = rgb.shape
        w = 10000.0 ** (-torch.arange(4, device=rgb.device) / 4)
        out = self.proj(rgb)

        def waves(count):
            angle = torch.arange(count, device=rgb.device)[:, None] * w
            return torch.cat([angle.sin(), angle.cos()], dim=-1).to(out.dtype)

        across = waves(width)[None].expand(height, -1, -1)
        down = waves(height)[:, None].expand(-1, width, -1)
        return out + torch.cat([across, down], dim=-1)


class ResidualBlock(nn.Module):
    def __init__(self, width, padding):
        super().__init__()
        layers = []
        for _ in range(2):
            layers += [nn.GroupNorm(4, width, eps=1e-5), nn.SiLU(), conv3x3(width, width, padding)]
        self.block = nn.Sequential(*layers)

    def forward(self, x):
        return x + self.block(x)


class Gate(nn.Module):
    def __init__(self, d, width):
        super().__init__()
        self.content_proj = nn.Linear(2 * d, width)
        self.log_alpha = nn.Parameter(torch.zeros(()))

    def forward(self, s, features, sigma):
        """s + gated features; s and features [B, L, D], sigma [B]."""
        logit = self.content_proj(torch.cat([s, features], dim=-1)) - self.log_alpha.exp() * sigma[:, None, None]
        return s + (torch.sigmoid(logit) * features).to(s.dtype)


class Adapter(nn.Module):
    def __init__(self, config):
        super().__init__()
        d, width, self.factor = config.hidden_size, config.lq_hidden_dim, config.lq_latent_unpatchify_factor
        padding = config.lq_conv_padding_mode
        self.latent_proj = nn.Sequential(
            conv3x3(config.lq_latent_channels // self.factor**2, width, padding),
            nn.SiLU(),
            conv3x3(width, width, padding),
            *(ResidualBlock(width, padding) for _ in range(config.lq_num_res_blocks)),
        )
        gates = math.ceil(config.patch_depth / config.lq_interval)
        self.output_heads = nn.ModuleList(nn.Linear(width, d) for _ in range(gates))
        self.gate_modules = nn.ModuleList(Gate(d, config.gate_width) for _ in range(gates))
        if config.pit_lq_inject:
            self.pit_head = nn.Linear(width, d)

    def forward(self, latent, rows, columns):
        """latent [B, C, h, w] -> a list of features [B, L, D]: one per gate, then the pit head's if there is one."""
        x = F.pixel_shuffle(latent, self.factor)
        x = self.latent_proj(F.interpolate(x, size=(rows, columns), mode="nearest"))
        x = x.flatten(2).transpose(1, 2)
        heads = [*self.output_heads, self.pit_head] if hasattr(self, "pit_head") else self.output_heads
        return [head(x) for head in heads]


class JointAttention(nn.Module):
    def __init__(self, d, heads):
        super().__init__()
        self.heads = heads
        for stream in "xy":
            setattr(self, f"qkv_{stream}", nn.Linear(d, 3 * d, bias=False))
            setattr(self, f"q_norm_{stream}", rms_norm(d // heads))
            setattr(self, f"k_norm_{stream}", rms_norm(d // heads))
            setattr(self, f"proj_{stream}", nn.Linear(d, d))

    def forward(self, x, y, rotary_x, rotary_y):
        """Image tokens x [B, L, D] and text tokens y [B, T, D] attend to both; returns both."""
        parts = []
        for stream, tokens, rotary in (("y", y, rotary_y), ("x", x, rotary_x)):
            qkv = getattr(self, f"qkv_{stream}")(tokens)
            q, k, v = qkv.unflatten(-1, (3, self.heads, -1)).unbind(2)
            q, k = getattr(self, f"q_norm_{stream}")(q), getattr(self, f"k_norm_{stream}")(k)
            parts.append((rotate(q, rotary).to(v.dtype), rotate(k, rotary).to(v.dtype), v))
        out = attend(*(torch.cat(pair, dim=1) for pair in zip(*parts))).flatten(2)
        text = y.shape[1]
        return self.proj_x(out[:, text:]), self.proj_y(out[:, :text])


class FeedForward(nn.Module):
    def __init__(self, d):
        super().__init__()
        self.w1, self.w3 = (nn.Linear(d, 8 * d // 3, bias=False) for _ in range(2))
        self.w2 = nn.Linear(8 * d // 3, d, bias=False)

    def forward(self, z):
        return self.w2(F.silu(self.w1(z)) * self.w3(z))


class PatchBlock(nn.Module):
    def __init__(self, config):
        super().__init__()
        d = config.hidden_size
        self.attn = JointAttention(d, config.num_groups)
        self.norm_x1, self.norm_x2, self.norm_y1, self.norm_y2 = (rms_norm(d) for _ in range(4))
        self.mlp_x, self.mlp_y = FeedForward(d), FeedForward(d)
        self.adaLN_modulation_img, self.adaLN_modulation_txt = (nn.Sequential(nn.Linear(d, 6 * d)) for _ in "xy")

    def forward(self, x, y, condition, rotary_x, rotary_y):
        """x [B, L, D], y [B, T, D], condition [B, 1, D] -> new x and y."""
        mx, my = self.adaLN_modulation_img(condition).chunk(6, -1), self.adaLN_modulation_txt(condition).chunk(6, -1)
        out_x, out_y = self.attn(modulate(self.norm_x1(x), mx[0], mx[1]), modulate(self.norm_y1(y), my[0], my[1]),
                                 rotary_x, rotary_y)
        x, y = x + mx[2] * out_x, y + my[2] * out_y
        x = x + mx[5] * self.mlp_x(modulate(self.norm_x2(x), mx[3], mx[4]))
        y = y + my[5] * self.mlp_y(modulate(self.norm_y2(y), my[3], my[4]))
        return x, y


class PixelAttention(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.qkv, self.proj = nn.Linear(width, 3 * width, bias=False), nn.Linear(width, width)
        self.q_norm, self.k_norm = rms_norm(width // heads), rms_norm(width // heads)

    def forward(self, z, rotary):
        """z [B, L, width] -> the same shape."""
        q, k, v = self.qkv(z).unflatten(-1, (3, self.heads, -1)).unbind(2)
        q, k = (rotate(norm(z), rotary).to(v.dtype) for norm, z in ((self.q_norm, q), (self.k_norm, k)))
        return self.proj(attend(q, k, v).flatten(2))


class PixelBlock(nn.Module):
    def __init__(self, config):
        super().__init__()
        c, width = config.pixel_hidden_size, config.pixel_attn_hidden_size
        row = config.patch_size**2 * c
        self.norm1, self.norm2 = rms_norm(c), rms_norm(c)
        self.compress_to_attn, self.expand_from_attn = nn.Linear(row, width), nn.Linear(width, row)
        self.attn = PixelAttention(width, config.pixel_num_groups)
        self.mlp = nn.Sequential(OrderedDict(fc1=nn.Linear(c, 4 * c), gelu=nn.GELU(), fc2=nn.Linear(4 * c, c)))
        self.adaLN_modulation = nn.Sequential(nn.Linear(config.hidden_size, 6 * row))

    def forward(self, px, s, rotary):
        """px [B*L, 256, C16], s [B, L, D] -> new px."""
        batch, tokens, _ = s.shape
        m = self.adaLN_modulation(s).view(*px.shape[:2], 6, px.shape[2]).unbind(2)
        z = modulate(self.norm1(px), m[0], m[1]).reshape(batch, tokens, -1)
        out = self.expand_from_attn(self.attn(self.compress_to_attn(z), rotary))
        px = px + m[2] * out.reshape(px.shape)
        return px + m[5] * self.mlp(modulate(self.norm2(px), m[3], m[4]))


class PidNetwork(nn.Module):
    """One call is one step's velocity. Build with `build`, which allocates no memory for weights of its own."""

    def __init__(self, config):
        super().__init__()
        self.config, d, c = config, config.hidden_size, config.pixel_hidden_size
        self.t_embedder = TimeEmbedder(d)
        self.y_embedder = Embedder(config.txt_embed_dim, d, norm=True)
        self.y_pos_embedding = nn.Parameter(torch.zeros(1, config.txt_max_length, d))
        self.s_embedder = Embedder(3 * config.patch_size**2, d)
        self.lq_proj = Adapter(config)
        self.patch_blocks = nn.ModuleList(PatchBlock(config) for _ in range(config.patch_depth))
        if config.pit_lq_inject:
            self.pit_lq_gate = Gate(d, config.gate_width)
        self.pixel_embedder = PixelEmbedder(3, c)
        self.pixel_blocks = nn.ModuleList(PixelBlock(config) for _ in range(config.pixel_depth))
        self.final_layer = nn.Sequential(OrderedDict(norm=rms_norm(c), linear=nn.Linear(c, 3)))

    def rotary(self, rows, columns, text_length, device, real=False):
        """Rotary factors (image, text, pixel blocks), constants of a picture's size. `real` gives them as pairs of
        numbers instead of complex ones, which torch.compile leaves to eager kernels."""
        config = self.config
        head, pixel_head = (config.hidden_size // config.num_groups,
                            config.pixel_attn_hidden_size // config.pixel_num_groups)
        factors = (image_rotary(rows, columns, head, config, device),
                   text_rotary(min(text_length, config.txt_max_length), head, device),
                   image_rotary(rows, columns, pixel_head, config, device))
        return tuple(torch.view_as_real(f) for f in factors) if real else factors

    def forward(self, x, t, caption, latent, sigma, rotary, features=None):
        """Velocity [B, 3, H, W] of picture x [B, 3, H, W] at times t [B], given caption [B, T, E], latent [B, C, h, w]
        and its noise level sigma [B]; `features` stands in for the adapter's output when it was run beforehand."""
        x = x.to(self.s_embedder.proj.weight.dtype)
        caption, latent = caption.to(x.dtype), latent.to(x.dtype)
        config, (batch, _, height, width) = self.config, x.shape
        p, rows, columns = config.patch_size, height // config.patch_size, width // config.patch_size
        if features is None:
            features = self.lq_proj(latent, rows, columns)
        t_emb = self.t_embedder(t)[:, None]
        condition = F.silu(t_emb)
        caption = caption[:, :config.txt_max_length]
        y = self.y_embedder(caption) + self.y_pos_embedding[:, :caption.shape[1]]
        rotary_x, rotary_y, rotary_pixels = rotary
        patches = x.view(batch, 3, rows, p, columns, p).permute(0, 2, 4, 1, 3, 5).reshape(batch, rows * columns, -1)
        s = self.s_embedder(patches)
        y = y.to(s.dtype)
        for i, block in enumerate(self.patch_blocks):
            if i % config.lq_interval == 0:
                gate = i // config.lq_interval
                s = self.lq_proj.gate_modules[gate](s, features[gate], sigma)
            s, y = block(s, y, condition, rotary_x, rotary_y)
        s = F.silu(t_emb + s)
        if config.pit_lq_inject:
            s = self.pit_lq_gate(s, features[-1], sigma)

        px = self.pixel_embedder(x.permute(0, 2, 3, 1)).view(batch, rows, p, columns, p, -1)
        px = px.transpose(2, 3).reshape(batch * rows * columns, p * p, -1)
        for block in self.pixel_blocks:
            px = block(px, s, rotary_pixels)
        v = self.final_layer(px).view(batch, rows, columns, p, p, 3)
        return v.permute(0, 5, 1, 3, 2, 4).reshape(batch, 3, height, width)


def build(config, tensors):
    """Network of `config` around float32 `tensors` {name: tensor}, taken as they are and not copied."""
    with torch.device("meta"):
        network = PidNetwork(config)
    network.load_state_dict(tensors, assign=True)
    return network.eval().requires_grad_(False)


def load(config, path, device="cpu"):
    """Network of `config` with the weights of a safetensors file, widened to float32."""
    from safetensors.torch import load_file

    tensors = {name.removeprefix("net."): tensor.float() for name, tensor in load_file(path, device=device).items()}
    return build(config, {n: w for n, w in tensors.items() if not n.startswith("lq_proj.lq_aux_rgb_head.")})


def schedule(steps):
    """Times of a decode of 1 to 4 steps, ending in 0 (`steps` + 1 entries)."""
    if steps == 1:
        return [1.0, 0.0]
    return [TIMES[round(4 * i / steps)] for i in range(steps + 1)]


@torch.no_grad()
def sample(network, latent, caption, sigma, noise, steps=4, adapter_once=False, real_rotary=False,
           on_step=lambda *_: None, on_prepared=lambda: None):
    """Picture [B, 3, H, W] float32 in [-1, 1]. `noise` holds `steps` float32 tensors [B, 3, H, W]. The adapter runs in
    every step, as in the public code, unless `adapter_once`. `on_prepared` is called before the first step, and
    `on_step(k, velocity, x)` after each."""
    x, times, p = noise[0], schedule(steps), network.config.patch_size
    rows, columns = x.shape[2] // p, x.shape[3] // p
    rotary = network.rotary(rows, columns, caption.shape[1], x.device, real_rotary)
    dtype = network.s_embedder.proj.weight.dtype
    features = network.lq_proj(latent.to(dtype), rows, columns) if adapter_once else None
    on_prepared()
    for k in range(steps):
        t = torch.full((x.shape[0],), times[k], dtype=torch.float32, device=x.device)
        v = network(x, t, caption, latent, sigma, rotary, features)
        denoised = (x.double() - times[k] * v.double()).float()
        x = (1 - times[k + 1]) * denoised + times[k + 1] * noise[k + 1] if times[k + 1] > 0 else denoised
        on_step(k, v, x)
    return x.clamp(-1, 1)
