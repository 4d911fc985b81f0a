"""What a phase hands the loop: batches and the module they go through.

Either images through the whole network, or kept activations through the blocks that train. The activations are
those of the blocks that no phase of the run trains. The loop cannot tell the difference.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from fitwell.data.loader import ImageSource, epoch_batches, load_batches
from fitwell.data.resident import ResidentImages
from fitwell.evaluation.predict import Batches, run_batches
from fitwell.model.activations import Activations, in_order, keep_activations
from fitwell.model.compute import Compute
from fitwell.model.engine import Extract, build_engine, in_torch
from fitwell.model.network import Network
from fitwell.store import Shelf


@dataclass(frozen=True)
class RunData:
    """The images a run learns from and chooses on, and in which batches.

    Args:
        train: carries the augmentation. val: carries none.
        shares: (N,) how likely each training image is drawn; None where an epoch sees each once.
        most_steps: of an epoch; None where it sees all that are drawn.
    """

    train: ImageSource
    val: ImageSource
    batch_size: int
    workers: int
    seed: int
    shares: NDArray[np.float64] | None = None
    most_steps: int | None = None

    def train_order(self, epoch: int) -> list[NDArray[np.int64]]:
        """Return the batches of one epoch, as numbers of training images."""
        batches = epoch_batches(len(self.train), self.batch_size, seed=self.seed, epoch=epoch, shares=self.shares)
        return batches[: self.most_steps]

    def each_once(self) -> RunData:
        """Return the same images, each of which is seen in every epoch."""
        return replace(self, shares=None, most_steps=None)

    def with_train_size(self, size: int) -> RunData:
        """Return the same images, those of train made `size` pixels large."""
        preprocessing = replace(self.train.preprocessing, size=size)
        return replace(self, train=replace(self.train, preprocessing=preprocessing))


@dataclass(frozen=True)
class PhaseData:
    """Batches and a module for one phase.

    Args:
        module: what turns a batch's inputs into logits.
        train_batches: (epoch, number of batches to skip) to pairs of inputs (B, ...) and image indices (B,).
        val_batches: the same for val, in order.
    """

    module: nn.Module
    train_batches: Callable[[int, int], Batches]
    val_batches: Callable[[], Batches]


@dataclass(frozen=True)
class Frozen:
    """The first `boundary` blocks, which no phase of the run trains, and where their activations are kept.

    Attributes:
        views: pictures of each training image that the epochs take turns with; the first is the one that
            evaluation sees, the others are augmented. Each is computed when an epoch first needs it.
        engine: runs these blocks as `extract`, and what else is frozen above them.
        on_batch: called with (images done, images to do) of a view; may raise to stop.
    """

    boundary: int
    views: int
    engine: str
    extract: Extract
    shelf: Shelf
    on_batch: Callable[[int, int], None]

    def train(self, data: RunData, view: int) -> Activations:
        """Return one view of the training images."""
        source = replace(data.train, augmentation=None) if view == 0 else data.train
        return self.keep(source, view, data.workers)

    def val(self, data: RunData) -> Activations:
        """Return the val images."""
        return self.keep(data.val, 0, data.workers)

    def keep(self, source: ImageSource, view: int, workers: int) -> Activations:
        """Return the images of `source` as they look in epoch number `view`."""
        return keep_activations(
            source, view, shelf=self.shelf, extract=self.extract, workers=workers, on_batch=self.on_batch
        )

    def run_above(self, blocks: nn.Sequential, kept: Activations, compute: Compute) -> Tensor:
        """Return what the frozen `blocks` above the boundary make of `kept`, (N, ...) float32 on the CPU."""
        engine = "eager" if self.engine == "compiled" else self.engine  # compiling takes longer than it saves here
        extract = build_engine(engine, blocks, compute, kept[np.arange(1)].shape[1:])
        return run_batches(extract, _gather(kept, in_order(len(kept))), len(kept))


def image_phase_data(network: Network, data: RunData, resident: ResidentImages | None = None) -> PhaseData:
    """Give the phase images and the whole network.

    Args:
        resident: the training images, where they are all on the device.
    """

    def train_batches(epoch: int, skip: int) -> Batches:
        batches = data.train_order(epoch)[skip:]
        if resident is not None:
            return resident.batches(batches, epoch=epoch)
        return load_batches(data.train, batches, epoch=epoch, workers=data.workers)

    def val_batches() -> Batches:
        return load_batches(data.val, in_order(len(data.val)), epoch=0, workers=data.workers)

    return PhaseData(network, train_batches, val_batches)


def cached_phase_data(
    network: Network, data: RunData, compute: Compute, frozen: Frozen, *, holds_features: bool = True
) -> PhaseData:
    """Give the phase activations at its own boundary, and the blocks and the head that follow.

    Args:
        holds_features: whether the frozen blocks above the kept activations run once, and memory holds what they give;
            else they run in every epoch.
    """
    boundary = network.boundary() if holds_features else frozen.boundary
    between = network.between(frozen.boundary, boundary)

    @cache
    def train(view: int) -> Activations | Tensor:
        kept = frozen.train(data, view)
        return frozen.run_above(between, kept, compute) if len(between) else kept

    @cache
    def val() -> Activations | Tensor:
        kept = frozen.val(data)
        return frozen.run_above(between, kept, compute) if len(between) else kept

    return _kept_phase_data(network.tail(boundary), data, lambda epoch: train(epoch % frozen.views), val)


def feature_phase_data(network: Network, data: RunData, compute: Compute) -> PhaseData:
    """Give a head phase the features of every image as evaluation sees it, computed now and held in memory."""

    @cache
    def features(source: ImageSource) -> Tensor:
        return pooled_features(network, source, compute, None, data.workers)

    train = replace(data.train, augmentation=None)
    return _kept_phase_data(
        network.tail(network.boundary()), data, lambda epoch: features(train), lambda: features(data.val)
    )


def pooled_features(
    network: Network, source: ImageSource, compute: Compute, frozen: Frozen | None, workers: int
) -> Tensor:
    """Return the features (N, D) float32 that the head sees, through kept activations where blocks are `frozen`."""
    if frozen is None:
        batches = load_batches(source, in_order(len(source)), epoch=0, workers=workers)
        return run_batches(in_torch(network.backbone.eval(), compute), batches, len(source))
    kept = frozen.keep(source, 0, workers)
    above = network.between(frozen.boundary, len(network.backbone))
    return frozen.run_above(above, kept, compute) if len(above) else kept[np.arange(len(kept))].float()


def _kept_phase_data(
    module: nn.Module,
    data: RunData,
    train: Callable[[int], Activations | Tensor],
    val: Callable[[], Activations | Tensor],
) -> PhaseData:
    def train_batches(epoch: int, skip: int) -> Batches:
        return _gather(train(epoch), data.train_order(epoch)[skip:])

    def val_batches() -> Batches:
        return _gather(val(), in_order(len(data.val)))

    return PhaseData(module, train_batches, val_batches)


def _gather(
    activations: Activations | Tensor, batches: Sequence[NDArray[np.int64]]
) -> Iterator[tuple[Tensor, NDArray[np.int64]]]:
    for indices in batches:
        yield activations[indices], indices
