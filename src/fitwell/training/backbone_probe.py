"""What one backbone is worth on these images: frozen features, and on them the best of ridge and logistic regression.

Only train and val images are looked at. Nothing is written but the features, which the store keeps.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from fitwell.data.loader import ImageSource
from fitwell.evaluation.intervals import Units, find_units, resample
from fitwell.evaluation.metrics import softmax
from fitwell.evaluation.multi_label import sigmoid
from fitwell.evaluation.multi_label_intervals import resample_label_sets
from fitwell.model.activations import Activations
from fitwell.model.compute import compute_of
from fitwell.model.network import build_network, count_parameters
from fitwell.model.weights import load_backbone
from fitwell.recipe.schema import Head, Recipe
from fitwell.store import Store
from fitwell.training.cache_plan import CachePlan, freeze
from fitwell.training.figures import race
from fitwell.training.halving import Judged, rung_sizes, stratified_order
from fitwell.training.head_search import solve_heads
from fitwell.training.head_stack import HeadData
from fitwell.training.phase_data import RunData
from fitwell.training.pictures import preprocessing_of
from fitwell.training.plan import EXTRACTION_IMAGES, Extraction, plan_execution
from fitwell.training.prepare import PreparedRun, resolve_for
from fitwell.training.run_images import Labels, encode_labels, strata
from fitwell.training.trial_pictures import trial_pictures

RACE_ROUNDS = 3


@dataclass(frozen=True)
class Part:
    """The images of one split, in an order of which every start is a stratified sample.

    Attributes:
        images: rows of the split. labels: (N,) int64, or (N, C) bool of several classes an image.
    """

    images: pd.DataFrame
    labels: Labels

    def first(self, count: int) -> Part:
        """Return the first `count` images; all where there are fewer."""
        return Part(self.images.iloc[:count], self.labels[:count])


@dataclass(frozen=True)
class Question:
    """The images and the recipe that all backbones are judged by.

    Attributes:
        recipe: as asked for, before any `auto` became a backbone's own size.
        balanced: whether every class weighs the same. metric: of the val images.
    """

    root: Path
    train: Part
    val: Part
    num_classes: int
    recipe: Recipe
    balanced: bool
    metric: str

    def rungs(self) -> list[int]:
        """Return the training images of each rung."""
        return rung_sizes(len(self.train.labels), self.num_classes)


def ask(prepared: PreparedRun, asked: Recipe) -> Question:
    """Return what is asked of every backbone."""
    parts = {}
    for split in ("train", "val"):
        images = prepared.images[prepared.images["split"] == split]
        labels = encode_labels(images, prepared.classes, prepared.dataset.labelling)
        order = stratified_order(strata(labels), asked.seed)
        parts[split] = Part(images.iloc[order], labels[order])
    return Question(
        root=prepared.dataset.root,
        train=parts["train"],
        val=parts["val"],
        num_classes=len(prepared.classes),
        recipe=asked,
        balanced=prepared.recipe.balance.class_weights == "balanced",
        metric=prepared.recipe.select.metric,
    )


class BackboneProbe:
    """A backbone that takes part in a shortlist.

    Args:
        name: of timm. weights: as `load_backbone` takes them.

    Raises:
        UsageError: when the weights do not fit.
    """

    def __init__(self, name: str, weights: str, question: Question, store: Store) -> None:
        self.name = name
        self._question = question
        model = question.recipe.model.model_copy(update={"backbone": name, "weights": weights})
        # Racing layout and precision takes seconds for each backbone, and the engines below choose their own.
        execution = question.recipe.execution.model_copy(
            update={"memory_format": "channels_last", "precision": "float32"}
        )
        recipe = question.recipe.model_copy(update={"model": model, "execution": execution})
        recipe = resolve_for(question.train.images, recipe)
        network = build_network(load_backbone(name, weights), question.num_classes, Head(dropout=0.0))
        boundary = len(network.backbone)
        first = question.rungs()[0]
        extraction = Extraction(boundary, views=1, num_images=2 * first)
        pictures = trial_pictures(question.root, question.train.images, recipe)
        plans = store.root / "plans.json"
        recipe, _ = plan_execution(network, recipe, pictures, extraction=extraction, plans=plans)
        compute_of(recipe).move_module(network)
        self.size = int(recipe.images.size)
        self.num_parameters = count_parameters(network.backbone)[0]
        self._recipe = recipe
        self._frozen = freeze(network, recipe, CachePlan(boundary, 1, 1, 0), store, on_batch=lambda done, total: None)
        self.images_per_second = _speed(self._frozen.extract, recipe.execution.engine, self.size)

    def judge(self, num_train: int) -> Judged:
        """Probe on the first `num_train` training images, judged by as many val images where there are."""
        question = self._question
        train, val = question.train.first(num_train), question.val.first(num_train)
        data = self._data(train, val)
        heads = HeadData(
            train_views=[_all(self._frozen.train(data, 0))],
            train_labels=torch.from_numpy(train.labels),
            image_weights=_image_weights(train.images),
            val_features=_all(self._frozen.val(data)),
            val_labels=torch.from_numpy(val.labels),
            num_classes=question.num_classes,
        )
        found = solve_heads(heads, balanced=question.balanced, metric=question.metric)
        logits = found.heads.logits(heads.val_features)[0].T.numpy()  # of the best head
        groups = val.images["group"].to_numpy() if "group" in val.images else None
        units = find_units(strata(val.labels), groups)
        return Judged(
            num_train=len(train.labels),
            labels=strata(val.labels),
            units=units,
            value=found.table[0]["val_value"],
            resampled=_resampled(question.metric, logits, val.labels, units),
        )

    def _data(self, train: Part, val: Part) -> RunData:
        workers = int(self._recipe.execution.workers)
        return RunData(self._source(train), self._source(val), batch_size=1, workers=workers, seed=self._recipe.seed)

    def _source(self, part: Part) -> ImageSource:
        return ImageSource(
            root=self._question.root,
            paths=tuple(part.images["path"]),
            preprocessing=preprocessing_of(self._recipe),
            augmentation=None,
            seed=self._recipe.seed,
            sha256s=tuple(part.images["sha256"]),
        )


def _resampled(metric: str, logits: NDArray[np.float32], labels: Labels, units: Units) -> NDArray[np.float64]:
    """Return the val metric in each resample, (B,)."""
    if labels.ndim == 2:
        drawn = resample_label_sets(sigmoid(logits), labels, logits > 0, units)
        return drawn.metrics[metric]
    return resample(softmax(logits), labels, units, names=(metric,)).metrics[metric]


def _all(activations: Activations) -> Tensor:
    return activations[np.arange(len(activations))].float()


def _image_weights(images: pd.DataFrame) -> Tensor:
    """Return the weights (N,) that the table gives the images."""
    weights = images["weight"].to_numpy(dtype=np.float32) if "weight" in images else np.ones(len(images), np.float32)
    return torch.from_numpy(weights)


def _speed(extract: Callable[[Tensor], Tensor], engine: str, size: int) -> float:
    images = torch.zeros(EXTRACTION_IMAGES, 3, size, size)
    (figure,) = race([engine], lambda name: partial(extract, images), rounds=RACE_ROUNDS)
    return figure.images_per_second
