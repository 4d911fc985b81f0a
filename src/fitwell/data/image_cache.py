"""Decode once: pictures as they are just before anything random happens to them.

Evaluation needs one exact view of an image. Training cuts every variation from one picture, scaled down to what the
smallest crop needs. Both are prepared the same way with a cache and without: a cache changes the time, never a bit.
"""

from __future__ import annotations

import ctypes
import math
from dataclasses import asdict
from multiprocessing.sharedctypes import RawValue
from pathlib import Path

import numpy as np
import PIL
import torch
from numpy.typing import NDArray

from fitwell.data.decode import DECODE_VERSION, decode_image
from fitwell.data.preview import model_view
from fitwell.data.transforms import Preprocessing, crop_plan, resized
from fitwell.data.variation import MIN_ASPECT, Augmentation
from fitwell.store import Shelf, Store, record_key

WORTH_SCALING = 1.1  # times the sides that are needed; below, scaling a picture down saves little
LEAST_AREA = 0.01  # of a crop that keeps its detail; crops may be as small as nothing


def prepare_picture(
    path: Path, preprocessing: Preprocessing, augmentation: Augmentation | None, *, sha256: str | None = None
) -> NDArray[np.uint8]:
    """Return (H, W, 3): evaluation's view of an image, or with an `augmentation` the picture that training varies.

    Args:
        sha256: of the file, when it must be the one that was seen before.

    Raises:
        DataError: when it cannot be decoded or has another `sha256`.
    """
    if augmentation is None:
        image = decode_image(path, _evaluation_side(preprocessing), sha256=sha256)
        return np.array(model_view(image, crop_plan(preprocessing)))
    side = training_side(preprocessing, augmentation)
    pixels = np.array(decode_image(path, side, sha256=sha256))
    shorter = min(pixels.shape[:2])
    if shorter <= WORTH_SCALING * side:
        return pixels
    height, width = (max(side, round(side * length / shorter)) for length in pixels.shape[:2])
    return resized(pixels, height, width, preprocessing.interpolation)


def training_side(preprocessing: Preprocessing, augmentation: Augmentation) -> int:
    """Return the pixels of the shorter side that let the narrowest crop of a square picture keep its detail."""
    area = max(LEAST_AREA, augmentation.crop_area[0] / max(1.0, augmentation.scale[1]) ** 2)
    return math.ceil(preprocessing.size / math.sqrt(area * MIN_ASPECT))


class ImageCache:
    """Prepared pictures in a store, found again by the SHA-256 of their file and the way they were prepared.

    One object serves a run and the processes that load for it.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._shelves: dict[tuple[Preprocessing, Augmentation | None], Shelf] = {}
        self._is_full = RawValue(ctypes.c_bool, False)  # shared with the workers: one warning, not one of each

    def picture(
        self, path: Path, sha256: str, preprocessing: Preprocessing, augmentation: Augmentation | None
    ) -> NDArray[np.uint8]:
        """Return what `prepare_picture` does, from the store where it can; otherwise put it there.

        When the store is full, the picture is prepared each time.

        Raises:
            DataError: as `prepare_picture`; what the store has is given without a look at the file.
        """
        shelf, key = self._shelf(preprocessing, augmentation), record_key(sha256)
        if (kept := shelf.get(key)) is not None:
            return kept
        pixels = prepare_picture(path, preprocessing, augmentation, sha256=sha256)
        if not self._is_full.value:
            self._is_full.value = not shelf.append([key], [pixels])
        return pixels

    def _shelf(self, preprocessing: Preprocessing, augmentation: Augmentation | None) -> Shelf:
        if (preprocessing, augmentation) not in self._shelves:
            description = {
                "decode": DECODE_VERSION,
                "pillow": PIL.__version__,
                **_describe(preprocessing, augmentation),
            }
            self._shelves[preprocessing, augmentation] = self._store.shelf(description)
        return self._shelves[preprocessing, augmentation]


def _describe(preprocessing: Preprocessing, augmentation: Augmentation | None) -> dict[str, object]:
    """Return everything that `prepare_picture` depends on, and nothing else: what agrees in it shares pictures."""
    if augmentation is None:
        return {"view": asdict(crop_plan(preprocessing))}
    return {
        "torch": torch.__version__,
        "shorter_side": training_side(preprocessing, augmentation),
        "interpolation": preprocessing.interpolation,
    }


def _evaluation_side(preprocessing: Preprocessing) -> int:
    """Return the pixels that `model_view` scales the shorter side to, or for "pad" at most."""
    crop_fraction = preprocessing.crop_fraction if preprocessing.fit == "crop" else 1.0
    return math.floor(preprocessing.size / crop_fraction)
