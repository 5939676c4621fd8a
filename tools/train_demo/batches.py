"""Training batches: crops of photographs and procedural pictures, turned, scaled and recoloured.

Scaling is what costs time, so crops are cut from a pool of scaled pictures, one of which is renewed at every batch.
"""

import numpy as np
import torch

import leaves
import photographs

PHOTOGRAPHS = 0.6  # share of a batch's crops
SCALES = 5  # scaled copies at hand of every photograph
LEAVES = 16  # procedural pictures at hand


class Pictures:
    """A source of crops; everything it draws follows from `seed`. `side` is the largest crop's in pixels."""

    def __init__(self, seed, side):
        self.rng, self.side = np.random.default_rng(seed), side
        self.originals = [photographs.load(name) for name in photographs.TRAINING]
        self.photographs = [self.scaled(picture) for _ in range(SCALES) for picture in self.originals]
        self.leaves = [self.procedural() for _ in range(LEAVES)]

    def scaled(self, picture):
        """A photograph at 0.7 to 1.6 times the size at which it is measured (512 on the short side)."""
        short = max(self.side, int(512 * np.exp(self.rng.uniform(np.log(0.7), np.log(1.6)))))
        height, width = (round(extent * short / min(picture.shape[1:])) for extent in picture.shape[1:])
        return photographs.resize(picture, height, width)

    def procedural(self):
        picture = leaves.dead_leaves(self.rng, 640)
        side = max(self.side, int(640 / np.exp(self.rng.uniform(0, np.log(2)))))
        return photographs.resize(picture, side, side)

    def batch(self, count, side):
        """Crops [count, 3, side, side] in [-1, 1]."""
        if self.rng.random() < PHOTOGRAPHS:
            index = int(self.rng.integers(len(self.photographs)))
            self.photographs[index] = self.scaled(self.originals[index % len(self.originals)])
        else:
            self.leaves[self.rng.integers(LEAVES)] = self.procedural()
        return torch.stack([self.crop(side) for _ in range(count)])

    def crop(self, side):
        pool = self.photographs if self.rng.random() < PHOTOGRAPHS else self.leaves
        picture = pool[self.rng.integers(len(pool))]
        top, left = (int(self.rng.integers(0, extent - side + 1)) for extent in picture.shape[1:])
        return self.recolour(self.turn(picture[:, top:top + side, left:left + side]))

    def turn(self, crop):
        if self.rng.random() < 0.5:
            crop = crop.flip(2)
        return crop.rot90(int(self.rng.integers(4)), (1, 2)) if self.rng.random() < 0.5 else crop

    def recolour(self, crop):
        """Half the crops stay as they are; the others change contrast, brightness, tint and the order of colours."""
        rng = self.rng
        if rng.random() < 0.5:
            return crop
        if rng.random() < 0.4:
            crop = crop[torch.from_numpy(rng.permutation(3))]
        gain = torch.from_numpy(rng.uniform(0.6, 1.2) * rng.uniform(0.85, 1.15, 3)).float()[:, None, None]
        shift = torch.from_numpy(rng.uniform(-0.2, 0.2) + rng.uniform(-0.1, 0.1, 3)).float()[:, None, None]
        return (crop * gain + shift).clamp(-1, 1)
