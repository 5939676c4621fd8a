"""Training batches: crops of photographs and procedural pictures, turned, scaled and recoloured.

Scaling is what costs time, so crops are cut from a pool of scaled pictures, one of which is renewed at every batch.
"""

import numpy as np
import torch

import leaves
import photographs

SHARES = {"photographs": 0.65, "textures": 0.1, "leaves": 0.25}  # of the crops
SCALES = 5  # scaled copies at hand of every photograph and texture
LEAVES = 16  # procedural pictures at hand


class Pictures:
    """A source of crops; everything it draws follows from `seed`. `side` is the largest crop's in pixels."""

    def __init__(self, seed, side):
        self.rng, self.side = np.random.default_rng(seed), side
        photos, textures = ([photographs.load(name) for name in names]
                            for names in (photographs.TRAINING, photographs.TEXTURES))
        self.renew = {"photographs": lambda: self.scaled(photos), "textures": lambda: self.scaled(textures),
                      "leaves": self.procedural}
        sizes = {"photographs": SCALES * len(photos), "textures": SCALES * len(textures), "leaves": LEAVES}
        self.pools = {kind: [self.renew[kind]() for _ in range(size)] for kind, size in sizes.items()}

    def scaled(self, originals):
        """One of them at 0.7 to 1.6 times the size at which photographs are measured (512 on the short side)."""
        picture = originals[self.rng.integers(len(originals))]
        short = max(self.side, int(512 * np.exp(self.rng.uniform(np.log(0.7), np.log(1.6)))))
        height, width = (round(extent * short / min(picture.shape[1:])) for extent in picture.shape[1:])
        return photographs.resize(picture, height, width)

    def procedural(self):
        picture = leaves.dead_leaves(self.rng, 640)
        side = max(self.side, int(640 / np.exp(self.rng.uniform(0, np.log(2)))))
        return photographs.resize(picture, side, side)

    def batch(self, count, side):
        """Crops [count, 3, side, side] in [-1, 1]."""
        kind = self.kind()
        self.pools[kind][self.rng.integers(len(self.pools[kind]))] = self.renew[kind]()
        return torch.stack([self.crop(side) for _ in range(count)])

    def kind(self):
        return self.rng.choice(list(SHARES), p=list(SHARES.values()))

    def crop(self, side):
        kind = self.kind()
        picture = self.pools[kind][self.rng.integers(len(self.pools[kind]))]
        top, left = (int(self.rng.integers(0, extent - side + 1)) for extent in picture.shape[1:])
        crop = self.turn(picture[:, top:top + side, left:left + side])
        return crop if kind == "photographs" and self.rng.random() < 0.5 else self.recolour(crop)

    def turn(self, crop):
        if self.rng.random() < 0.5:
            crop = crop.flip(2)
        return crop.rot90(int(self.rng.integers(4)), (1, 2)) if self.rng.random() < 0.5 else crop

    def recolour(self, crop):
        """The crop with other contrast, brightness, tint and order of colours."""
        rng = self.rng
        if rng.random() < 0.4:
            crop = crop[torch.from_numpy(rng.permutation(3))]
        gain = torch.from_numpy(rng.uniform(0.6, 1.2) * rng.uniform(0.85, 1.15, 3)).float()[:, None, None]
        shift = torch.from_numpy(rng.uniform(-0.2, 0.2) + rng.uniform(-0.1, 0.1, 3)).float()[:, None, None]
        return (crop * gain + shift).clamp(-1, 1)
