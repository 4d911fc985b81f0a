"""Mixup: every image of a batch is blended with another one, and so is what it should be recognised as.

Source: Zhang et al. 2018, arXiv:1710.09412; where frozen layers ran before, their activations are blended, as in
manifold mixup, Verma et al. 2019, arXiv:1806.05236.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from fitwell.data.loader import image_seed


@dataclass(frozen=True)
class Mix:
    """How one batch is blended.

    Attributes:
        share: of each image in its blend, in [0.5, 1].
        partners: (B,) the place in the batch of the image that gives the rest.
    """

    share: float
    partners: Tensor

    def blend(self, values: Tensor) -> Tensor:
        """Return (B, ...) blended."""
        return torch.lerp(values[self.partners], values, self.share)


def draw_mix(alpha: float, batch_size: int, *, seed: int, step: int, device: str) -> Mix | None:
    """Return how the batch of `step` is blended: the larger share from Beta(alpha, alpha); None for an alpha of 0."""
    if alpha == 0:
        return None
    rng = np.random.default_rng(image_seed(seed, step, -2))  # -1 shuffles the epochs
    share = float(rng.beta(alpha, alpha))
    partners = torch.from_numpy(rng.permutation(batch_size)).to(device)
    return Mix(max(share, 1 - share), partners)
