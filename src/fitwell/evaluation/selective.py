"""What abstaining is worth: the error among the images that a classifier is surest of.

Confidence is the highest probability. Images of equal confidence are kept or left together: within them, errors
count evenly, so the order of rows does not matter.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fitwell.evaluation.intervals import (
    NUM_RESAMPLES,
    Floats,
    draw,
    entry_of,
    find_units,
    interval_of,
    interval_of_share,
)
from fitwell.evaluation.metrics import Labels, Probs

COVERAGE = 0.9  # at which the error is told
WANTED_RISKS = (0.01, 0.05, 0.1)  # for which a threshold is sought on val
DELTA = 0.05  # chance that the risk of a threshold is above its bound
AREAS = ("aurc", "augrc", "error_at_90")


@dataclass(frozen=True)
class Answers:
    """What is needed of N answers to abstain from some.

    Attributes:
        confidence: (N,) highest probability. wrong: (N,) whether the most probable class is wrong. labels: (N,).
        groups: (N,) names, or None when images are independent.
    """

    confidence: Floats
    wrong: NDArray[np.bool_]
    labels: Labels
    groups: NDArray[Any] | None


def answers(probs: Probs, labels: Labels, groups: NDArray[Any] | None) -> Answers:
    """Return the answers that (N, C) `probs` give to images with (N,) `labels`."""
    probs = np.asarray(probs, dtype=np.float64)
    return Answers(probs.max(axis=1), probs.argmax(axis=1) != labels, labels, groups)


def risk_coverage_curve(given: Answers) -> Floats:
    """Return (T, 2) coverage and risk, both in [0, 1], when the images from each confidence up are kept.

    coverage is the share that is kept, risk the share of errors among them; from the surest to all.
    """
    order = np.argsort(-given.confidence, kind="stable")
    last_of_tie = np.append(np.diff(given.confidence[order]) != 0, True)
    kept = np.flatnonzero(last_of_tie) + 1
    return np.column_stack([kept / len(order), np.cumsum(given.wrong[order])[last_of_tie] / kept])


def areas(given: Answers, weights: Floats) -> dict[str, Floats]:
    """Return of resamples, in which each image counts `weights` (N, b) times, each of `AREAS` as (b,).

    Returns:
        aurc: mean over k of the risk of the k surest images, lower is better.
        augrc: mean over k of (errors among the k surest) / N, in [0, 0.5], lower is better: the chance that an image
            is both wrong and kept, when as many are kept as chance will have it.
        error_at_90: the risk of the surest 90 %.

    Source: Geifman et al. 2019, arXiv:1805.08206 (AURC); Traub et al. 2024, arXiv:2407.01032 (AUGRC).
    """
    before, size, mistakes, total = _faulty_blocks(given, weights)
    rate = np.divide(mistakes, size, out=np.zeros_like(size), where=size > 0)
    # A mistake at place p of the order is in the mean over k from p on: in N - p + 1 terms errors / N, and as 1 / k in
    # those of errors / k. Over a block of places these are sums of sums of 1 / k, looked up.
    harmonic = np.concatenate([[0.0], np.cumsum(1 / np.arange(1, total.max() + 1))])  # of 0 to N
    summed = np.concatenate([[0.0], np.cumsum(harmonic)])  # of harmonic below 0 to N + 1
    start, end = before.astype(np.int64), (before + size).astype(np.int64)
    terms = size * harmonic[total.astype(np.int64)] - (summed[end] - summed[start])
    count = np.ceil(COVERAGE * total - 1e-9)
    return {
        "aurc": (rate * terms).sum(axis=0) / total,
        "augrc": (rate * size * (total - before - (size - 1) / 2)).sum(axis=0) / total**2,
        "error_at_90": (rate * np.clip(count - before, 0, size)).sum(axis=0) / count,
    }


def risk_bound(errors: int, total: int, delta: float) -> float:
    """Return what the risk of independent images is below with probability 1 - `delta`; 1 where all are errors.

    Source: Clopper & Pearson 1934, doi:10.1093/biomet/26.4.404, one-sided.
    """
    from scipy.special import betaincinv

    return 1.0 if errors >= total else float(betaincinv(errors + 1, total - errors, 1 - delta))


def threshold_for_risk(given: Answers, wanted: float, *, delta: float = DELTA) -> dict[str, Any]:
    """Return the lowest confidence from which the risk is at most `wanted` with probability 1 - `delta`.

    A binary search over the answers tries few thresholds, each bounded at `delta` over their number, so that the bound
    holds for whichever is found. It supposes independent images.

    Returns:
        threshold: None where no tried one can be promised. num_kept; bound: of the risk among them.

    Source: Geifman & El-Yaniv 2017, arXiv:1705.08500, algorithm 1 (SGR).
    """
    order = np.sort(given.confidence)  # the higher the place, the fewer are kept
    found: dict[str, Any] = {"threshold": None, "num_kept": 0, "bound": None}
    too_low, low_enough = -1, len(order)
    most_tried = math.ceil(math.log2(len(order) + 1))
    while low_enough - too_low > 1:
        middle = (too_low + low_enough) // 2
        kept = given.confidence >= order[middle]
        bound = risk_bound(int(given.wrong[kept].sum()), int(kept.sum()), delta / most_tried)
        if bound <= wanted:
            low_enough = middle
            found = {"threshold": float(order[middle]), "num_kept": int(kept.sum()), "bound": bound}
        else:
            too_low = middle
    return found


def judge_abstention(given: Answers, val: Answers | None) -> dict[str, Any]:
    """Return what abstaining is worth on the images of `given`.

    Args:
        val: on which thresholds are chosen; None where `given` is val.

    Returns:
        each of `AREAS` with its interval; curve: coverage and risk, see `risk_coverage_curve`; thresholds: for each of
        `WANTED_RISKS` what val gives, and coverage and risk that it then has on `given`; None without val.
    """
    return {
        **_areas_with_intervals(given),
        "curve": risk_coverage_curve(given),
        "thresholds": val and [_realise(given, val, wanted) for wanted in WANTED_RISKS],
    }


def _areas_with_intervals(given: Answers) -> dict[str, Any]:
    units = find_units(given.labels, given.groups)
    values = areas(given, np.ones((len(given.wrong), 1)))
    drawn = [areas(given, weights) for weights in draw(units, num_resamples=NUM_RESAMPLES, seed=0)]
    found = {}
    for name in AREAS:
        value = float(values[name][0])
        resamples = np.concatenate([each[name] for each in drawn])
        found[name] = entry_of(value, interval_of(resamples, value, units, labels=given.labels))
    return found


def _realise(given: Answers, val: Answers, wanted: float) -> dict[str, Any]:
    chosen = threshold_for_risk(val, wanted)
    found = {
        "wanted_risk": wanted,
        "threshold": chosen["threshold"],
        "val_coverage": chosen["num_kept"] / len(val.wrong),
        "val_bound": chosen["bound"],
    }
    if chosen["threshold"] is None:
        return {**found, "coverage": 0.0, "risk": entry_of(None, None)}
    kept = given.confidence >= chosen["threshold"]
    groups = None if given.groups is None else given.groups[kept]
    risk = float(given.wrong[kept].mean()) if kept.any() else None
    interval = interval_of_share(given.wrong[kept], given.labels[kept], groups)
    return {**found, "coverage": float(kept.mean()), "risk": entry_of(risk, interval)}


def _faulty_blocks(given: Answers, weights: Floats) -> tuple[Floats, Floats, Floats, Floats]:
    """Return of the blocks of equal confidence with a mistake in them how many images are surer, in them, and wrong.

    Returns: three times (T, b), and (b,) how many images there are in all.
    """
    order = np.argsort(-given.confidence, kind="stable")
    begins = np.append(True, np.diff(given.confidence[order]) != 0)
    size = np.add.reduceat(weights[order], np.flatnonzero(begins), axis=0)
    kept = np.cumsum(size, axis=0)
    wrong = given.wrong[order]
    faulty, starts = np.unique((np.cumsum(begins) - 1)[wrong], return_index=True)
    mistakes = np.add.reduceat(weights[order[wrong]], starts, axis=0) if len(faulty) else size[faulty]
    return kept[faulty] - size[faulty], size[faulty], mistakes, kept[-1]
