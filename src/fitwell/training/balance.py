"""How unequal class sizes are corrected: the weight of each class, and how often its images are drawn.

Where an image shows any number of classes, each class weighs its images against those that do not show it.
"""

from __future__ import annotations

from typing import Any

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


def positive_weights(settings: Balance, targets: NDArray[np.bool_], classes: tuple[str, ...]) -> Values:
    """Return how many times (C,) an image that shows a class counts as much as one that does not, for that class.

    Each class is a problem of two classes with the weights of `class_weights`: balanced, that is (N - n) / n with n
    images that show it; by effective number (1 - beta ** (N - n)) / (1 - beta ** n).

    Args:
        targets: (N, C) whether the image shows the class; every class is shown.

    Raises:
        RecipeError: when weights are given, and not for exactly these classes.
    """
    if isinstance(settings.class_weights, dict):
        _require_classes(settings.class_weights, classes)
        return np.array([settings.class_weights[name] for name in classes])
    support = targets.sum(axis=0)
    sides = np.maximum(np.column_stack([len(targets) - support, support]), 1)  # what no image shows is weighed by none
    weights = [_correction(settings.class_weights, settings.effective_beta, side) for side in sides]
    return np.array([shown / other for other, shown in weights])


def target_weights(positive: Values, targets: NDArray[np.bool_]) -> Values:
    """Return the weight (N, C) of every class of every image in the loss, of each class with mean 1.

    Args:
        positive: (C,) as `positive_weights` returns. targets: (N, C).
    """
    weights = np.where(targets, positive, 1.0)
    return np.asarray(weights / weights.mean(axis=0))


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


def prior_logits(labels: NDArray[Any], weights: Values, shares: Values | None) -> Values:
    """Return the logits (C,) whose probabilities are what share of the loss each class has.

    Args:
        labels: (N,), or (N, C) whether the image shows the class. weights: of the same shape, in the loss.
        shares: as `drawing_shares` returns.
    """
    if labels.ndim == 1:
        return np.asarray(np.log(class_shares(labels, weights, shares)))
    least = 0.5 / len(labels)  # half an image: what every image shows, or none, is not sure to be so of the next
    shown = np.clip((labels * weights).sum(axis=0) / weights.sum(axis=0), least, 1 - least)
    return np.asarray(np.log(shown / (1 - shown)))


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
