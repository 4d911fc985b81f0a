"""Batches of images.

The randomness of an image is a function of (seed, epoch, image): the number of workers, the batch it lies in and
a resume in the middle change nothing. The global random state is neither read nor changed.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset

from fitwell.data.image_cache import ImageCache, prepare_picture
from fitwell.data.transforms import Preprocessing, normalise, training_tensor
from fitwell.data.variation import Augmentation
from fitwell.errors import DataError, ResourceError

Indices = NDArray[np.int64]
Loaded = tuple[torch.Tensor, Indices]


@dataclass(frozen=True)
class ImageSource:
    """Images by number.

    Attributes:
        root: the folder that `paths` are relative to.
        augmentation: None gives the evaluation's exact picture.
        seed: of the variations.
        sha256s: of the files' contents, which name what is kept of each image; empty where nothing is kept.
        cache: keeps prepared pictures for the next epoch and the next run; changes no bit.
    """

    root: Path
    paths: tuple[str, ...]
    preprocessing: Preprocessing
    augmentation: Augmentation | None
    seed: int
    sha256s: tuple[str, ...] = ()
    cache: ImageCache | None = None

    def __len__(self) -> int:
        return len(self.paths)

    def load(self, image: int, epoch: int, *, out: torch.Tensor | None = None) -> torch.Tensor:
        """Return one image as (3, size, size) float32; in `out`, if that is given.

        Raises:
            DataError: when it cannot be decoded, or is read for the cache and is not what `sha256s` says.
        """
        pixels = self.prepared(image)
        if self.augmentation is None:
            return normalise(pixels, self.preprocessing, out=out)
        return training_tensor(
            pixels, self.preprocessing, self.augmentation, self.variation_seed(image, epoch), out=out
        )

    def prepared(self, image: int) -> NDArray[np.uint8]:
        """Return one image as (H, W, 3), just before it is varied and normalised.

        Raises:
            DataError: as `load`.
        """
        path = self.root / self.paths[image]
        if self.cache is None:
            return prepare_picture(path, self.preprocessing, self.augmentation)
        return self.cache.picture(path, self.sha256s[image], self.preprocessing, self.augmentation)

    def variation_seed(self, image: int, epoch: int) -> int:
        """Return what decides how an image is varied: its content, where known, so that every split sees the same."""
        named = int(self.sha256s[image][:15], 16) if self.sha256s else image
        return image_seed(self.seed, epoch, named)


def image_seed(seed: int, epoch: int, image: int) -> int:
    """Return a number in [0, 2**63) that is the same on every machine and unrelated for every other input."""
    digest = hashlib.blake2b(struct.pack("<qqq", seed, epoch, image), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def epoch_batches(
    num_images: int, batch_size: int, *, seed: int, epoch: int, shares: NDArray[np.float64] | None = None
) -> list[Indices]:
    """Return every image once, shuffled, in batches of `batch_size`; the last one may be smaller.

    A lone last image joins the batch before it, because BatchNorm cannot train on one image.

    Args:
        shares: (N,) in sum 1; then so many images are drawn, each by its share, again and again.
    """
    rng = np.random.default_rng(image_seed(seed, epoch, -1))
    drawn = rng.permutation(num_images) if shares is None else rng.choice(num_images, num_images, p=shares)
    order = drawn.astype(np.int64)
    starts = list(range(0, num_images, batch_size))
    if len(starts) > 1 and batch_size > 1 and num_images - starts[-1] == 1:
        starts.pop()
    return np.split(order, starts[1:]) if starts else []


def load_batches(
    source: ImageSource, batches: Sequence[Indices], *, epoch: int, workers: int
) -> Iterator[tuple[torch.Tensor, Indices]]:
    """Yield (images (B, 3, S, S) float32, indices (B,)) for each of `batches`, in their order.

    Args:
        workers: processes that load ahead; 0 loads in this one. The bits do not depend on it.

    Raises:
        DataError: when an image cannot be decoded.
        ResourceError: when a worker died.
    """
    loading = _Batches(source, batches, epoch)
    if workers == 0:
        for batch in range(len(batches)):
            yield _unwrap(loading[batch])
        return
    loader: DataLoader[DataError | Loaded] = DataLoader(
        loading,
        batch_size=None,  # each item is a whole batch
        num_workers=workers,
        collate_fn=_as_it_is,
        generator=torch.Generator(),  # or every epoch would draw a number from the global state
    )
    try:
        for item in loader:
            yield _unwrap(item)
    except RuntimeError as error:
        if "DataLoader worker (pid" not in str(error):  # not "Caught ... in DataLoader worker process"
            raise
        raise ResourceError(
            found=f"a process that loads images ended: {error}",
            expected="enough memory, also shared memory (/dev/shm), for every worker.",
            fix="use fewer workers; --execution.workers 0 needs none.",
        ) from error


class _Batches(Dataset["DataError | Loaded"]):
    def __init__(self, source: ImageSource, batches: Sequence[Indices], epoch: int) -> None:
        self.source, self.batches, self.epoch = source, batches, epoch

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, batch: int) -> DataError | Loaded:
        indices, size = self.batches[batch], self.source.preprocessing.size
        images = torch.empty(len(indices), 3, size, size)
        try:
            for image, row in zip(indices.tolist(), images, strict=True):
                self.source.load(image, self.epoch, out=row)
        except DataError as error:
            return error  # raised here, torch would rebuild it from its message alone
        return images, indices


def _as_it_is(item: object) -> object:
    return item


def _unwrap(item: DataError | Loaded) -> Loaded:
    if isinstance(item, DataError):
        raise item
    return item
