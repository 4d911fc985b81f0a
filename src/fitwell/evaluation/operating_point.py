"""From which probability on an image counts as positive: chosen on val by a rule, then held against other images.

Of two classes the second is the positive one, as in the ROC curve. A threshold flatters itself on the images that
chose it, so what it promised on val and what it keeps on test are told apart.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fitwell.evaluation.class_counts import divide
from fitwell.evaluation.intervals import (
    NUM_RESAMPLES,
    Floats,
    Interval,
    Units,
    draw,
    entry_of,
    interval_of,
    wilson_interval,
)
from fitwell.recipe.judge import Rule

Flags = NDArray[np.bool_]

PREVALENCES = (0.001, 0.01, 0.05, 0.1, 0.2, 0.5)  # for which a report foretells the precision


SHARES = {  # what is right about the call, and what is wrong; the share is right / (right + wrong)
    "sensitivity": ("true_positive", "false_negative"),
    "specificity": ("true_negative", "false_positive"),
    "precision": ("true_positive", "false_positive"),
    "negative_predictive_value": ("true_negative", "false_negative"),
}


@dataclass(frozen=True)
class Choice:
    """What a rule chose.

    Attributes:
        threshold: an image counts as positive from this score on; None where no threshold obeys the rule.
        reason: why there is none.
    """

    threshold: float | None
    reason: str | None = None


def choose_threshold(scores: Floats, positive: Flags, rule: Rule) -> Choice:
    """Return the score from which on an image should count as positive.

    Only scores that occur are tried, and only those better than chance: a threshold that calls every image, or no
    image, positive needs no classifier. Of those that obey a demand, the best by the other share wins (for
    precision, by sensitivity); otherwise the smallest cost or the largest Youden's index. Of equals, the highest.

    Args:
        scores: (N,) of validation images. positive: (N,).

    Source: Youden 1950, doi:10.1002/1097-0142(1950)3:1<32::AID-CNCR2820030106>3.0.CO;2-3.
    """
    if positive.all() or not positive.any():
        return Choice(None, "the images hold one class only, so no threshold divides anything.")
    thresholds = np.unique(scores)[::-1]
    counts = _count_calls(thresholds, scores, positive)
    shares = _shares(counts)
    youden = shares["sensitivity"] + shares["specificity"] - 1
    useful = youden > 1e-12
    if not useful.any():
        return Choice(None, "no threshold is better than chance.")
    if rule.costs is not None:
        return _cheapest(thresholds, counts, useful, rule.costs)
    if rule.demand is None:
        return Choice(float(thresholds[np.argmax(youden)]))
    obeying = useful & (shares[rule.demand] >= rule.least - 1e-12)
    if not obeying.any():
        best = shares[rule.demand][useful].max()
        return Choice(
            None, f"no threshold better than chance reaches {rule.demand} {rule.least:g}; most is {best:.3f}."
        )
    other = "specificity" if rule.demand == "sensitivity" else "sensitivity"
    return Choice(float(thresholds[np.argmax(np.where(obeying, shares[other], -1.0))]))


def judge_threshold(scores: Floats, positive: Flags, threshold: float, units: Units) -> dict[str, Any]:
    """Return what calling every image positive whose score is at least `threshold` comes to, as plain data.

    Args:
        units: what is independent: images have Wilson intervals, groups are drawn again.

    Returns:
        sensitivity, specificity, precision and negative_predictive_value, each {value, interval, method}, None
        where not defined; true_positive, false_positive, true_negative, false_negative; and
        precision_at_prevalence: records of prevalence and precision, see `precision_at`.
    """
    called = scores >= threshold
    kinds = {
        "true_positive": called & positive,
        "false_positive": called & ~positive,
        "true_negative": ~called & ~positive,
        "false_negative": ~called & positive,
    }
    counts = {name: int(kind.sum()) for name, kind in kinds.items()}
    resampled = _resampled_shares(kinds, units) if units.noun == "groups" else None
    entries = {}
    for name, (right, wrong) in SHARES.items():
        total = counts[right] + counts[wrong]
        value = counts[right] / total if total else None
        interval = (
            Interval(*wilson_interval(counts[right], total), f"Wilson, {counts[right]} of {total} images")
            if resampled is None
            else interval_of(resampled[name], value, units, labels=positive.astype(np.int64))
        )
        entries[name] = entry_of(value, interval)
    sensitivity, specificity = entries["sensitivity"]["value"], entries["specificity"]["value"]
    foretold = [{"prevalence": each, "precision": precision_at(each, sensitivity, specificity)} for each in PREVALENCES]
    return {**entries, **counts, "precision_at_prevalence": foretold}


def precision_at(prevalence: float, sensitivity: float | None, specificity: float | None) -> float | None:
    """Return the share of called images that would be positive, were `prevalence` of all images positive.

    By Bayes' rule; it holds where positives and negatives look as they do here. None where a share is not defined
    or nothing would be called.
    """
    if sensitivity is None or specificity is None:
        return None
    found, false_alarms = prevalence * sensitivity, (1 - prevalence) * (1 - specificity)
    return found / (found + false_alarms) if found + false_alarms else None


def _count_calls(thresholds: Floats, scores: Floats, positive: Flags) -> dict[str, Floats]:
    """Return how many images are called what, (T,) each, at each of `thresholds`."""
    positives, negatives = np.sort(scores[positive]), np.sort(scores[~positive])
    missed, spared = np.searchsorted(positives, thresholds), np.searchsorted(negatives, thresholds)
    return {
        "true_positive": np.float64(len(positives)) - missed,
        "false_positive": np.float64(len(negatives)) - spared,
        "true_negative": spared.astype(np.float64),
        "false_negative": missed.astype(np.float64),
    }


def _shares(counts: Mapping[str, Floats]) -> dict[str, Floats]:
    return {name: divide(counts[right], counts[right] + counts[wrong]) for name, (right, wrong) in SHARES.items()}


def _cheapest(thresholds: Floats, counts: Mapping[str, Floats], useful: Flags, costs: tuple[float, float]) -> Choice:
    cost = costs[0] * counts["false_negative"] + costs[1] * counts["false_positive"]
    best = int(np.argmin(np.where(useful, cost, np.inf)))
    no_image = costs[0] * (counts["true_positive"][0] + counts["false_negative"][0])
    every_image = costs[1] * (counts["true_negative"][0] + counts["false_positive"][0])
    if cost[best] < min(no_image, every_image):
        return Choice(float(thresholds[best]))
    answer = "no image" if no_image <= every_image else "every image"
    return Choice(None, f"calling {answer} positive is as cheap as any threshold.")


def _resampled_shares(kinds: Mapping[str, Flags], units: Units) -> dict[str, Floats]:
    """Return the shares (B,) in resamples of the groups."""
    parts = [
        _shares({name: weights[kind].sum(axis=0) for name, kind in kinds.items()})
        for weights in draw(units, num_resamples=NUM_RESAMPLES, seed=0)
    ]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
