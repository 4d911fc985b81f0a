"""The images of a run as numbers: labels, weights, and how often each is drawn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fitwell.data.labels import Labelling
from fitwell.evaluation.multi_label_intervals import strata_of
from fitwell.recipe.resolve import plan_labelling
from fitwell.recipe.schema import Recipe
from fitwell.training.balance import class_weights, drawing_shares, positive_weights, prior_logits, target_weights
from fitwell.training.halving import stratified_order

Labels = NDArray[Any]  # (N,) int64 class numbers; of several classes an image (N, C) bool


@dataclass(frozen=True)
class RunImages:
    """The images that a run learns from and chooses on.

    Args:
        images: rows of split.csv.
        classes: every class once, in the order of the logits.
        recipe: resolved.
    """

    images: pd.DataFrame
    classes: tuple[str, ...]
    recipe: Recipe

    @property
    def labelling(self) -> Labelling:
        """How many classes an image may show."""
        return plan_labelling(self.recipe)

    def part(self, split: str) -> pd.DataFrame:
        """Return the images of `split`; of val a stratified part, where the recipe limits it."""
        rows = self.images[self.images["split"] == split]
        most = self.recipe.limits.val_images
        if split != "val" or most is None or most >= len(rows):
            return rows
        labels = encode_labels(rows, self.classes, self.labelling)
        chosen = stratified_order(strata(labels), self.recipe.seed)[:most]
        return rows.iloc[np.sort(chosen)]

    def some_of_train(self, count: int) -> NDArray[np.int64]:
        """Return the numbers of at most `count` training images, with every class in its share."""
        return np.sort(stratified_order(strata(self.labels("train")), self.recipe.seed)[:count])

    def labels(self, split: str) -> Labels:
        """Return the class numbers (N,) of `split`; of several classes an image, (N, C) whether it shows each."""
        return encode_labels(self.part(split), self.classes, self.labelling)

    def weights(self) -> NDArray[np.float32]:
        """Return class weight times image weight of the training images, in the shape of `labels`, with mean 1."""
        labels, of_images = self.labels("train"), self.image_weights()
        if self.labelling.several:
            positive = positive_weights(self.recipe.balance, labels, self.classes)
            weights = of_images[:, None] * target_weights(positive, labels)
        else:
            weights = of_images * class_weights(self.recipe.balance, labels, self.classes)[labels]
        return np.asarray(weights / weights.mean(), dtype=np.float32)

    def class_weights(self) -> dict[str, float]:
        """Return the weight of each class in the loss; their mean over the training images is 1.

        Of several classes an image, how much one that shows the class counts against one that does not.
        """
        weigh = positive_weights if self.labelling.several else class_weights
        weights = weigh(self.recipe.balance, self.labels("train"), self.classes)
        return dict(zip(self.classes, weights.tolist(), strict=True))

    def image_weights(self) -> NDArray[np.float64]:
        """Return the weights (N,) that the table gives the training images, with mean 1."""
        train = self.part("train")
        weights = train["weight"].to_numpy(dtype=np.float64) if "weight" in train else np.ones(len(train))
        return np.asarray(weights / weights.mean())

    def drawing_shares(self) -> NDArray[np.float64] | None:
        """Return how likely each training image (N,) is the next one drawn; None where each is seen once an epoch."""
        if self.labelling.several:
            return None
        return drawing_shares(self.recipe.balance, self.labels("train"))

    def prior_logits(self) -> NDArray[np.float64]:
        """Return the logits (C,) whose probabilities are the classes' shares of the training loss."""
        return prior_logits(self.labels("train"), np.asarray(self.weights(), np.float64), self.drawing_shares())


def encode_labels(rows: pd.DataFrame, classes: tuple[str, ...], labelling: Labelling) -> Labels:
    """Return class numbers (N,); of several classes an image, (N, C) whether it shows each."""
    if labelling.several:
        return labelling.targets(rows["label"].tolist(), classes)
    return np.asarray([classes.index(label) for label in rows["label"]], dtype=np.int64)


def strata(labels: Labels) -> NDArray[np.int64]:
    """Return the class (N,) by which images are chosen evenly: of several, the rarest that an image shows."""
    return strata_of(labels) if labels.ndim == 2 else labels
