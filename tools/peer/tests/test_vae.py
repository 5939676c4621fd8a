"""The VAE decoder's shape, and tiled against untiled decoding."""

import unittest

import context  # noqa: F401
import torch
from torch import nn
import torch.nn.functional as F

import check_golden
import vae


def local_decoder():
    """A narrow decoder whose GroupNorms and attention, which see the whole picture, are left out: only then can tiles
    agree with the whole at all."""
    torch.manual_seed(0)
    decoder = vae.Decoder((32, 32, 64, 64)).eval().requires_grad_(False)
    for parent in list(decoder.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, (nn.GroupNorm, vae.Attention)):
                setattr(parent, name, nn.Identity())
    return decoder


def colours(latent):
    """A decoder that looks at one latent pixel at a time."""
    return F.interpolate(latent[:, :3], scale_factor=vae.FACTOR)


class Shape(unittest.TestCase):
    def test_parameters_and_picture(self):
        decoder = vae.Decoder().eval()
        # 49 490 179 of the four-channel decoder of Latent Diffusion, and 12 more inputs of its first convolution.
        self.assertEqual(sum(w.numel() for w in decoder.parameters()), 49_490_179 + 12 * 512 * 9)
        with torch.no_grad():
            picture = decoder(torch.randn(1, 16, 4, 6))
        self.assertEqual(tuple(picture.shape), (1, 3, 32, 48))
        self.assertTrue(torch.isfinite(picture).all())


class Tiles(unittest.TestCase):
    def test_one_tile_is_the_whole(self):
        torch.manual_seed(1)
        latent, decoder = torch.randn(1, 16, 12, 10), local_decoder()
        self.assertTrue(torch.equal(vae.decode_tiled(decoder, latent, tile=16), decoder(latent)))

    def test_blending_reproduces_a_pointwise_decoder(self):
        torch.manual_seed(2)
        for height, width in ((16, 20), (40, 28), (13, 49), (12, 24)):
            latent = torch.randn(2, 16, height, width)
            error = (vae.decode_tiled(colours, latent, tile=16) - colours(latent)).abs().max().item()
            self.assertLessEqual(error, 1e-6, f"{width}x{height}")

    def test_overlap_hides_the_seams_of_a_convolutional_decoder(self):
        torch.manual_seed(3)
        latent, decoder = torch.randn(1, 16, 40, 28), local_decoder()
        whole = decoder(latent)
        blended = check_golden.relative_l2(vae.decode_tiled(decoder, latent, tile=16), whole)
        seams = check_golden.relative_l2(vae.decode_tiled(decoder, latent, tile=16, overlap=0.0), whole)
        print(f"tiled against untiled: {blended:.4f} blended, {seams:.4f} without overlap")
        self.assertLess(blended, 0.1)
        self.assertLess(blended, seams)


if __name__ == "__main__":
    unittest.main()
