"""A trained run, loaded for inference: the network, its preprocessing and its classes."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import TypeAdapter

from fitwell.data.corruption import Corruption, corrupt
from fitwell.data.loader import ImageSource, Indices, load_batches
from fitwell.data.transforms import Preprocessing, normalise
from fitwell.errors import CheckpointError
from fitwell.evaluation.predict import predict_logits
from fitwell.evaluation.symmetries import averaged
from fitwell.model.compute import compute_of
from fitwell.model.engine import Extract, available_engines, build_engine
from fitwell.model.network import build_network, create_backbone
from fitwell.model.saved_weights import load_best
from fitwell.recipe.read import recipe_of
from fitwell.recipe.schema import Recipe
from fitwell.run_folder import RunFolder

BATCH = 32
NUM_TIMED = 51  # single pictures: an interval of the median leaves out 18 at either end

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainedModel:
    """What a run learned, ready to predict.

    Attributes:
        ordered: whether the classes go from less to more. several: whether an image shows any number of them.
    """

    extract: Extract
    preprocessing: Preprocessing
    classes: tuple[str, ...]
    workers: int
    ordered: bool = False
    several: bool = False

    def logits(self, root: Path, paths: Sequence[str]) -> NDArray[np.float32]:
        """Return logits (N, C) for the images `paths`, relative to `root`.

        Raises:
            DataError: when an image cannot be decoded; it is never passed over.
        """
        source = self._source(root, paths)
        batches = [np.arange(start, min(start + BATCH, len(paths))) for start in range(0, len(paths), BATCH)]
        return predict_logits(self.extract, load_batches(source, batches, epoch=0, workers=self.workers), len(paths))

    def corrupted_logits(
        self, root: Path, paths: Sequence[str], corruptions: Sequence[Corruption], *, follow: Callable[[int], None]
    ) -> NDArray[np.float32]:
        """Return logits (N, K, C) for the images `paths` under each of K corruptions.

        Each image is decoded once; its K pictures are made here, without workers, and are one batch.

        Args:
            follow: is told how many images are done, after each.

        Raises:
            DataError: when an image cannot be decoded.
        """
        batches = _corrupted_batches(self._source(root, paths), corruptions, follow)
        logits = predict_logits(self.extract, batches, len(paths) * len(corruptions))
        return logits.reshape(len(paths), len(corruptions), -1)

    def prepared(self, root: Path, path: str) -> NDArray[np.uint8]:
        """Return the picture (S, S, 3) that the network is about to see of an image, before normalisation.

        Raises:
            DataError: when it cannot be decoded.
        """
        return self._source(root, [path]).prepared(0)

    def _source(self, root: Path, paths: Sequence[str]) -> ImageSource:
        return ImageSource(root=root, paths=tuple(paths), preprocessing=self.preprocessing, augmentation=None, seed=0)

    def latencies(self, count: int = NUM_TIMED) -> list[float]:
        """Return the milliseconds that each of `count` single pictures takes, one after another, once decoded."""
        picture = torch.zeros(1, 3, self.preprocessing.size, self.preprocessing.size)
        for _ in range(3):  # the first ones set up what the others find
            self.extract(picture)
        times = [time.perf_counter()]
        for _ in range(count):
            self.extract(picture)
            times.append(time.perf_counter())
        return [1000 * (end - start) for start, end in pairwise(times)]


def _corrupted_batches(
    source: ImageSource, corruptions: Sequence[Corruption], follow: Callable[[int], None]
) -> Iterator[tuple[torch.Tensor, Indices]]:
    """Yield of each image its corrupted pictures (K, 3, S, S) and their numbers (K,)."""
    count = len(corruptions)
    for image in range(len(source)):
        pixels = source.prepared(image)
        pictures = [normalise(corrupt(pixels, each), source.preprocessing) for each in corruptions]
        yield torch.stack(pictures), np.arange(image * count, (image + 1) * count)
        follow(image + 1)


def load_trained(run: RunFolder) -> TrainedModel:
    """Return the model of a finished `run`.

    Raises:
        CheckpointError: when the run is not finished, or its weights are not those it finished with.
    """
    record = run.read()
    if record.get("state") != "finished":
        raise CheckpointError(
            found=f"the run {run.path} is {record.get('state', 'unknown')}.",
            expected="a finished run.",
            fix=f"finish it with: fitwell resume {run.path}",
        )
    recipe = recipe_of(run)
    classes = tuple(record["data"]["classes"])
    network = build_network(create_backbone(recipe.model.backbone), len(classes), recipe.model.head)
    network.load_state_dict(load_best(run, record["best_sha256"]))
    compute = compute_of(recipe)
    compute.move_module(network)
    size = int(recipe.images.size)
    extract = build_engine(_engine(recipe, compute.device), network, compute, (3, size, size))
    extract = averaged(extract, recipe.predict.average_over)
    preprocessing = TypeAdapter(Preprocessing).validate_python(record["preprocessing"])
    ordered, several = bool(recipe.target.order), recipe.target.is_multi_label
    return TrainedModel(extract, preprocessing, classes, int(recipe.execution.workers), ordered, several)


def _engine(recipe: Recipe, device: str) -> str:
    """Return what runs the network: what ran the frozen layers, unless it takes a minute to build or is not here."""
    asked = recipe.execution.engine
    if asked == "compiled":
        return "eager"
    if asked not in available_engines(device):
        log.warning("%s ran the frozen layers of this run and is not installed here: PyTorch predicts.", asked)
        return "eager"
    return asked
