"""Whether two classifiers differ: tests of pairs, as pure functions of what each of them said.

A p is the chance of a difference as large as the one that was found, were there none. Needs numpy; scipy for
the distributions only.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fitwell.evaluation.intervals import Floats, Units, expansion
from fitwell.evaluation.ranking import area_with_influence


def mcnemar(right: NDArray[np.bool_], other_right: NDArray[np.bool_]) -> dict[str, Any]:
    """Return McNemar's test of two classifiers on the same independent images, by its mid-p.

    Of n images on which they disagree, of which k are on the side that has fewer, p is that of the binomial less
    half of the outcome that was found: 2 P(X < k) + P(X = k), X ~ Binomial(n, 1/2); 1 where no side has fewer.

    Args:
        right, other_right: (N,) whether each was right.

    Returns:
        fixes: images that only the other has right. breaks: that only the first has right. p, and method.

    Source: McNemar 1947, doi:10.1007/BF02295996; Fagerland et al. 2013, doi:10.1186/1471-2288-13-91 (mid-p).
    """
    from scipy.stats import binom

    fixes, breaks = int((other_right & ~right).sum()), int((right & ~other_right).sum())
    fewer, disagreements = min(fixes, breaks), fixes + breaks
    p = float(2 * binom.cdf(fewer, disagreements, 0.5) - binom.pmf(fewer, disagreements, 0.5))
    return {"fixes": fixes, "breaks": breaks, "p": min(1.0, p), "method": "mid-p"}


def auc_covariance(scores: Floats, positive: NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """Return the AUC (K,) of K classifiers on the same independent images, and their covariance (K, K).

    Args:
        scores: (K, N), higher for what is thought positive. positive: (N,); at least two are, and two are not.

    Source: DeLong et al. 1988, doi:10.2307/2531595.
    """
    found = [each for row in scores if (each := area_with_influence(row, positive))]
    influence = np.array([each for _, each in found])  # (K, N)
    covariance = np.zeros((len(found), len(found)))
    for side in (positive, ~positive):
        count = side.sum()
        covariance += count / (count - 1) * influence[:, side] @ influence[:, side].T
    return np.array([area for area, _ in found]), covariance


def delong(scores: Floats, positive: NDArray[np.bool_]) -> dict[str, Any]:
    """Return DeLong's test of two AUCs on the same independent images.

    Args:
        scores: (2, N). positive: (N,).

    Returns:
        difference: the second AUC less the first; standard_error; z and p, which are None where the error is 0.
    """
    from scipy.special import ndtr

    areas, covariance = auc_covariance(scores, positive)
    difference = float(areas[1] - areas[0])
    variance = float(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
    if variance < 1e-18:  # what rounding leaves of the difference of two equal numbers
        return {"difference": difference, "standard_error": 0.0, "z": None, "p": None}
    z = difference / math.sqrt(variance)
    return {
        "difference": difference,
        "standard_error": math.sqrt(variance),
        "z": z,
        "p": 2 * float(ndtr(-abs(z))),
    }


def bootstrap_p(differences: Floats, units: Units, *, of_classes: bool = False) -> float | None:
    """Return the smallest level at which the interval of `differences` in resamples, (B,), leaves zero out.

    It is that of `intervals.interval_of`, with the same correction for few units; never below 2 / (B + 1).
    """
    from scipy.special import ndtri, stdtr

    defined = differences[~np.isnan(differences)]
    if not len(defined):
        return None
    beyond = min(int((defined <= 0).sum()), int((defined >= 0).sum()))
    tail = (beyond + 1) / (len(defined) + 1)
    if tail >= 0.5:
        return 1.0
    factor, degrees_of_freedom = expansion(units, of_classes=of_classes)
    return 2 * float(stdtr(degrees_of_freedom, ndtri(tail) / factor))


def resampled_t(differences: Sequence[float], *, test_train_ratio: float = 0.0, confidence: float) -> dict[str, Any]:
    """Return Student's t test of the mean of paired `differences`, corrected where they share training images.

    Args:
        differences: (J,), at least 2: one of each division or seed.
        test_train_ratio: test images over the images that training saw, val among them, in the J divisions, each of
            which trained two new models; 0 where the J differences are independent, as over seeds.

    Returns:
        n, difference (the mean), standard_error, degrees_of_freedom, interval, t and p; the last three are None where
        all differences are equal.

    Source: Nadeau & Bengio 2003, doi:10.1023/A:1024068626366, eq. 8; without a ratio, Student 1908.
    """
    from scipy.special import stdtr, stdtrit

    count, mean = len(differences), float(np.mean(differences))
    error = math.sqrt((1 / count + test_train_ratio) * float(np.var(differences, ddof=1)))
    found = {"n": count, "difference": mean, "standard_error": error, "degrees_of_freedom": count - 1}
    if error < 1e-15:
        return {**found, "interval": None, "t": None, "p": None}
    reach = float(stdtrit(count - 1, (1 + confidence) / 2)) * error
    p = 2 * float(stdtr(count - 1, -abs(mean / error)))
    return {**found, "interval": [mean - reach, mean + reach], "t": mean / error, "p": p}


def holm(p_values: Sequence[float]) -> list[float]:
    """Return the p-values of several tests, raised so that 5 % is the chance of any false claim among them.

    Source: Holm 1979, https://www.jstor.org/stable/4615733.
    """
    order = np.argsort(p_values, kind="stable")
    adjusted = np.empty(len(p_values))
    factors = len(p_values) - np.arange(len(p_values))
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(factors * np.asarray(p_values)[order]))
    return [float(p) for p in adjusted]
