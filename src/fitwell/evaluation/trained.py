"""A trained run, loaded for inference: network, preprocessing and classes; or several runs that answer together."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import TypeAdapter

from fitwell.data.corruption import Corruption, corrupt
from fitwell.data.loader import ImageSource, Indices, load_batches
from fitwell.data.transforms import Preprocessing, normalise
from fitwell.errors import CheckpointError
from fitwell.evaluation.predict import Batches, predict_logits, run_batches
from fitwell.evaluation.symmetries import averaged
from fitwell.model.compute import compute_of
from fitwell.model.engine import Extract, available_engines, build_engine, in_torch
from fitwell.model.network import Network, build_network, create_backbone
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
        extract: pictures to logits (B, C), as the run's engine computes them. embed: pictures to what the head sees
            of them (B, D). network: in PyTorch; nothing in it trains.
        ordered: whether the classes go from less to more. several: whether an image shows any number of them.
        weights_bytes: of the weights on disk.
    """

    extract: Extract
    embed: Extract
    network: Network
    preprocessing: Preprocessing
    classes: tuple[str, ...]
    workers: int
    ordered: bool = False
    several: bool = False
    weights_bytes: int = 0

    def source(self, root: Path, paths: Sequence[str]) -> ImageSource:
        """Return the images `paths`, relative to `root`, as the network gets them."""
        return ImageSource(root=root, paths=tuple(paths), preprocessing=self.preprocessing, augmentation=None, seed=0)

    def logits(self, root: Path, paths: Sequence[str]) -> NDArray[np.float32]:
        """Return logits (N, C) for the images `paths`, relative to `root`.

        Raises:
            DataError: when an image cannot be decoded; it is never passed over.
        """
        return predict_logits(self.extract, self._batches(root, paths), len(paths))

    def embeddings(self, root: Path, paths: Sequence[str]) -> NDArray[np.float32]:
        """Return the pooled features (N, D) of the images `paths`, relative to `root`; of no mirrored copies.

        Raises:
            DataError: as `logits`.
        """
        return run_batches(self.embed, self._batches(root, paths), len(paths)).numpy()

    def _batches(self, root: Path, paths: Sequence[str]) -> Batches:
        source = self.source(root, paths)
        batches = [np.arange(start, min(start + BATCH, len(paths))) for start in range(0, len(paths), BATCH)]
        return load_batches(source, batches, epoch=0, workers=self.workers)

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
        batches = _corrupted_batches(self.source(root, paths), corruptions, follow)
        logits = predict_logits(self.extract, batches, len(paths) * len(corruptions))
        return logits.reshape(len(paths), len(corruptions), -1)

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


@dataclass(frozen=True)
class TrainedEnsemble:
    """Trained models that answer together, by the mean of their probabilities.

    Attributes:
        members: at least two, of the same classes. temperatures: that their logits are divided by, one each.
    """

    members: tuple[TrainedModel, ...]
    temperatures: tuple[float, ...]

    @property
    def classes(self) -> tuple[str, ...]:
        """The class names, in the order of the logits."""
        return self.members[0].classes

    @property
    def ordered(self) -> bool:
        """Whether the classes go from less to more."""
        return self.members[0].ordered

    @property
    def several(self) -> bool:
        """Whether an image shows any number of classes."""
        return self.members[0].several

    @property
    def network(self) -> None:
        """None: it looks through several."""
        return None

    @property
    def preprocessing(self) -> Preprocessing:
        """How the first member gets a picture."""
        return self.members[0].preprocessing

    @property
    def weights_bytes(self) -> int:
        """How much the weights of all members take on disk."""
        return sum(member.weights_bytes for member in self.members)

    def source(self, root: Path, paths: Sequence[str]) -> ImageSource:
        """Return the images `paths`, relative to `root`, as the first member gets them."""
        return self.members[0].source(root, paths)

    def logits(self, root: Path, paths: Sequence[str]) -> NDArray[np.float32]:
        """Return the logits (N, C) of the mean probability; see `TrainedModel.logits`."""
        given = [
            member.logits(root, paths) / temperature
            for member, temperature in zip(self.members, self.temperatures, strict=True)
        ]
        return mean_logits(np.stack(given), several=self.several).astype(np.float32)

    def corrupted_logits(
        self, root: Path, paths: Sequence[str], corruptions: Sequence[Corruption], *, follow: Callable[[int], None]
    ) -> NDArray[np.float32]:
        """Return the logits (N, K, C) of the mean probability; see `TrainedModel.corrupted_logits`."""
        given = [
            member.corrupted_logits(root, paths, corruptions, follow=follow).reshape(-1, len(self.classes))
            / temperature
            for member, temperature in zip(self.members, self.temperatures, strict=True)
        ]
        mean = mean_logits(np.stack(given), several=self.several).astype(np.float32)
        return mean.reshape(len(paths), len(corruptions), -1)

    def embeddings(self, root: Path, paths: Sequence[str]) -> NDArray[np.float32]:
        """Return what the heads of all members see of the images, side by side (N, D)."""
        return np.concatenate([member.embeddings(root, paths) for member in self.members], axis=1)

    def latencies(self, count: int = NUM_TIMED) -> list[float]:
        """Return the milliseconds that `count` single pictures take, each through one member after another."""
        return [sum(times) for times in zip(*(member.latencies(count) for member in self.members), strict=True)]


