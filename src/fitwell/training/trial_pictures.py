"""Training pictures on which ways to compute are compared.

On noise bfloat16 passes for float32 (EfficientNet-Lite0: cosine 0.999); of solar cells it makes other features (0.96).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from fitwell.data.loader import ImageSource
from fitwell.data.split import data_fingerprint
from fitwell.recipe.schema import Recipe
from fitwell.training.pictures import preprocessing_of

MOST = 16  # pictures of a trial


@dataclass(frozen=True)
class TrialPictures:
    """Where the pictures of a trial come from.

    Attributes:
        source: training images as evaluation sees them.
        fingerprint: of the data set: how well ways to compute agree holds for its pictures alone.
    """

    source: ImageSource
    fingerprint: str

    def load(self, count: int) -> Tensor:
        """Return (count, 3, S, S) float32, spread evenly over the images; where they are fewer, some come again.

        Args:
            count: at most `MOST`.

        Raises:
            DataError: when an image cannot be decoded.
        """
        return self._all[_spread(MOST, count)]

    @cached_property
    def _all(self) -> Tensor:
        """Every picture a trial can ask for, (MOST, 3, S, S): each is decoded once however often a plan tries it."""
        return torch.stack([self.source.load(image, epoch=0) for image in _spread(len(self.source), MOST)])


def _spread(total: int, count: int) -> list[int]:
    """Return `count` places of `total`, evenly from the first to the last."""
    chosen: list[int] = np.linspace(0, total - 1, count).round().astype(int).tolist()
    return chosen


def trial_pictures(root: Path, images: pd.DataFrame, recipe: Recipe) -> TrialPictures:
    """Return where a run of the resolved `recipe` takes the pictures of its trials from.

    Args:
        root: the folder that paths are relative to. images: rows with path, label, sha256 and split.
    """
    train = images.loc[images["split"] == "train", "path"]
    source = ImageSource(root, tuple(train), preprocessing_of(recipe), augmentation=None, seed=recipe.seed)
    return TrialPictures(source, data_fingerprint(images))
