"""The images of a run as numbers: labels, weights, and how often each is drawn."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fitwell.recipe.schema import Recipe
from fitwell.training.balance import class_shares, class_weights, drawing_shares
from fitwell.training.halving import stratified_order


@dataclass(frozen=True)
class RunImages:
    """The images that a run learns from and chooses on.

    Args:
        images: rows of split.csv.
        classes: every label once, in the order of the logits.
        recipe: resolved.
    """

    images: pd.DataFrame
    classes: tuple[str, ...]
    recipe: Recipe

    def part(self, split: str) -> pd.DataFrame:
        """Return the images of `split`; of val a stratified part, where the recipe limits it."""
        rows = self.images[self.images["split"] == split]
        most = self.recipe.limits.val_images
        if split != "val" or most is None or most >= len(rows):
            return rows
        chosen = stratified_order(self._numbers(rows), self.recipe.seed)[:most]
        return rows.iloc[np.sort(chosen)]

    def some_of_train(self, count: int) -> NDArray[np.int64]:
        """Return the numbers of at most `count` training images, with every class in its share."""
        return np.sort(stratified_order(self.labels("train"), self.recipe.seed)[:count])

    def labels(self, split: str) -> NDArray[np.int64]:
        """Return the class numbers (N,) of `split`."""
        return self._numbers(self.part(split))

    def weights(self) -> NDArray[np.float32]:
        """Return class weight times image weight (N,) of the training images, with mean 1."""
        labels = self.labels("train")
        weights = self.image_weights() * class_weights(self.recipe.balance, labels, self.classes)[labels]
        return np.asarray(weights / weights.mean(), dtype=np.float32)

    def class_weights(self) -> dict[str, float]:
        """Return the weight of each class in the loss; their mean over the training images is 1."""
        weights = class_weights(self.recipe.balance, self.labels("train"), self.classes)
        return dict(zip(self.classes, weights.tolist(), strict=True))

    def image_weights(self) -> NDArray[np.float64]:
        """Return the weights (N,) that the table gives the training images, with mean 1."""
        train = self.part("train")
        weights = train["weight"].to_numpy(dtype=np.float64) if "weight" in train else np.ones(len(train))
        return np.asarray(weights / weights.mean())

    def drawing_shares(self) -> NDArray[np.float64] | None:
        """Return how likely each training image (N,) is the next one drawn; None where each is seen once an epoch."""
        return drawing_shares(self.recipe.balance, self.labels("train"))

    def class_shares(self) -> NDArray[np.float64]:
        """Return what share of the training loss each class (C,) has."""
        return class_shares(self.labels("train"), np.asarray(self.weights(), np.float64), self.drawing_shares())

    def _numbers(self, rows: pd.DataFrame) -> NDArray[np.int64]:
        return np.asarray([self.classes.index(label) for label in rows["label"]], dtype=np.int64)
