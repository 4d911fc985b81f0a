"""How well scores put positives before negatives: average precision, the ROC at high specificity, DeLong's variance.

Scores (N,) against a boolean (N,). Each metric is computed once, for any number of weightings: all images once
gives the metric itself, resamples give what its interval is made of. Needs numpy only.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Scores = NDArray[np.floating[Any]]
Flags = NDArray[np.bool_]

RANKING_METRICS = ("average_precision", "partial_auc", "sensitivity_at_95_specificity")
MOST_FALSE_POSITIVES = 0.1  # share of the negatives, up to which the partial AUC goes
NEEDED_SPECIFICITY = 0.95


def ranking_metrics(scores: Scores, positive: Flags) -> dict[str, float | None]:
    """Return every metric of `RANKING_METRICS`, in [0, 1]; None when there is no positive or no negative.

    average_precision: the mean of the precision over the positives, each taken at its own threshold, as
    scikit-learn has it. partial_auc and sensitivity_at_95_specificity: as the AIROGS challenge has them, the
    area under the ROC curve from 90 to 100 % specificity, standardised after McClish so that 0.5 is chance and
    less is worse than it, and the largest sensitivity among the points of the ROC curve with a specificity of at
    least 95 %, not interpolated; a constant score has 0.

    Source: McClish 1989, doi:10.1177/0272989X8900900307; qurAI-amsterdam/airogs-evaluation, evaluation.py.
    """
    found = resampled_ranking(scores, positive, np.ones((len(scores), 1)))
    return {name: None if np.isnan(values[0]) else float(values[0]) for name, values in found.items()}


def resampled_ranking(scores: Scores, positive: Flags, weights: Floats) -> dict[str, Floats]:
    """Return every metric of `RANKING_METRICS`, (b,), in which each image counts `weights` (N, b) times.

    NaN where a resample has no positive or no negative.
    """
    hits, false_alarms = _count_above(scores, positive, weights)
    with np.errstate(invalid="ignore", divide="ignore"):
        sensitivity, false_rate = hits / hits[-1], false_alarms / false_alarms[-1]
    defined = (hits[-1] > 0) & (false_alarms[-1] > 0)
    found = {
        "average_precision": _average_precision(hits, false_alarms, sensitivity),
        "partial_auc": _partial_auc(sensitivity, false_rate),
        "sensitivity_at_95_specificity": _sensitivity_at(NEEDED_SPECIFICITY, sensitivity, false_rate),
    }
    return {name: np.where(defined, values, np.nan) for name, values in found.items()}


def area_with_influence(scores: Scores, positive: Flags) -> tuple[float, Floats] | None:
    """Return the AUC and how much each image moves it, (N,) that sum to 0; None without both kinds of images.

    A positive's placement is the share of negatives that score below it (a tie counts one half), a negative's the
    share of positives above it; the AUC is the mean of either. The influence is the placement less the AUC,
    divided by the number of images of that kind: squared and summed, with n / (n - 1) for each kind, it is
    DeLong's variance. Binary search gives the same placements as Sun and Xu's mid-ranks, in O(N log N) too.

    Source: DeLong et al. 1988, doi:10.2307/2531595; Sun & Xu 2014, doi:10.1109/LSP.2014.2337313.
    """
    positives, negatives = np.sort(scores[positive]), np.sort(scores[~positive])
    if not len(positives) or not len(negatives):
        return None
    placements = np.empty(len(scores))
    placements[positive] = _share_below(negatives, scores[positive])
    placements[~positive] = 1 - _share_below(positives, scores[~positive])
    area = float(placements[positive].mean())
    return area, (placements - area) / np.where(positive, len(positives), len(negatives))


def _share_below(ordered: Scores, scores: Scores) -> Floats:
    """Return for each score the share of `ordered` that lies below it, a tie as one half."""
    first, last = (np.searchsorted(ordered, scores, side=side) for side in ("left", "right"))
    return (first + last) / (2 * len(ordered))


def _count_above(scores: Scores, positive: Flags, weights: Floats) -> tuple[Floats, Floats]:
    """Return positives and negatives at or above each threshold, each (T + 1, b), from none to all."""
    order = np.argsort(-scores, kind="stable")
    last_of_tie = np.flatnonzero(np.diff(scores[order], append=np.nan) != 0)
    hits, total = (np.zeros((len(last_of_tie) + 1, weights.shape[1])) for _ in range(2))
    running = np.cumsum(weights[order], axis=0)
    total[1:] = running[last_of_tie]
    np.cumsum(np.where(positive[order, None], weights[order], 0.0), axis=0, out=running)
    hits[1:] = running[last_of_tie]
    return hits, total - hits


def _average_precision(hits: Floats, false_alarms: Floats, sensitivity: Floats) -> Floats:
    called = (hits + false_alarms)[1:]
    precision = np.divide(hits[1:], called, out=np.zeros_like(called), where=called > 0)
    average: Floats = (np.diff(sensitivity, axis=0) * precision).sum(axis=0)
    return average


def _partial_auc(sensitivity: Floats, false_rate: Floats) -> Floats:
    """Return the area up to `MOST_FALSE_POSITIVES`, the curve cut off there, standardised after McClish."""
    most = MOST_FALSE_POSITIVES
    steps = np.diff(false_rate, axis=0)
    inside = np.diff(np.minimum(false_rate, most), axis=0)
    part = np.divide(inside, steps, out=np.zeros_like(steps), where=steps > 0)
    heights = sensitivity[:-1] + np.diff(sensitivity, axis=0) * part / 2  # in the middle of what is inside
    area = (inside * heights).sum(axis=0)
    standardised: Floats = (1 + (area - most**2 / 2) / (most - most**2 / 2)) / 2
    return standardised


def _sensitivity_at(specificity: float, sensitivity: Floats, false_rate: Floats) -> Floats:
    enough = 1 - false_rate >= specificity - sys.float_info.epsilon
    best: Floats = np.where(enough, sensitivity, 0.0).max(axis=0)
    return best
