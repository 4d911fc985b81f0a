"""How unequal class sizes are corrected: the weight of each class, and how often its images are drawn."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fitwell.errors import RecipeError
from fitwell.recipe.schema import Balance

Labels = NDArray[np.int64]
Values = NDArray[np.float64]


def class_weights(settings: Balance, labels: Labels, classes: tuple[str, ...]) -> Values:
    """Return the weight (C,) of each class in the loss; their mean over the images is 1.

    Args:
        labels: (N,) in [0, C) of the training images; every class occurs.

    Raises:
        RecipeError: when weights are given, and not for exactly these classes.
    """
    if isinstance(settings.class_weights, dict):
        _require_classes(settings.class_weights, classes)
        weights = np.array([settings.class_weights[name] for name in classes])
    else:
        weights = _correction(settings.class_weights, settings.effective_beta, np.bincount(labels))
    return np.asarray(weights / weights[labels].mean())


def drawing_shares(settings: Balance, labels: Labels) -> Values | None:
    """Return how likely each image (N,) is the next one drawn, in sum 1; None where each is seen once an epoch."""
    if settings.sampler == "none":
        return None
    shares = _correction(settings.sampler, settings.effective_beta, np.bincount(labels))[labels]
    return np.asarray(shares / shares.sum())


def class_shares(labels: Labels, weights: Values, shares: Values | None) -> Values:
    """Return what share of the loss each class (C,) has, in sum 1.

    Args:
        labels: (N,). weights: (N,) of the images in the loss. shares: as `drawing_shares` returns.
    """
    parts = np.bincount(labels, weights=weights if shares is None else weights * shares)
    return np.asarray(parts / parts.sum())


def balanced_weights(counts: Labels) -> Values:
    """Return weights (C,) that give every class the same total, N / (C * n), from the number n of its images (C,).

    Source: King & Zeng 2001, as in scikit-learn's `compute_class_weight("balanced")`.
    """
    return np.asarray(counts.sum() / (len(counts) * counts))


def effective_weights(counts: Labels, beta: float) -> Values:
    """Return weights (C,) of (1 - beta) / (1 - beta ** n); beta 0 corrects nothing, beta near 1 balances.

    Source: Cui et al. 2019, arXiv:1901.05555, eq. 2.
    """
    return np.asarray((1 - beta) / (1 - beta**counts))


def _correction(kind: str, beta: float, counts: Labels) -> Values:
    if kind == "balanced":
        return balanced_weights(counts)
    if kind == "effective_number":
        return effective_weights(counts, beta)
    if kind == "none":
        return np.ones(len(counts))
    raise ValueError(f"the correction of unequal class sizes is {kind!r}; expected a resolved recipe.")


def _require_classes(given: dict[str, float], classes: tuple[str, ...]) -> None:
    missing, unknown = sorted(set(classes) - set(given)), sorted(set(given) - set(classes))
    if missing or unknown:
        wrong = [f"lacks {', '.join(missing)}"] * bool(missing) + [f"names {', '.join(unknown)}"] * bool(unknown)
        raise RecipeError(
            found=f"balance.class_weights {' and '.join(wrong)}.",
            expected=f"one weight for each class of the images: {', '.join(classes)}.",
            fix="give every class a weight, or write balanced.",
        )
