"""Mixup and cutmix: every image of a batch is joined with another one, and so is what it should be recognised as.

Sources: Zhang et al. 2018, arXiv:1710.09412, and Yun et al. 2019, arXiv:1905.04899. Where frozen layers ran before,
their activations are joined, as in manifold mixup, Verma et al. 2019, arXiv:1806.05236.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from fitwell.data.loader import image_seed
from fitwell.recipe.schema import Augment


@dataclass(frozen=True)
class Mix:
    """How one batch is joined.

    Attributes:
        share: of each image in what it becomes, in [0, 1].
        partners: (B,) the place in the batch of the image that gives the rest.
        box: top, bottom, left and right of what the partner covers; None where the two are blended.
    """

    share: float
    partners: Tensor
    box: tuple[int, int, int, int] | None = None

    def blend(self, values: Tensor) -> Tensor:
        """Return (B, ...) joined."""
        if self.box is None:
            return torch.lerp(values[self.partners], values, self.share)
        top, bottom, left, right = self.box
        joined = values.clone(memory_format=torch.preserve_format)
        joined[:, :, top:bottom, left:right] = values[self.partners, :, top:bottom, left:right]
        return joined


def draw_mix(settings: Augment, values: Tensor, *, seed: int, step: int) -> Mix | None:
    """Return how the batch of `step` is joined; None where the settings ask for nothing.

    Mixup's share is the larger of the two that Beta(alpha, alpha) gives, so that an image keeps its name. Cutmix takes
    the share that is left of the picture. Pooled features have no places to cut: they are blended by the same share,
    which is what pooling makes of two parts.

    Args:
        values: (B, 3, H, W) images, (B, D, H, W) activations or (B, D) features.
    """
    if settings.mixup == settings.cutmix == 0:
        return None
    rng = np.random.default_rng(image_seed(seed, step, -2))  # -1 shuffles the epochs
    cuts = settings.mixup == 0 or (settings.cutmix > 0 and rng.random() < 0.5)
    alpha = settings.cutmix if cuts else settings.mixup
    share = float(rng.beta(alpha, alpha))
    partners = torch.from_numpy(rng.permutation(len(values))).to(values.device)
    if not cuts:
        return Mix(max(share, 1 - share), partners)
    if values.ndim < 4:
        return Mix(share, partners)
    height, width = values.shape[2:]
    top, bottom = _draw_side(height, share, rng)
    left, right = _draw_side(width, share, rng)
    return Mix(1 - (bottom - top) * (right - left) / (height * width), partners, (top, bottom, left, right))


def mix_examples(settings: Augment, images: Tensor, *, seed: int) -> Tensor | None:
    """Return of each of `images` (B, 3, S, S) what a step of its own would make of it; None where nothing is joined."""
    mixes = [draw_mix(settings, images, seed=seed, step=step) for step in range(len(images))]
    joined = [mix.blend(images)[number] for number, mix in enumerate(mixes) if mix is not None]
    return torch.stack(joined) if joined else None


def _draw_side(length: int, share: float, rng: np.random.Generator) -> tuple[int, int]:
    """Return where sqrt(1 - share) of a side begins and ends about a place on it; what lies beyond is cut off."""
    center, reach = int(rng.integers(length)), int(length * math.sqrt(1 - share)) // 2
    return max(0, center - reach), min(length, center + reach)
