"""How sure a classifier is when it is right and when it is wrong, over all images and of each class.

Confidence is the highest probability. One that is as sure of its mistakes as of the rest gives no sign of them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fitwell.evaluation.intervals import Floats
from fitwell.evaluation.metrics import Labels, Probs

NUM_BINS = 10  # of equal width, from 0 to 1


def judge_confidence(probs: Probs, labels: Labels, classes: tuple[str, ...]) -> dict[str, Any]:
    """Return how confidence is spread among right and among wrong answers.

    Args:
        probs: (N, C). labels: (N,). classes: C names.

    Returns:
        num_bins; all, with `right` and `wrong`, each {num_images, median, counts}: median is None without images,
        counts has the images in each bin [i / 10, (i + 1) / 10), the last one with its end; per_class, the same for
        the images of each class, with `class`.
    """
    confidence, right = probs.max(axis=1), probs.argmax(axis=1) == labels
    rows = [
        {"class": name, **_by_answer(confidence[labels == index], right[labels == index])}
        for index, name in enumerate(classes)
    ]
    return {"num_bins": NUM_BINS, "all": _by_answer(confidence, right), "per_class": rows}


def _by_answer(confidence: Floats, right: NDArray[np.bool_]) -> dict[str, Any]:
    return {"right": _spread(confidence[right]), "wrong": _spread(confidence[~right])}


def _spread(confidence: Floats) -> dict[str, Any]:
    bins = np.minimum((confidence * NUM_BINS).astype(np.int64), NUM_BINS - 1)
    return {
        "num_images": len(confidence),
        "median": float(np.median(confidence)) if len(confidence) else None,
        "counts": np.bincount(bins, minlength=NUM_BINS).tolist(),
    }