Trained = TrainedModel | TrainedEnsemble


def mean_logits(logits: NDArray[np.floating[Any]], *, several: bool) -> NDArray[np.float64]:
    """Return logits (N, C) whose probabilities are the mean of those of M models' `logits` (M, N, C).

    Args:
        several: whether each class has a sigmoid of its own; else one softmax goes over all of them.

    Source: Lakshminarayanan et al. 2017, arXiv:1612.01474, section 2.4, where the mean is uniform too.
    """
    from scipy.special import log_expit, log_softmax, logsumexp

    exact = logits.astype(np.float64)
    if several:
        difference: NDArray[np.float64] = logsumexp(log_expit(exact), axis=0) - logsumexp(log_expit(-exact), axis=0)
        return difference
    mean: NDArray[np.float64] = logsumexp(log_softmax(exact, axis=2), axis=0) - np.log(len(exact))
    return mean


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


def load_trained(run: RunFolder) -> Trained:
    """Return the model of a finished `run`, or the models of an ensemble.

    Raises:
        CheckpointError: when the run is not finished, its weights are not those it finished with, or a member of the
            ensemble is gone or was trained again.
    """
    members = run.members()
    if not members:
        return _load_model(run)
    models = [_load_model(_open_member(run, member)) for member in members]
    return TrainedEnsemble(tuple(models), tuple(member["temperature"] or 1.0 for member in members))


def _open_member(ensemble: RunFolder, member: dict[str, Any]) -> RunFolder:
    run = ensemble.member(member["path"])
    found = run.read().get("best_sha256") if run.run_json.is_file() else None
    if found != member["best_sha256"]:
        state = "was trained again" if run.run_json.is_file() else "is gone"
        raise CheckpointError(
            found=f"{run.path}, a member of the ensemble {ensemble.path}, {state}.",
            expected="the members that it was made of, with the weights they had.",
            fix="put the run back, or make a new ensemble: fitwell ensemble RUN RUN",
        )
    return run


def _load_model(run: RunFolder) -> TrainedModel:
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
    network.requires_grad_(False)
    compute = compute_of(recipe)
    compute.move_module(network)
    size = int(recipe.images.size)
    extract = build_engine(_engine(recipe, compute.device), network, compute, (3, size, size))
    extract = averaged(extract, recipe.predict.average_over)
    preprocessing = TypeAdapter(Preprocessing).validate_python(record["preprocessing"])
    ordered, several = bool(recipe.target.order), recipe.target.is_multi_label
    embed = in_torch(network.backbone, compute)
    size_of_weights = run.best_weights.stat().st_size
    workers = int(recipe.execution.workers)
    return TrainedModel(extract, embed, network, preprocessing, classes, workers, ordered, several, size_of_weights)


def _engine(recipe: Recipe, device: str) -> str:
    """Return what runs the network: what ran the frozen layers, unless it takes a minute to build or is not here."""
    asked = recipe.execution.engine
    if asked == "compiled":
        return "eager"
    if asked not in available_engines(device):
        log.warning("%s ran the frozen layers of this run and is not installed here: PyTorch predicts.", asked)
        return "eager"
    return asked
