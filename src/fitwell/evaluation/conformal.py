"""Sets of classes that hold the true one with a promised probability: split conformal prediction, chosen on val.

Every function takes (N, C) probabilities, rows summing to 1. The promise is about new images that are exchangeable
with those of val, on average over them and over draws of val; it is made for no single class or group.

Source: Vovk et al. 2005, doi:10.1007/b106715; Angelopoulos & Bates 2023, arXiv:2107.07511.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fitwell.evaluation.intervals import Floats, entry_of, interval_of_share
from fitwell.evaluation.metrics import Labels, Probs

ALPHA = 0.1  # promised: the true class is left out of at most so many sets
VARIANTS = (("lac", False), ("aps", False), ("raps", False), ("lac", True))  # method, and whether per class
PENALTY, FREE_RANK = 0.1, 1  # of RAPS; fixed beforehand, because what val chose twice would promise nothing


def conformal_quantile(scores: Floats, alpha: float) -> float:
    """Return the ceil((n + 1)(1 - alpha))-th smallest of n `scores`; infinity, for the full set, beyond the last."""
    place = math.ceil((len(scores) + 1) * (1 - alpha) - 1e-9)  # 100 * 0.9 may be 90.00000000000001
    return math.inf if place > len(scores) else float(np.sort(scores)[max(place, 1) - 1])


def class_scores(probs: Probs, method: str, *, seed: int = 0) -> Floats:
    """Return how strange each class would be for each image, (N, C); more is stranger.

    Args:
        method: lac: 1 - P(class), the smallest sets (Sadinle et al. 2019, arXiv:1609.00451). aps: the mass of all more
            probable classes and a random share of its own (Romano et al. 2020, arXiv:2006.02544). raps: aps, and a
            penalty for each rank beyond `FREE_RANK` (Angelopoulos et al. 2021, arXiv:2009.14193).
        seed: of the random shares, one for each image.
    """
    mass: Floats = np.asarray(probs, dtype=np.float64)
    if method == "lac":
        return 1 - mass
    order = np.argsort(-mass, axis=1, kind="stable")
    ranks = np.argsort(order, axis=1, kind="stable")  # (N, C), 0 for the most probable class
    with_own = np.cumsum(np.take_along_axis(mass, order, axis=1), axis=1)
    shares = np.random.default_rng(seed).random((len(mass), 1))
    scores: Floats = np.take_along_axis(with_own, ranks, axis=1) - mass + shares * mass
    return scores + PENALTY * np.maximum(ranks + 1 - FREE_RANK, 0) if method == "raps" else scores


def thresholds(scores: Floats, labels: Labels, alpha: float, *, by_class: bool = False) -> Floats:
    """Return the score (C,) up to which each class belongs to a set, chosen on (N, C) `scores` of labelled images.

    Args:
        by_class: choose for each class on its own images (Mondrian), so that the promise holds for each class; else
            one threshold for all.
    """
    of_truth = scores[np.arange(len(labels)), labels]
    num_classes = scores.shape[1]
    if not by_class:
        return np.full(num_classes, conformal_quantile(of_truth, alpha))
    return np.array([conformal_quantile(of_truth[labels == label], alpha) for label in range(num_classes)])


def judge_sets(
    sets: NDArray[np.bool_], labels: Labels, groups: NDArray[Any] | None, classes: tuple[str, ...]
) -> dict[str, Any]:
    """Return how often `sets` (N, C) hold the true class, and how large they are.

    Returns:
        coverage: value and interval, by Wilson or over groups by the bootstrap. mean_size, in [0, C].
        sizes: for each size that occurs num_images and coverage. per_class: for each class num_images, coverage and
        mean_size, None without images.
    """
    held = sets[np.arange(len(labels)), labels]
    size = sets.sum(axis=1)
    return {
        "coverage": entry_of(float(held.mean()), interval_of_share(held, labels, groups)),
        "mean_size": float(size.mean()),
        "sizes": [
            {"size": int(each), "num_images": int((size == each).sum()), "coverage": float(held[size == each].mean())}
            for each in np.unique(size)
        ],
        "per_class": [
            {"class": name, **_of_class(held[labels == index], size[labels == index])}
            for index, name in enumerate(classes)
        ],
    }


def promise_sets(
    val: tuple[Probs, Labels],
    probs: Probs,
    labels: Labels,
    groups: NDArray[Any] | None,
    classes: tuple[str, ...],
    *,
    alpha: float = ALPHA,
) -> dict[str, Any]:
    """Return for each of `VARIANTS` the thresholds that val gives, and what the sets are like on other images.

    Args:
        val: probabilities (M, C) and labels (M,) that choose. probs, labels, groups: those that are judged.

    Returns:
        alpha; num_val; variants: method, by_class, thresholds by class (None: the class is in every set, because val
        has too few images to leave it out) and what `judge_sets` gives.
    """
    variants = []
    for method, by_class in VARIANTS:
        limits = thresholds(class_scores(val[0], method), val[1], alpha, by_class=by_class)
        sets = class_scores(probs, method, seed=1) <= limits
        variants.append(
            {
                "method": method,
                "by_class": by_class,
                "thresholds": [None if math.isinf(limit) else float(limit) for limit in limits],
                **judge_sets(sets, labels, groups, classes),
            }
        )
    return {"alpha": alpha, "num_val": len(val[1]), "variants": variants}


def describe_promise(num_val: int, num_val_groups: int | None, alpha: float = ALPHA) -> str:
    """Return what the promise of sets chosen on val rests on, in one sentence or two."""
    promised = f"{100 * (1 - alpha):.3g} %"
    if num_val_groups is None:
        return (
            f"On images like the {num_val} of val, {promised} of the sets hold the true class on average; it is "
            "promised for no single class, but where thresholds are per class."
        )
    return (
        f"{promised} is promised for images that are exchangeable with val's. Its {num_val} images are in "
        f"{num_val_groups} groups, and images of a group are alike: for a new group the promise holds roughly, as if "
        f"it rested on {num_val_groups} images, and coverage differs from group to group."
    )


def _of_class(held: NDArray[np.bool_], size: NDArray[np.integer[Any]]) -> dict[str, Any]:
    count = len(held)
    return {
        "num_images": count,
        "coverage": float(held.mean()) if count else None,
        "mean_size": float(size.mean()) if count else None,
    }
