"""How sure a metric is: Wilson for shares, DeLong for the AUC, bootstrap for the rest, and whole groups in each.

Images of one patient or one module are alike, so seven patients with fifty images each tell hardly more than
seven images: with groups, groups are what is drawn again. Needs numpy; scipy only for two quantiles.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fitwell.evaluation.class_counts import COUNTED, ClassCounts, divide
from fitwell.evaluation.metrics import (
    ORDERED_METRICS,
    Labels,
    Probs,
    accuracy,
    auc,
    balanced_accuracy,
    brier_losses,
    macro_f1,
    mean_absolute_error,
    quadratic_kappa,
    squared_distances,
)
from fitwell.evaluation.ranking import RANKING_METRICS, area_with_influence, resampled_ranking

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]

BOOTSTRAPPED = {
    "accuracy": accuracy,
    "balanced_accuracy": balanced_accuracy,
    "macro_f1": macro_f1,
    "auc": auc,
    "quadratic_kappa": quadratic_kappa,  # this and the next of ordered classes only
    "mean_absolute_error": mean_absolute_error,
}
NUM_RESAMPLES = 2000
CHUNK_CELLS = 2_000_000  # resamples times images held at once: 16 MB per array, about six arrays
LEAST_DEFINED = 0.5  # share of resamples in which a metric must be defined for an interval to be given


@dataclass(frozen=True)
class Interval:
    """A confidence interval and where it comes from.

    Attributes:
        low, high: its ends, within the range of the metric or of its difference.
        method: how it was made, for the reader of a report.
        num_left_out: resamples left out because the metric was not defined in them.
    """

    low: float
    high: float
    method: str
    num_left_out: int = 0


@dataclass(frozen=True)
class Resamples:
    """What every metric was in each of B resamples; NaN where it was not defined.

    Attributes:
        metrics: (B,) by name.
        recall, precision: (B, C).
    """

    metrics: dict[str, Floats]
    recall: Floats
    precision: Floats


@dataclass(frozen=True)
class Units:
    """What is independent of each other: images, or groups of images.

    Attributes:
        of_image: (N,) the unit that each image belongs to. strata: unit numbers; each stratum is drawn by itself.
        noun: "images" or "groups".
    """

    of_image: Codes
    strata: tuple[Codes, ...]
    noun: str

    @property
    def count(self) -> int:
        """Return how many units there are."""
        return sum(len(stratum) for stratum in self.strata)


def wilson_interval(successes: int, total: int, confidence: float = 0.95) -> tuple[float, float]:
    """Return the Wilson score interval of a share of independent images; (0, 1) when `total` is 0.

    Source: Wilson 1927, doi:10.1080/01621459.1927.10502953; Brown, Cai & DasGupta 2001 on its coverage.
    """
    if total == 0:
        return 0.0, 1.0
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    share, weight = successes / total, 1 + z * z / total
    middle = (share + z * z / (2 * total)) / weight
    reach = z / weight * math.sqrt(share * (1 - share) / total + z * z / (4 * total * total))
    low = 0.0 if successes == 0 else middle - reach  # exact at the ends, where rounding would leave 1e-17
    return low, 1.0 if successes == total else middle + reach


def student_interval(values: Sequence[float], confidence: float = 0.95) -> tuple[float, float] | None:
    """Return the interval of the mean of independent `values`, such as one of each seed; None for fewer than 2.

    Source: Student 1908, doi:10.1093/biomet/6.1.1.
    """
    from scipy.special import stdtrit

    count = len(values)
    if count < 2:
        return None
    reach = float(stdtrit(count - 1, (1 + confidence) / 2)) * float(np.std(values, ddof=1)) / math.sqrt(count)
    mean = float(np.mean(values))
    return mean - reach, mean + reach


def find_units(labels: Labels, groups: NDArray[Any] | None) -> Units:
    """Return what can be drawn independently.

    Without groups, images within each class, so every resample has the classes' real sizes. Groups that hold one
    class each are drawn within their class too; groups of mixed classes are drawn together.
    """
    labels = labels.astype(np.int64)
    if groups is None:
        return Units(np.arange(len(labels)), _by_class(labels), "images")
    _, first, of_image = np.unique(np.asarray(groups, dtype=str), return_index=True, return_inverse=True)
    label_of_unit = labels[first]
    pure = bool((label_of_unit[of_image] == labels).all())
    strata = _by_class(label_of_unit) if pure else (np.arange(len(first)),)
    return Units(of_image.astype(np.int64), strata, "groups")


def resample(
    probs: Probs,
    labels: Labels,
    units: Units,
    *,
    names: Collection[str],
    num_resamples: int = NUM_RESAMPLES,
    seed: int = 0,
) -> Resamples:
    """Return the metrics `names` in `num_resamples` resamples with replacement, as metrics.py defines them.

    Args:
        names: any of metrics.py and ranking.py but log_loss, as far as these classes have them.
    """
    labels = labels.astype(np.int64)
    draws = draw(units, num_resamples=num_resamples, seed=seed)
    parts = [_judge(weights, probs, labels, names) for weights in draws]
    return Resamples(
        metrics={name: np.concatenate([part.metrics[name] for part in parts]) for name in parts[0].metrics},
        recall=np.concatenate([part.recall for part in parts]),
        precision=np.concatenate([part.precision for part in parts]),
    )


def draw(units: Units, *, num_resamples: int, seed: int) -> Iterator[Floats]:
    """Yield, in chunks, (N, b): how often each image is in each resample. A function of the seed."""
    rng = np.random.default_rng(seed)
    num_images = len(units.of_image)
    chunk = max(1, CHUNK_CELLS // max(1, num_images))
    for start in range(0, num_resamples, chunk):
        rows = min(chunk, num_resamples - start)
        times = np.zeros((rows, units.count))
        for stratum in units.strata:
            size = len(stratum)
            picks = rng.integers(0, size, (rows, size)) + np.arange(rows)[:, None] * size
            times[:, stratum] = np.bincount(picks.ravel(), minlength=rows * size).reshape(rows, size)
        yield np.ascontiguousarray(times.T)[units.of_image]


def auc_interval(probs: Probs, labels: Labels, units: Units, *, confidence: float = 0.95) -> Interval | None:
    """Return DeLong's interval of the AUC on the logit scale; None where the AUC is not defined.

    Of more than two classes, the influence of an image is the mean of its influences on the classes' areas; of
    groups, the sum over their images. The quantile is Student's, with as many degrees of freedom as there are units
    but one. The logit keeps the ends within (0, 1); where all units have the same influence, as when the AUC is 0 or
    1, or a class has a single unit, the bound of `_unseen` takes its place.

    Source: DeLong et al. 1988, doi:10.2307/2531595; Obuchowski 1997, doi:10.2307/2533958 (groups); Qin & Hotilovac
    2008, Stat Methods Med Res 17:207 (the logit covers better than the plain scale).
    """
    from scipy.special import expit, logit, stdtrit

    columns = range(1, 2) if probs.shape[1] == 2 else range(probs.shape[1])
    found = [each for column in columns if (each := area_with_influence(probs[:, column], labels == column))]
    if len(found) < len(columns):
        return None
    area = float(np.mean([area for area, _ in found]))
    influence = np.bincount(units.of_image, np.mean([each for _, each in found], axis=0), units.count)
    spreads = [len(each) * np.var(influence[each], ddof=1) if len(each) > 1 else math.nan for each in units.strata]
    error = math.sqrt(sum(spreads)) / max(area * (1 - area), np.finfo(float).tiny)
    if not 1e-9 < error < math.inf:
        reach, fewest = _unseen(units, labels, confidence)
        method = f"bound for no exception: {fewest} {units.noun} hold the rarest class"
        return Interval(max(0.0, area - reach), min(1.0, area + reach), method)
    reach = float(stdtrit(units.count - 1, (1 + confidence) / 2)) * error
    low, high = (float(expit(logit(area) + side * reach)) for side in (-1, 1))
    return Interval(low, high, f"DeLong on the logit scale, {units.count} {units.noun}")


def expansion(units: Units, *, of_classes: bool = False) -> tuple[float, float]:
    """Return the factor and the degrees of freedom by which percentiles of few units are moved outwards.

    Drawing n units again and again spreads (n - 1) / n as far in variance as drawing them anew would, and the normal
    quantile that percentiles stand for should be Student's. Hesterberg's tail for one stratum, Phi(sqrt(n / (n - 1))
    t(n - 1)), becomes with strata of n_h units, each with a part v_h of the variance,

        factor ** 2 = sum v_h / sum v_h (n_h - 1) / n_h,    degrees = (sum v_h) ** 2 / sum v_h ** 2 / (n_h - 1)

    where v_h is n_h for a mean over images and 1 / n_h for one over classes: units are taken to spread alike in every
    stratum. 15 and 35 images have 48 degrees for a mean over images and 27 for one over their two classes. A stratum of
    one unit shows no spread and is left out; (1, infinity) without any other.

    Source: Hesterberg 2015, doi:10.1080/00031305.2015.1089789; Satterthwaite 1946, doi:10.2307/3002019.
    """
    sizes = np.array([len(stratum) for stratum in units.strata if len(stratum) > 1], dtype=np.float64)
    if not len(sizes):
        return 1.0, math.inf
    parts = 1 / sizes if of_classes else sizes
    factor = math.sqrt(parts.sum() / (parts * (sizes - 1) / sizes).sum())
    return factor, float(parts.sum() ** 2 / (parts**2 / (sizes - 1)).sum())


def interval_of(
    values: Floats,
    estimate: float | None,
    units: Units,
    *,
    labels: Labels,
    confidence: float = 0.95,
    bounds: tuple[float, float] = (0.0, 1.0),
    of_classes: bool = False,
) -> Interval | None:
    """Return the bootstrap interval around `estimate` from its `values` in resamples, (B,) with NaN where undefined.

    The percentiles are moved outwards for few units (see `expansion`): with 7 groups of 50 images and 8 points of
    spread between groups, the true accuracy lay within plain percentiles in 87 % of 2,000 simulated studies, within
    these in 94 %, and within Wilson's interval of single images in 74 %. Where all resamples agree, percentiles would
    claim certainty; then the width is what as many independent units without a single exception leave possible (see
    `_unseen`).

    Args:
        of_classes: whether a class counts alike however few images it has, as `metrics.is_of_classes` tells.

    Source: Hesterberg 2015, doi:10.1080/00031305.2015.1089789 (expanded percentiles).
    """
    from scipy.special import ndtr, stdtrit

    defined = values[~np.isnan(values)]
    left_out = len(values) - len(defined)
    if estimate is None or len(defined) < LEAST_DEFINED * len(values) or not len(values):
        return None
    factor, degrees_of_freedom = expansion(units, of_classes=of_classes)
    tail = float(ndtr(factor * stdtrit(degrees_of_freedom, (1 - confidence) / 2)))
    place = max(1, int(tail * (len(defined) + 1)))  # counted as `paired_tests.bootstrap_p` does, so that both agree
    low, high = (float(end) for end in np.partition(defined, [place - 1, -place])[[place - 1, -place]])
    method = f"bootstrap, {len(values)} resamples of {units.count} {units.noun}"
    if high - low < 1e-9:
        reach, fewest = _unseen(units, labels, confidence)
        low, high = max(bounds[0], estimate - reach), min(bounds[1], estimate + reach)
        method = f"bound for no exception, as all resamples agree: {fewest} {units.noun} hold the rarest class"
    return Interval(low, high, method, left_out)


def interval_of_share(
    hits: NDArray[np.bool_], labels: Labels, groups: NDArray[Any] | None, *, confidence: float = 0.95
) -> Interval | None:
    """Return the interval of the share of images that `hits` (N,) names: Wilson's, or over groups the bootstrap's.

    Args:
        labels: (N,), by which groups of one class are drawn.

    Returns: None without images.
    """
    if not len(hits):
        return None
    if groups is None:
        successes, total = int(hits.sum()), len(hits)
        return Interval(*wilson_interval(successes, total, confidence), f"Wilson, {successes} of {total} images")
    units = find_units(labels, groups)
    draws = draw(units, num_resamples=NUM_RESAMPLES, seed=0)
    shares = np.concatenate([hits @ weights / weights.sum(axis=0) for weights in draws])
    return interval_of(shares, float(hits.mean()), units, labels=labels, confidence=confidence)


def entry_of(value: float | None, interval: Interval | None) -> dict[str, Any]:
    """Return a metric as metrics.json has it: value and interval, and where there is one, its method."""
    if value is None or interval is None:
        return {"value": value, "interval": None}
    return {
        "value": value,
        "interval": [interval.low, interval.high],
        "method": interval.method,
        "num_left_out": interval.num_left_out,
    }


def _by_class(labels: Labels) -> tuple[Codes, ...]:
    return tuple(np.flatnonzero(labels == label) for label in np.unique(labels))


def _unseen(units: Units, labels: Labels, confidence: float) -> tuple[float, int]:
    """Return the largest error rate that m units without an error leave possible, and m.

    m is the number of units that hold the rarest class: m disjoint sets of one image per class are m independent
    trials, and m successes in m trials leave a rate of 1 - (alpha / 2) ** (1 / m) possible (Clopper & Pearson
    1934; the "rule of three" is its approximation 3 / m at one-sided 95 %). So an AUC of 1 on 20 positives is
    given as 0.83 to 1. It is an exact bound for the AUC of two classes drawn by images; elsewhere a guide.
    """
    held = [len(np.unique(units.of_image[labels == label])) for label in np.unique(labels)]
    return 1 - float(((1 - confidence) / 2) ** (1 / min(held))), min(held)


def _judge(weights: Floats, probs: Probs, labels: Labels, names: Collection[str]) -> Resamples:
    """Return the metrics `names` of resamples in which each image counts `weights` (N, b) times."""
    num_classes = probs.shape[1]
    predicted = probs.argmax(axis=1)
    right = predicted == labels
    counts = ClassCounts(
        support=_sum_by(weights, labels, num_classes),
        claimed=_sum_by(weights, predicted, num_classes),
        correct=_sum_by(weights[right], labels[right], num_classes),
    )
    found = {name: metric(counts) for name, metric in COUNTED.items() if name in names}
    if "auc" in names:
        columns = range(1, 2) if num_classes == 2 else range(num_classes)
        found["auc"] = np.mean([_weighted_area(weights, probs[:, each], labels == each) for each in columns], axis=0)
    if "brier_score" in names:
        found["brier_score"] = brier_losses(probs, labels) @ weights / weights.sum(axis=0)
    if not set(RANKING_METRICS).isdisjoint(names):
        found |= resampled_ranking(probs[:, 1], labels == 1, weights)
    if not set(ORDERED_METRICS).isdisjoint(names):
        found |= _judge_order(weights, predicted, labels, num_classes)
    return Resamples(found, counts.recall, counts.precision)


def _judge_order(weights: Floats, predicted: Labels, labels: Labels, num_classes: int) -> dict[str, Floats]:
    cells = _sum_by(weights, labels * num_classes + predicted, num_classes**2)
    matrices = cells.reshape(-1, num_classes, num_classes)  # (b, C, C)
    distance = squared_distances(num_classes)
    by_chance = np.einsum("bi,ij,bj->b", matrices.sum(axis=2), distance, matrices.sum(axis=1))
    count = weights.sum(axis=0)
    return {
        "quadratic_kappa": 1 - divide(count * (matrices * distance).sum(axis=(1, 2)), by_chance),
        "mean_absolute_error": abs(predicted - labels) @ weights / count,
    }


def _weighted_area(weights: Floats, scores: NDArray[Any], positive: NDArray[np.bool_]) -> Floats:
    """Return the AUC (b,) under each column of `weights`, by one sort of the scores; NaN without both sides."""
    order = np.argsort(scores, kind="stable")
    ordered = scores[order]
    negatives = np.zeros((len(scores) + 1, weights.shape[1]))
    np.cumsum(np.where(positive[order, None], 0.0, weights[order]), axis=0, out=negatives[1:])
    first, last = (np.searchsorted(ordered, scores[positive], side=side) for side in ("left", "right"))
    below = (negatives[first] + negatives[last]) / 2  # (positives, b); half of a tie lies below
    drawn = weights[positive]
    ordered_pairs: Floats = np.einsum("nb,nb->b", below, drawn)
    return divide(ordered_pairs, drawn.sum(axis=0) * negatives[-1])


def _sum_by(weights: Floats, codes: Labels, num_codes: int) -> Floats:
    """Return (b, num_codes): the sum of `weights` (n, b) over the rows of each code."""
    sums = np.zeros((weights.shape[1], num_codes))
    if len(codes):
        order = np.argsort(codes, kind="stable")
        starts = np.flatnonzero(np.append(True, np.diff(codes[order]) != 0))
        sums[:, codes[order][starts]] = np.add.reduceat(weights[order], starts, axis=0).T
    return sums
