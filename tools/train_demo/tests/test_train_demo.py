"""The latent code, the network's entry points against the peer, and the weights that training starts from."""

import unittest

import context  # noqa: F401
import numpy as np
import torch

import dct16
import leaves
import network as demo
import pid_torch
import start

SIDE = 64  # pixels; 4 x 4 patches


def picture(seed, side=SIDE):
    return leaves.dead_leaves(np.random.default_rng(seed), side)[None]


class LatentCode(unittest.TestCase):
    def test_coefficients_are_those_of_the_definition(self):
        i = torch.arange(8, dtype=torch.float64)
        small = torch.nn.functional.avg_pool2d(picture(0).double(), 4)[0]
        red, green, blue = small[:, 8:, :8]  # the block in row 1, column 0
        luma = 0.299 * red + 0.587 * green + 0.114 * blue
        for channel, plane, (r, c) in ((3, luma, (2, 0)), (5, luma, (0, 2)), (8, (blue - luma) / 1.772, (0, 0)),
                                       (13, (red - luma) / 1.402, (0, 1))):
            wave = torch.outer(torch.cos((2 * i + 1) * r * torch.pi / 16), torch.cos((2 * i + 1) * c * torch.pi / 16))
            expected = (plane * wave).sum() / 4 * 0.5 ** (0.5 * ((r == 0) + (c == 0)))
            self.assertAlmostEqual(dct16.coefficients(picture(0))[0, channel, 1, 0].item(), expected.item(), places=4)

    def test_decoding_undoes_encoding_of_what_the_code_holds(self):
        latent = torch.randn(1, 16, 2, 3, generator=torch.Generator().manual_seed(0))
        enlarged = dct16.decode(latent).repeat_interleave(4, 2).repeat_interleave(4, 3)
        self.assertLess((dct16.encode(enlarged) - latent).abs().max().item(), 1e-4)


@torch.no_grad()
def shaken(seed):
    """Start weights with everything moved, so that no part of the network is idle."""
    network = start.initial(seed).requires_grad_(False)
    generator = torch.Generator().manual_seed(seed)
    for weight in network.parameters():
        weight += 0.02 * torch.randn(weight.shape, generator=generator)
    return network.eval()


class Network(unittest.TestCase):
    def test_sampler_is_the_peers(self):
        network, latent = shaken(0), dct16.encode(picture(1))
        noise = [torch.randn(1, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(k)) for k in range(4)]
        sigma, n = torch.tensor([0.3]), SIDE // 16
        with torch.no_grad():
            ours, _ = demo.sample(network, latent, sigma, noise, demo.Window(n, n))
        theirs = pid_torch.sample(network, latent, demo.empty_caption(1), sigma, noise)
        self.assertLess(((ours.clamp(-1, 1) - theirs).norm() / theirs.norm()).item(), 1e-5)

    def test_window_keeps_its_place_in_the_whole(self):
        whole, part = demo.Window(4, 6), demo.Window(2, 3, (4, 6), 1, 2)
        for i in (0, 2):
            expected = whole.rotary[i].view(4, 6, -1)[1:3, 2:5].flatten(0, 1)
            self.assertTrue(torch.equal(part.rotary[i], expected))
        self.assertTrue(torch.equal(demo.position_code(9, 9)[4:7, 2:9], demo.position_code(3, 7, 4, 2)))

    def test_parameters_stay_below_the_limit(self):
        with torch.device("meta"):
            count = sum(weight.numel() for weight in demo.PidNetwork(demo.DEMO).parameters())
        self.assertLessEqual(count, 12_500_000)


class Start(unittest.TestCase):
    def test_every_step_estimates_what_the_reading_says(self):
        network = start.initial(0).requires_grad_(False)
        weight, _, rows = start.reading(network)
        weight[rows] = 0.05 * torch.randn(len(rows), weight.shape[1], generator=torch.Generator().manual_seed(0))
        weight[rows, start.TIME:start.TIME + start.TIME_CHANNELS] = 0
        n, sigma = SIDE // 16, torch.zeros(1)
        place, features = demo.Window(n, n), network.lq_proj(dct16.encode(picture(2)), n, n)
        noise = torch.randn((1, 3, SIDE, SIDE), generator=torch.Generator().manual_seed(1))
        for t in demo.TIMES:
            at = torch.tensor([t])
            read = demo.trunk(network, None, at, features, sigma, place) @ weight[rows].T
            believed = torch.nn.functional.pixel_shuffle(read.transpose(1, 2).unflatten(2, (n, n)), 16)
            x = (1 - t) * believed + t * noise  # as the sampler has it
            error = demo.to_patches(x - t * demo.velocity(network, x, at, features, sigma, place)) - read
            self.assertGreater(read.std().item(), 0.1)
            self.assertLess((error.norm() / read.norm()).item(), 0.06, f"t = {t}")

    def test_half_of_a_cell_is_found(self):
        network = start.initial(0).requires_grad_(False)
        latent = torch.randn(1, 16, 4, 4, generator=torch.Generator().manual_seed(3))
        halves = network.lq_proj.latent_proj(latent.repeat_interleave(2, 2).repeat_interleave(2, 3))[0, 32:34, 2:6, 2:6]
        right = torch.tensor([-1.0, 1.0]).repeat(2)
        self.assertTrue(bool((halves[0] * right > 0).all()), f"columns: {halves[0]}")
        self.assertTrue(bool((halves[1] * right[:, None] > 0).all()), f"rows: {halves[1]}")


if __name__ == "__main__":
    unittest.main()
