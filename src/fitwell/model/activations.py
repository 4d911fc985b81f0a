"""What frozen blocks make of images, computed once by whichever run comes first, and kept in the store.

Kept as float16. Every run reads what was kept, also the one that computed it, so that a number never depends on who
came first.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib import metadata

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from fitwell.data.loader import ImageSource, load_batches
from fitwell.data.transforms import VARIATION_VERSION, Preprocessing
from fitwell.errors import ResourceError
from fitwell.files import to_json
from fitwell.model.engine import Extract
from fitwell.store import Shelf, Store, record_key

EXTRACTION_BATCH = 32
VERSIONED = ("fitwell", "torch", "timm", "pillow")


@dataclass(frozen=True)
class Activations:
    """One activation per image, (N, D) or (N, C, h, w), by the number of the image."""

    shelf: Shelf
    rows: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, images: NDArray[np.int64]) -> Tensor:
        """Return (B, ...) float16; maps are stored, and so returned, with the channels last in memory."""
        values = torch.from_numpy(self.shelf.read(self.rows[images]))
        return values.movedim(-1, 1) if values.ndim == 4 else values


def activation_shelf(store: Store, prefix: nn.Module, preprocessing: Preprocessing, engine: str) -> Shelf:
    """Return where the activations of the frozen blocks `prefix` are kept: another one for any other weights.

    Args:
        engine: what computes them; engines agree closely, but not to the last bit.
    """
    weights = hashlib.sha256(repr(prefix).encode())
    for name, tensor in prefix.state_dict().items():
        weights.update(name.encode() + tensor.detach().cpu().contiguous().numpy().tobytes())
    return store.shelf(
        {
            "kind": "activations",
            "weights": weights.hexdigest(),
            "preprocessing": asdict(preprocessing),
            "engine": engine,
            "versions": {package: metadata.version(package) for package in VERSIONED},
        }
    )


def keep_activations(
    source: ImageSource,
    epoch: int,
    *,
    shelf: Shelf,
    extract: Extract,
    workers: int,
    on_batch: Callable[[int, int], None] = lambda done, total: None,
) -> Activations:
    """Return the activations of every image of `source` as it looks in `epoch`, computing those not kept yet.

    Args:
        extract: images (B, 3, S, S) float32 to activations (B, D) or (B, C, h, w) on the CPU.
        on_batch: called with (images done, images to do) after each batch; may raise to stop.

    Raises:
        DataError: when an image cannot be decoded.
        ResourceError: when the store takes no more, or an activation is beyond float16.
    """
    keys = [_key(source, image, epoch) for image in range(len(source))]
    missing = np.flatnonzero(shelf.rows(keys) < 0)
    done = 0
    for images, indices in load_batches(
        source, [missing[places] for places in in_order(len(missing))], epoch=epoch, workers=workers
    ):
        # Full batches: how many images go together can decide the last bit, which of them cannot.
        full = F.pad(images, (0, 0, 0, 0, 0, 0, 0, EXTRACTION_BATCH - len(images)))
        values = _to_half(extract(full)[: len(images)])
        if not shelf.append([keys[image] for image in indices], values):
            raise _no_room(values.nbytes // len(values))
        done += len(indices)
        on_batch(done, len(missing))
    rows = shelf.rows(keys)
    if (rows < 0).any():
        raise _no_room(0)
    return Activations(shelf, rows)


def in_order(num_images: int, batch_size: int = EXTRACTION_BATCH) -> list[NDArray[np.int64]]:
    """Return the indices 0 .. num_images - 1 in batches."""
    return [np.arange(start, min(start + batch_size, num_images)) for start in range(0, num_images, batch_size)]


def _key(source: ImageSource, image: int, epoch: int) -> bytes:
    if source.augmentation is None:
        return record_key(source.sha256s[image])
    variation = to_json(asdict(source.augmentation))
    return record_key(source.sha256s[image], VARIATION_VERSION, variation, source.variation_seed(image, epoch))


def _to_half(values: Tensor) -> NDArray[np.float16]:
    """Return (B, ...) float16, the channels of maps last."""
    half = values.movedim(1, -1).half() if values.ndim == 4 else values.half()
    if not bool(torch.isfinite(half).all()):
        raise ResourceError(
            found=f"an activation of {float(values.abs().max()):.4g}, which float16 cannot hold.",
            expected="activations below 65,504.",
            fix="train without keeping activations: --execution.cache none.",
        )
    return half.numpy()


def _no_room(num_bytes: int) -> ResourceError:
    return ResourceError(
        found=f"the cache has no room for further activations of {num_bytes:,} bytes each.",
        expected="room under its cap and on its disk until the run ends.",
        fix="free some disk space or raise limits.cache, then resume; or train with --execution.cache none.",
    )
