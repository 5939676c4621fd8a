"""The photographs, all free of copyright, from the scikit-image package (skimage.data); values are RGB in [-1, 1].

Run as a program, it writes the latent code's statistics, dct16.json, from the training pictures.
"""

import json

import numpy as np
import torch
import torch.nn.functional as F

import dct16

# name in skimage.data: source and licence as its documentation states them
TRAINING = {
    "astronaut": "NASA Great Images, https://flic.kr/p/r9qvLn; public domain",
    "coffee": "Rachel Michetti, courtesy of Pikolo Espresso Bar; CC0",
    "rocket": "SpaceX Photos, https://www.flickr.com/photos/spacexphotos/16511594820; public domain",
    "hubble_deep_field": "NASA, HubbleSite release 2012-37; public domain",
    "retina": "Mikael Haggstrom, Wikimedia Commons Fundus_photograph_of_normal_left_eye.jpg; CC0",
    "immunohistochemistry": "Center for Microscopy And Molecular Imaging; no known copyright restrictions",
}
# without colour; training tints them
TEXTURES = {
    "brick": "CC0Textures; CC0",
    "grass": "Linolafett, DeviantArt; CC0",
    "gravel": "CC0Textures; CC0",
    "camera": "Lav Varshney; CC0",
}
HELD_OUT = {"chelsea": "Stefan van der Walt; CC0"}


def load(name):
    """Picture [3, H, W] at its own size."""
    from skimage import data

    picture = torch.from_numpy(np.atleast_3d(getattr(data, name)()).copy()).permute(2, 0, 1)
    return picture.float().expand(3, -1, -1) / 127.5 - 1


def resize(picture, height, width):
    """Picture [3, H, W] at another size; bicubic, averaging where it shrinks, then kept in range."""
    out = F.interpolate(picture[None], size=(height, width), mode="bicubic", antialias=True, align_corners=False)
    return out[0].clamp(-1, 1)


def square(name, side=512):
    """The picture's middle square, at `side` x `side` and in 8 bits: [3, side, side]. This is what is measured."""
    picture = load(name)
    _, height, width = picture.shape
    cut = min(height, width)
    top, left = (height - cut) // 2, (width - cut) // 2
    return ((resize(picture[:, top:top + cut, left:left + cut], side, side) + 1) * 127.5).round() / 127.5 - 1


def main():
    raw = dct16.coefficients(torch.stack([square(name) for name in TRAINING])).double()
    spread, mean = torch.std_mean(raw, dim=(0, 2, 3))
    values = {"mean": [round(v, 6) for v in mean.tolist()], "std": [round(v, 6) for v in spread.tolist()]}
    dct16.STATISTICS.write_text(json.dumps(values, indent=1) + "\n")
    print(values)


if __name__ == "__main__":
    main()
