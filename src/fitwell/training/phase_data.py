"""What a phase hands the loop: batches and the module they go through.

Either images through the whole network, or activations through the blocks that train. The activations are computed
once per image view, by the blocks that no phase of the run trains. The loop cannot tell the difference.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import psutil
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fitwell.data.loader import ImageSource, epoch_batches, load_batches
from fitwell.evaluation.predict import Batches, run_module
from fitwell.model.compute import Compute
from fitwell.model.network import Network

EXTRACTION_BATCH = 32
MEMORY_SHARE = 0.4  # of the free memory that cached activations may take


@dataclass(frozen=True)
class RunData:
    """The images a run learns from and chooses on. `train` carries the augmentation, `val` none."""

    train: ImageSource
    val: ImageSource
    batch_size: int
    workers: int
    seed: int


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


def image_phase_data(network: Network, data: RunData) -> PhaseData:
    """Give the phase images and the whole network."""

    def train_batches(epoch: int, skip: int) -> Batches:
        batches = epoch_batches(len(data.train), data.batch_size, seed=data.seed, epoch=epoch)
        return load_batches(data.train, batches[skip:], epoch=epoch, workers=data.workers)

    def val_batches() -> Batches:
        return load_batches(data.val, in_order(len(data.val)), epoch=0, workers=data.workers)

    return PhaseData(network, train_batches, val_batches)


@dataclass(frozen=True)
class ActivationCache:
    """What flows out of the first `boundary` blocks, which no phase trains: one array per view of the images.

    Attributes:
        train: for every view (N, ...) float32. val: (M, ...) float32.
    """

    boundary: int
    train: tuple[Tensor, ...]
    val: Tensor


def fill_cache(
    network: Network,
    data: RunData,
    compute: Compute,
    *,
    boundary: int,
    views: int,
    on_batch: Callable[[int, int], None],
) -> ActivationCache:
    """Run every image view through the first `boundary` blocks, once for the whole run.

    Args:
        on_batch: called with (views done, views in all) after each batch; may raise to stop.
    """
    network.eval()
    extract = _Extractor(network.prefix(boundary), data, compute, on_batch, views * len(data.train) + len(data.val))
    return ActivationCache(boundary, tuple(extract(data.train, view) for view in range(views)), extract(data.val, 0))


def cached_phase_data(network: Network, data: RunData, compute: Compute, cache: ActivationCache) -> PhaseData:
    """Give the phase activations at its own boundary, and the blocks and the head that follow."""
    boundary, views = network.boundary(), len(cache.train)
    network.eval()
    between = network.between(cache.boundary, boundary)
    train = [_forward(between, activations, compute) for activations in cache.train]
    val = _forward(between, cache.val, compute)

    def train_batches(epoch: int, skip: int) -> Batches:
        batches = epoch_batches(len(data.train), data.batch_size, seed=data.seed, epoch=epoch)
        return _gather(train[epoch % views], batches[skip:])

    def val_batches() -> Batches:
        return _gather(val, in_order(len(data.val)))

    return PhaseData(network.tail(boundary), train_batches, val_batches)


def affordable_views(network: Network, data: RunData, *, boundary: int, asked: int, free_bytes: int) -> int:
    """Return how many of the `asked` views fit into `MEMORY_SHARE` of `free_bytes`; 0 when not even one does."""
    size, device = data.train.preprocessing.size, next(network.parameters()).device
    network.eval()
    with torch.inference_mode():
        example = network.prefix(boundary)(torch.zeros((1, 3, size, size), device=device))
    bytes_per_image = example[0].numel() * 4  # kept as float32
    budget = int(MEMORY_SHARE * free_bytes) - bytes_per_image * len(data.val)
    return int(max(0, min(asked, budget // (bytes_per_image * len(data.train)))))


def free_memory_bytes() -> int:
    """Return the memory that the system could hand out now, its file cache included."""
    return int(psutil.virtual_memory().available)


def in_order(num_images: int, batch_size: int = EXTRACTION_BATCH) -> list[NDArray[np.int64]]:
    """Return the indices 0 .. num_images - 1 in batches."""
    return [np.arange(start, min(start + batch_size, num_images)) for start in range(0, num_images, batch_size)]


@dataclass
class _Extractor:
    prefix: nn.Module
    data: RunData
    compute: Compute
    on_batch: Callable[[int, int], None]
    total: int
    done: int = 0

    def __call__(self, source: ImageSource, view: int) -> Tensor:
        batches = load_batches(source, in_order(len(source)), epoch=view, workers=self.data.workers)
        return run_module(self.prefix, self._counted(batches), len(source), self.compute)

    def _counted(self, batches: Batches) -> Batches:
        for inputs, indices in batches:
            yield inputs, indices
            self.done += len(indices)
            self.on_batch(self.done, self.total)


def _forward(module: nn.Sequential, activations: Tensor, compute: Compute) -> Tensor:
    if len(module) == 0:
        return activations
    return run_module(module, _gather(activations, in_order(len(activations))), len(activations), compute)


def _gather(activations: Tensor, batches: Sequence[NDArray[np.int64]]) -> Iterator[tuple[Tensor, NDArray[np.int64]]]:
    for indices in batches:
        yield activations[torch.from_numpy(indices)], indices
