"""How good are predicted sets of classes: pure functions of (N, C) probabilities and (N, C) targets.

Each class is judged by itself, then their mean is taken. Everything here agrees with scikit-learn where scikit-learn
is defined, and is None where a metric is not defined; it is never NaN. Needs numpy only.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fitwell.evaluation.metrics import Probs, area, mean, ratio

Targets = NDArray[np.bool_]
Thresholds = NDArray[np.float64]

RANKING_METRICS = ("auc", "average_precision", "log_loss")  # need no threshold
NAMING_METRICS = ("macro_f1", "micro_f1", "exact_match", "hamming_loss")  # of the classes named at the thresholds
NO_POSITIVES = 0.5  # threshold of a class of which nothing was seen


def sigmoid(logits: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Return probabilities (N, C), each by itself in [0, 1], from logits (N, C)."""
    probs: NDArray[np.float64] = np.exp(-np.logaddexp(0, -np.asarray(logits, dtype=np.float64)))
    return probs


def ranking_metrics(probs: Probs, targets: Targets) -> dict[str, float | None]:
    """Return every metric of `RANKING_METRICS`; all are None when a probability is not finite.

    Args:
        probs: (N, C) in [0, 1]. targets: (N, C) whether the image shows the class.
    """
    if not np.isfinite(probs).all():
        return dict.fromkeys(RANKING_METRICS)
    return {
        "auc": _mean_of_all([area(*column) for column in _columns(probs, targets)]),
        "average_precision": _mean_of_all(average_precisions(probs, targets)),
        "log_loss": log_loss(probs, targets),
    }


def naming_metrics(named: Targets, targets: Targets) -> dict[str, float | None]:
    """Return every metric of `NAMING_METRICS`.

    Args:
        named: (N, C) whether the image was given the class. targets: (N, C) whether it shows it.

    Returns:
        Numbers in [0, 1], higher is better, but hamming_loss. macro_f1: mean F1 of the classes that have images or
        were named. micro_f1: F1 of all cells together. exact_match: share of images with no cell wrong. hamming_loss:
        share of cells that are wrong. None without images; the F1s also where nothing is shown and nothing named.
    """
    correct, total = (named & targets).sum(axis=0), named.sum(axis=0) + targets.sum(axis=0)  # (C,)
    defined = [f1 for hits, whole in zip(correct, total, strict=True) if (f1 := ratio(2 * hits, whole)) is not None]
    return {
        "macro_f1": mean(defined),
        "micro_f1": ratio(2 * correct.sum(), total.sum()),
        "exact_match": float((named == targets).all(axis=1).mean()) if len(targets) else None,
        "hamming_loss": float((named != targets).mean()) if len(targets) else None,
    }


def average_precisions(probs: Probs, targets: Targets) -> list[float | None]:
    """Return for each of C classes its average precision, in [0, 1]; None for a class that no image shows.

    The mean over its images of the precision at the probability of each. Chance gives the share of its images.

    Source: Manning, Raghavan & Schuetze 2008, "Introduction to Information Retrieval", eq. 8.8, with ties counted
    together as scikit-learn does.
    """
    return [_average_precision(*column) for column in _columns(probs, targets)]


def log_loss(probs: Probs, targets: Targets) -> float | None:
    """Return the mean over images and classes of -ln P(what is so), in [0, 36.05]; None without images.

    Probabilities are clipped to [eps, 1 - eps] of float64, as scikit-learn does, so one sure mistake is finite.
    """
    if not len(targets):
        return None
    eps = np.finfo(np.float64).eps
    chosen = np.where(targets, probs, 1 - np.asarray(probs, dtype=np.float64))
    return float(-np.log(np.clip(chosen, eps, 1 - eps)).mean())


def per_class(probs: Probs, targets: Targets, thresholds: Thresholds, classes: tuple[str, ...]) -> list[dict[str, Any]]:
    """Return for each class its name, threshold, counts, precision, recall, F1, AUC and average precision.

    Returns:
        Records of class, threshold, support (images that show it), predicted (images given it), correct, and scores in
        [0, 1] that are None where not defined: precision of a class never given, the others of one without images.
    """
    named = probs >= thresholds
    correct, support, predicted = (named & targets).sum(axis=0), targets.sum(axis=0), named.sum(axis=0)
    precisions = average_precisions(probs, targets)
    areas = [area(*column) for column in _columns(probs, targets)]
    return [
        {
            "class": name,
            "threshold": float(thresholds[index]),
            "support": int(support[index]),
            "predicted": int(predicted[index]),
            "correct": int(correct[index]),
            "precision": ratio(correct[index], predicted[index]),
            "recall": ratio(correct[index], support[index]),
            "f1": ratio(2 * correct[index], support[index] + predicted[index]),
            "auc": areas[index],
            "average_precision": precisions[index],
        }
        for index, name in enumerate(classes)
    ]


def choose_thresholds(probs: Probs, targets: Targets) -> Thresholds:
    """Return for each of C classes the threshold with the largest F1: an image is given a class from there on.

    Of equals the highest; `NO_POSITIVES` for a class that no image shows. Choose on val, never on test.

    Args:
        probs: (N, C). targets: (N, C), of the images to choose on.
    """
    return np.array([_best_threshold(*column) for column in _columns(probs, targets)])


def _best_threshold(scores: NDArray[np.floating[Any]], positive: NDArray[np.bool_]) -> float:
    if not positive.any():
        return NO_POSITIVES
    thresholds = np.unique(scores)
    hits, named = _at_least(thresholds, scores[positive]), _at_least(thresholds, scores)
    f1 = 2 * hits / (positive.sum() + named)
    return float(thresholds[np.flatnonzero(f1 == f1.max())[-1]])


def _average_precision(scores: NDArray[np.floating[Any]], positive: NDArray[np.bool_]) -> float | None:
    if not positive.any():
        return None
    found = scores[positive]
    return float((_at_least(found, found) / _at_least(found, scores)).mean())


def _at_least(limits: NDArray[np.floating[Any]], scores: NDArray[np.floating[Any]]) -> NDArray[np.int64]:
    """Return how many of `scores` reach each of `limits`."""
    return len(scores) - np.searchsorted(np.sort(scores), limits, side="left")


def _columns(probs: Probs, targets: Targets) -> list[tuple[NDArray[np.floating[Any]], NDArray[np.bool_]]]:
    return [(probs[:, index], targets[:, index]) for index in range(probs.shape[1])]


def _mean_of_all(values: list[float | None]) -> float | None:
    """Return the mean; None when one is not defined, because a mean of the others would be of another question."""
    defined = [value for value in values if value is not None]
    return mean(defined) if len(defined) == len(values) else None
