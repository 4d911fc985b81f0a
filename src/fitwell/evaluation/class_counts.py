"""Metrics of how often each class was shown, answered and right: of one set of images, or of many resamples at once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class ClassCounts:
    """What b sets of images hold of C classes, each (b, C).

    Attributes:
        support: images of the class. claimed: images given this class. correct: images of it given this class.
    """

    support: Floats
    claimed: Floats
    correct: Floats

    @property
    def recall(self) -> Floats:
        """Return (b, C); NaN for a class without images."""
        return divide(self.correct, self.support)

    @property
    def precision(self) -> Floats:
        """Return (b, C); NaN for a class that is never predicted."""
        return divide(self.correct, self.claimed)

    @property
    def f1(self) -> Floats:
        """Return (b, C); NaN for a class without images and predictions."""
        return divide(2 * self.correct, self.support + self.claimed)


def accuracy(counts: ClassCounts) -> Floats:
    """Return the share of images whose class is right, which is the weighted recall too."""
    return divide(counts.correct.sum(axis=1), counts.support.sum(axis=1))


def balanced_accuracy(counts: ClassCounts) -> Floats:
    """Return the mean recall of the classes that have images, which is the macro recall."""
    return mean_of_defined(counts.recall)


def macro_f1(counts: ClassCounts) -> Floats:
    """Return the mean F1 of the classes that have images or predictions."""
    return mean_of_defined(counts.f1)


def weighted_f1(counts: ClassCounts) -> Floats:
    """Return the mean F1 of the classes, each by how many images it has."""
    return _weighted(np.nan_to_num(counts.f1), counts)


def macro_precision(counts: ClassCounts) -> Floats:
    """Return the mean precision of the classes that have images or predictions.

    A class that has images and is never predicted counts 0, as in scikit-learn: its images are all missed.
    """
    occurs = counts.support + counts.claimed > 0
    return mean_of_defined(np.where(occurs, np.nan_to_num(counts.precision), np.nan))


def weighted_precision(counts: ClassCounts) -> Floats:
    """Return the mean precision of the classes, each by how many images it has; 0 of one never predicted."""
    return _weighted(np.nan_to_num(counts.precision), counts)


def matthews_correlation(counts: ClassCounts) -> Floats:
    """Return the correlation of answers and classes, in [-1, 1]; 1 is perfect, 0 is chance.

    0 where all images are of one class or all answers are; NaN where both are the same one class, which
    scikit-learn calls 0.

    Source: Gorodkin 2004, doi:10.1016/j.compbiolchem.2004.09.006 (for two classes, Matthews 1975).
    """
    total = counts.support.sum(axis=1)
    right = counts.correct.sum(axis=1)
    covariance = total * right - (counts.support * counts.claimed).sum(axis=1)
    spread = _spread(counts.support) * _spread(counts.claimed)
    correlation = np.divide(covariance, np.sqrt(spread), out=np.zeros_like(covariance), where=spread > 0)
    return np.where(_one_class_alone(counts), np.nan, correlation)


def cohen_kappa(counts: ClassCounts) -> Floats:
    """Return the agreement of answers and classes beyond chance, in [-1, 1]; 1 is perfect, 0 is chance.

    NaN where all images are of one class and are all called so.

    Source: Cohen 1960, doi:10.1177/001316446002000104.
    """
    total = counts.support.sum(axis=1)
    by_chance = (counts.support * counts.claimed).sum(axis=1)
    return divide(total * counts.correct.sum(axis=1) - by_chance, total**2 - by_chance)


COUNTED = {
    "accuracy": accuracy,
    "balanced_accuracy": balanced_accuracy,
    "macro_f1": macro_f1,
    "weighted_f1": weighted_f1,
    "macro_precision": macro_precision,
    "weighted_precision": weighted_precision,
    "matthews_correlation": matthews_correlation,
    "cohen_kappa": cohen_kappa,
}


def divide(part: Floats, whole: Floats) -> Floats:
    """Return `part` / `whole`, NaN where the whole is nothing."""
    shares: Floats = np.divide(part, whole, out=np.full(part.shape, np.nan), where=whole > 0)
    return shares


def mean_of_defined(values: Floats) -> Floats:
    """Return the mean (b,) over the columns that are not NaN."""
    defined = ~np.isnan(values)
    return divide(np.where(defined, values, 0.0).sum(axis=1), defined.sum(axis=1).astype(np.float64))


def _weighted(values: Floats, counts: ClassCounts) -> Floats:
    return divide((values * counts.support).sum(axis=1), counts.support.sum(axis=1))


def _spread(counts: Floats) -> Floats:
    spread: Floats = counts.sum(axis=1) ** 2 - (counts**2).sum(axis=1)
    return spread


def _one_class_alone(counts: ClassCounts) -> NDArray[np.bool_]:
    alone: NDArray[np.bool_] = (counts.correct == counts.support.sum(axis=1, keepdims=True)).any(axis=1)
    return alone
