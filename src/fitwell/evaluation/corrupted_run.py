"""A finished run on images that it was judged on, under common corruptions: robustness.json, and sample pictures."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from fitwell.data.corruption import CORRUPTIONS, corrupt
from fitwell.errors import UsageError
from fitwell.evaluation.evaluate import read_judged
from fitwell.evaluation.metrics import softmax
from fitwell.evaluation.robustness import Corrupted, judge_robustness
from fitwell.evaluation.trained import Trained
from fitwell.files import write_atomically, write_json
from fitwell.run_folder import RunFolder

TILE = 128  # side in pixels of a picture in the report
SECONDS_BETWEEN_LINES = 30


def require_one_class_an_image(run: RunFolder, *, several: bool) -> None:
    """Make sure that the images of `run` show one class each.

    Raises:
        UsageError: when they show `several`.
    """
    if several:
        raise UsageError(
            found=f"--corruptions, and {run.path} was trained on images that show several classes.",
            expected="one class an image: what a corruption costs is told by accuracy and balanced accuracy, which "
            "sets of classes do not have.",
            fix="leave out --corruptions.",
        )


def judge_corrupted(run: RunFolder, name: str, images: pd.DataFrame, model: Trained, root: Path) -> dict[str, Any]:
    """Judge `images` under every corruption, write the result beside evaluation/<name>/metrics.json, and return it.

    Each image is decoded once, and seen by the network once for each corruption and severity.

    Args:
        images: N rows, of which evaluation/<name>/predictions.parquet holds the answers on clean pictures.
        root: that the paths begin at.

    Raises:
        DataError: when an image cannot be decoded.
    """
    paths = list(images["path"])
    clean = read_judged(run.evaluation(name) / "predictions.parquet", model.classes)
    logits = model.corrupted_logits(root, paths, CORRUPTIONS, follow=_telling(len(paths)))
    corrupted = (
        Corrupted(each.name, each.severity, each.level, softmax(logits[:, place]))
        for place, each in enumerate(CORRUPTIONS)
    )
    found = {"split": name, "example": paths[0], **judge_robustness(clean, corrupted, model.classes)}
    _write_pictures(run, name, model.source(root, paths[:1]).prepared(0))
    write_json(run.robustness(name), found)  # last: who finds it finds the pictures
    return found


def _write_pictures(run: RunFolder, name: str, pixels: NDArray[np.uint8]) -> None:
    """Write small pictures of what the network sees of an image: clean, and under each corruption."""
    _write_tile(run.corrupted_picture(name, "clean", 0), pixels)
    for each in CORRUPTIONS:
        _write_tile(run.corrupted_picture(name, each.name, each.severity), corrupt(pixels, each))


def _write_tile(path: Path, pixels: NDArray[np.uint8]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    tile = Image.fromarray(pixels)
    tile.thumbnail((TILE, TILE))
    write_atomically(path, lambda file: tile.save(file, "jpeg"))


def _telling(num_images: int) -> Callable[[int], None]:
    """Return what tells on stderr how many images are done, every half minute and at the end."""
    last = time.monotonic()

    def tell(done: int) -> None:
        nonlocal last
        if done == num_images or time.monotonic() - last > SECONDS_BETWEEN_LINES:
            print(f"corruptions: {done}/{num_images} images, each in {len(CORRUPTIONS)} versions", file=sys.stderr)
            last = time.monotonic()

    return tell
