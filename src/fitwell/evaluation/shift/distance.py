"""How unlike two sets of pictures are, by what a network makes of them; pure functions of arrays.

A distance between finite samples is never zero, so each one stands beside what the same pictures give when which of
them are new is drawn by lot. Units, images or whole groups, keep together in that.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fitwell.errors import DataError
from fitwell.evaluation.intervals import NUM_RESAMPLES, Floats, draw, find_units, interval_of

Features = NDArray[np.floating[Any]]
Side = NDArray[np.bool_]
Places = NDArray[np.int64]

NUM_PERMUTATIONS = 1000
CHUNK_CELLS = 500_000  # permutations times images held at once
MOST_IMAGES = 1000  # of either set; kernel and distances of both take 32 MB each
NEIGHBOURS = 10
FEWEST_FOR_A_CLASS = 20  # images of it in either set
LEVEL = 0.05  # of the claim that there is a shift


@dataclass(frozen=True)
class Pictures:
    """Some pictures, as a network sees them.

    Attributes:
        features: (N, D). units: (N,) the image or the group of images that each one belongs to.
    """

    features: Features
    units: NDArray[Any]


def choose_images(units: NDArray[Any], most: int = MOST_IMAGES) -> Places:
    """Return the places of at most `most` images, unit by unit in an order drawn by lot, always the same; ascending."""
    _, unit_of_image = np.unique(units, return_inverse=True)
    order = np.random.default_rng(0).permutation(unit_of_image.max(initial=-1) + 1)
    rank = np.argsort(order)
    return np.sort(np.argsort(rank[unit_of_image], kind="stable")[:most])


def compare_pictures(own: Pictures, new: Pictures) -> dict[str, Any]:
    """Return how unlike `new` pictures are to one's `own`, by a test and by a number that people can read.

    Returns:
        mmd2: the squared maximum mean discrepancy, with `null` (the middle 95 % of what it is when sides are drawn by
        lot) and p, the share of draws that are as large, never below 1 / (draws + 1).
        told_apart: the AUC with which each picture's neighbours tell its side, in [0, 1], and its `null`; 0.5 is not
        at all. num_own, num_new; num_own_units, num_new_units; bandwidth; num_permutations.

    Raises:
        DataError: with fewer than two units on a side, or when all pictures look the same to the network.

    Source: Gretton et al. 2012, JMLR 13:723, eq. 3, the median heuristic of section 8 and a permutation test.
    """
    units, sides = _label_units(own.units, new.units)
    squared = squared_distances(np.concatenate([own.features, new.features]).astype(np.float64))
    kernel, bandwidth = rbf_kernel(squared)
    is_new = sides[units]
    nearest = _nearest(squared, units)
    draws = [
        (mmd2(kernel, lots), tell_apart(nearest, lots)) for lots in permute(units, sides, NUM_PERMUTATIONS, seed=0)
    ]
    null, apart_null = (np.concatenate(parts) for parts in zip(*draws, strict=True))
    found, apart = float(mmd2(kernel, is_new[:, None])[0]), float(tell_apart(nearest, is_new[:, None])[0])
    as_large = int((null >= found - 1e-12).sum())  # rounding must not part a draw from what it equals
    return {
        "mmd2": found,
        "null": np.quantile(null, [0.025, 0.975]).tolist(),
        "p": (as_large + 1) / (len(null) + 1),
        "told_apart": {"value": apart, "null": np.quantile(apart_null, [0.025, 0.975]).tolist()},
        "num_own": len(own.features),
        "num_new": len(new.features),
        "num_own_units": int((~sides).sum()),
        "num_new_units": int(sides.sum()),
        "bandwidth": bandwidth,
        "num_permutations": len(null),
    }


def squared_distances(features: Floats) -> Floats:
    """Return the squared Euclidean distances (M, M) between (M, D) `features`, at least 0."""
    centred = features - features.mean(axis=0)  # else the products below cancel to noise
    products = centred @ centred.T
    norms = np.diag(products)
    squared: Floats = np.maximum(norms[:, None] + norms - 2 * products, 0.0)
    return squared


def rbf_kernel(squared: Floats) -> tuple[Floats, float]:
    """Return exp(-d^2 / (2 s^2)) (M, M) with 0 on its diagonal, and s, the median distance of two pictures.

    Raises:
        DataError: when the median is 0.
    """
    bandwidth = float(np.median(np.sqrt(squared[np.triu_indices(len(squared), 1)])))
    if not bandwidth > 0:
        raise DataError(
            found="more than half of all pairs of pictures look exactly the same to the network.",
            expected="pictures that differ.",
            fix="look at the pictures: are they copies, or blank?",
        )
    kernel = np.exp(-squared / (2 * bandwidth**2))
    np.fill_diagonal(kernel, 0.0)
    return kernel, bandwidth


def mmd2(kernel: Floats, is_new: Side) -> Floats:
    """Return the unbiased squared maximum mean discrepancy (b,) of b ways to part M pictures; it may be below 0.

    Args:
        kernel: (M, M), 0 on its diagonal. is_new: (M, b), at least two pictures on either side.

    Source: Gretton et al. 2012, eq. 3.
    """
    chosen = is_new.astype(np.float64)
    sums = kernel @ chosen
    within_new = (chosen * sums).sum(axis=0)
    across = sums.sum(axis=0) - within_new
    within_own = kernel.sum() - within_new - 2 * across
    num_new = chosen.sum(axis=0)
    num_own = len(kernel) - num_new
    found: Floats = (
        within_own / (num_own * (num_own - 1))
        + within_new / (num_new * (num_new - 1))
        - 2 * across / (num_own * num_new)
    )
    return found


def tell_apart(nearest: Places, is_new: Side) -> Floats:
    """Return the AUC (b,) with which the share of new pictures among its neighbours tells a new picture from an own.

    Args:
        nearest: (M, k) the places of each picture's neighbours. is_new: (M, b), some on either side.
    """
    votes = is_new[nearest].sum(axis=1)  # (M, b), 0 to k
    of_new, of_own = (
        np.array([((votes == vote) & side).sum(axis=0) for vote in range(nearest.shape[1] + 1)], dtype=np.float64)
        for side in (is_new, ~is_new)
    )  # (k + 1, b)
    below = np.cumsum(of_own, axis=0) - of_own / 2  # half of a tie lies below
    area: Floats = (of_new * below).sum(axis=0) / (of_new.sum(axis=0) * of_own.sum(axis=0))
    return area


def permute(units: Places, sides: Side, num_permutations: int, *, seed: int) -> Iterator[Side]:
    """Yield, in chunks, (M, b): which of M pictures are new when whole units change places. A function of the seed.

    Args:
        units: (M,) numbers from 0. sides: (U,) which units are new; as many are in each permutation.
    """
    rng = np.random.default_rng(seed)
    chunk = max(1, CHUNK_CELLS // len(units))
    for start in range(0, num_permutations, chunk):
        rows = min(chunk, num_permutations - start)
        drawn = rng.permuted(np.tile(sides, (rows, 1)), axis=1)
        yield np.ascontiguousarray(drawn.T)[units]


def moved_classes(
    own: Pictures, own_labels: NDArray[Any], new: Pictures, new_labels: NDArray[Any]
) -> list[dict[str, Any]]:
    """Return how far the mean of each class lies from its mean in `own`, farthest first.

    Only classes with at least `FEWEST_FOR_A_CLASS` images in both. `distance` is that of the means, less what so few
    images make by chance and not below 0, in spreads of the class in `own` (the root of its summed variances).
    """
    rows = []
    for name in sorted(set(own_labels.tolist()) & set(new_labels.tolist())):
        mine, theirs = own.features[own_labels == name], new.features[new_labels == name]
        if min(len(mine), len(theirs)) < FEWEST_FOR_A_CLASS:
            continue
        spread, other = (float(part.var(axis=0, ddof=1, dtype=np.float64).sum()) for part in (mine, theirs))
        gap = float(((mine.mean(axis=0, dtype=np.float64) - theirs.mean(axis=0, dtype=np.float64)) ** 2).sum())
        beyond = max(0.0, gap - spread / len(mine) - other / len(theirs))
        distance = float(np.sqrt(beyond / spread)) if spread > 0 else None
        rows.append({"class": name, "num_own": len(mine), "num_new": len(theirs), "distance": distance})
    return sorted(rows, key=lambda row: -(row["distance"] or 0.0))


def difference_of_means(
    own: tuple[Floats, NDArray[Any] | None], new: tuple[Floats, NDArray[Any] | None]
) -> dict[str, Any]:
    """Return the mean of `new` values less that of `own`, with a bootstrap interval of independent samples.

    Args:
        own, new: values (N,) in [0, 1] and groups (N,), which are drawn whole, or None when images are independent.

    Returns: own and new (the means), difference, interval (None for a single unit; with few, widened for the smaller
        set, see `intervals.interval_of`) and method.
    """
    units = [find_units(np.zeros(len(values), dtype=np.int64), groups) for values, groups in (own, new)]
    means = []
    for (values, _), each, seed in zip((own, new), units, (0, 1), strict=True):
        draws = draw(each, num_resamples=NUM_RESAMPLES, seed=seed)
        means.append(np.concatenate([values @ weights / weights.sum(axis=0) for weights in draws]))
    before, after = float(own[0].mean()), float(new[0].mean())
    fewest = min(units, key=lambda each: each.count)
    labels = np.zeros(len(fewest.of_image), dtype=np.int64)
    interval = None
    if fewest.count > 1:
        interval = interval_of(means[1] - means[0], after - before, fewest, labels=labels, bounds=(-1.0, 1.0))
    return {
        "own": before,
        "new": after,
        "difference": after - before,
        "interval": interval and [interval.low, interval.high],
        "method": interval and interval.method,
    }


def _label_units(own: NDArray[Any], new: NDArray[Any]) -> tuple[Places, Side]:
    """Return the unit (M,) of each picture of both sets, and which units (U,) are new; a name in both is two units."""
    _, of_own = np.unique(own, return_inverse=True)
    _, of_new = np.unique(new, return_inverse=True)
    num_own, num_new = (int(each.max(initial=-1)) + 1 for each in (of_own, of_new))
    if min(num_own, num_new) < 2:
        raise DataError(
            found=f"{num_own} of the own and {num_new} of the new images or groups are independent.",
            expected="at least two of each.",
            fix="judge more images.",
        )
    units = np.concatenate([of_own, of_new + num_own]).astype(np.int64)
    return units, np.arange(num_own + num_new) >= num_own


def _nearest(squared: Floats, units: Places) -> Places:
    """Return (M, k) the places of each picture's nearest ones of other units, of equals the first."""
    apart = np.where(units[:, None] == units, np.inf, squared)
    most = int(np.isfinite(apart).sum(axis=1).min())
    return np.argsort(apart, axis=1, kind="stable")[:, : min(NEIGHBOURS, most)].astype(np.int64)
