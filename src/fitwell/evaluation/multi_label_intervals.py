"""How sure the metrics of sets of classes are: the bootstrap of intervals.py, every class drawn again by itself.

Images are drawn within strata, or whole groups where there are some, so that the interval of a class and that of the
mean over classes come from the same resamples. Needs numpy only.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fitwell.evaluation.class_counts import divide, mean_of_defined
from fitwell.evaluation.intervals import NUM_RESAMPLES, Codes, Floats, Units, draw
from fitwell.evaluation.metrics import Probs
from fitwell.evaluation.multi_label import Targets

BOOTSTRAPPED = ("auc", "average_precision", "macro_f1", "micro_f1", "exact_match", "hamming_loss")
PER_CLASS = ("precision", "recall", "f1", "auc", "average_precision")


@dataclass(frozen=True)
class LabelSetResamples:
    """What every metric was in each of B resamples; NaN where it was not defined.

    Attributes:
        metrics: (B,) for each name of `BOOTSTRAPPED`.
        per_class: (B, C) for each name of `PER_CLASS`.
    """

    metrics: dict[str, Floats]
    per_class: dict[str, Floats]


def strata_of(targets: Targets) -> Codes:
    """Return (N,) the number of the rarest class that each image shows, of equals the first; C where it shows none.

    What is drawn within these keeps about as many images of every class, and each stratum has many images where sets
    of classes, most of which are rare, would be drawn as they are.
    """
    support = targets.sum(axis=0)
    rarest = np.where(targets, support, len(targets) + 1).argmin(axis=1)
    return np.asarray(np.where(targets.any(axis=1), rarest, targets.shape[1]))


def resample_label_sets(
    probs: Probs,
    targets: Targets,
    named: Targets,
    units: Units,
    *,
    num_resamples: int = NUM_RESAMPLES,
    seed: int = 0,
) -> LabelSetResamples:
    """Return every metric in `num_resamples` resamples with replacement, as multi_label.py defines it.

    Args:
        probs: (N, C). targets: (N, C) whether the image shows the class. named: (N, C) whether it was given it.
        units: what is drawn, as `find_units` finds it by `strata_of`.
    """
    draws = draw(units, num_resamples=num_resamples, seed=seed)
    parts = [_judge(weights, probs, targets, named) for weights in draws]
    return LabelSetResamples(
        metrics={name: np.concatenate([part.metrics[name] for part in parts]) for name in BOOTSTRAPPED},
        per_class={name: np.concatenate([part.per_class[name] for part in parts]) for name in PER_CLASS},
    )


def _judge(weights: Floats, probs: Probs, targets: Targets, named: Targets) -> LabelSetResamples:
    """Return the metrics of resamples in which each image counts `weights` (N, b) times."""
    support, claimed, correct = (weights.T @ cells for cells in (targets, named, named & targets))  # (b, C)
    ranked = [_rank(weights, probs[:, index], targets[:, index]) for index in range(probs.shape[1])]
    areas, precisions = (np.stack(columns, axis=1) for columns in zip(*ranked, strict=True))  # (b, C)
    f1, count = divide(2 * correct, support + claimed), weights.sum(axis=0)
    return LabelSetResamples(
        metrics={
            "auc": areas.mean(axis=1),
            "average_precision": precisions.mean(axis=1),
            "macro_f1": mean_of_defined(f1),
            "micro_f1": divide(2 * correct.sum(axis=1), (support + claimed).sum(axis=1)),
            "exact_match": (named == targets).all(axis=1) @ weights / count,
            "hamming_loss": (named != targets).mean(axis=1) @ weights / count,
        },
        per_class={
            "precision": divide(correct, claimed),
            "recall": divide(correct, support),
            "f1": f1,
            "auc": areas,
            "average_precision": precisions,
        },
    )


def _rank(weights: Floats, scores: NDArray[np.floating], positive: NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """Return AUC and average precision (b,) under each column of `weights`, by one sort of the scores."""
    order = np.argsort(scores, kind="stable")
    ordered, found = scores[order], scores[positive]
    below = np.zeros((2, len(scores) + 1, weights.shape[1]))  # of all images and of positives: weight of those before
    np.cumsum(weights[order], axis=0, out=below[0, 1:])
    np.cumsum(np.where(positive[order, None], weights[order], 0.0), axis=0, out=below[1, 1:])
    first, last = (np.searchsorted(ordered, found, side=side) for side in ("left", "right"))
    drawn, negatives = weights[positive], below[0] - below[1]
    pairs = np.einsum("nb,nb->b", (negatives[first] + negatives[last]) / 2, drawn)  # half of a tie lies below
    reached, hits = (each[-1] - each[first] for each in below)  # (positives, b) weight of scores at least as high
    share = np.divide(hits, reached, out=np.zeros_like(hits), where=reached > 0)
    total = drawn.sum(axis=0)
    return divide(pairs, total * negatives[-1]), divide(np.einsum("nb,nb->b", share, drawn), total)
