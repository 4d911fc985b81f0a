"""Whether a probability of 80 % is right 80 times out of 100, and the one temperature that makes it more so.

Calibration is judged on the answer that is given: its confidence, the largest probability (N,) in [0, 1], against
whether it is correct (N,). An error of calibration is never 0 on few images, even of a perfect model, so each
stands beside what a perfect model with the same confidences would show.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fitwell.errors import DataError
from fitwell.evaluation.intervals import wilson_interval
from fitwell.evaluation.metrics import Labels, log_loss, softmax

Floats = NDArray[np.float64]

NUM_BINS = 15
NUM_CELLS = 40 * NUM_BINS  # of the grid on which residuals are smoothed; a bin of equal width is 40 of them
NUM_PERFECT = 500  # sets of outcomes of a perfect model
CHUNK_CELLS = 2_000_000  # outcomes held at once
HOTTEST = 20.0  # the temperature is searched from 1 / HOTTEST to HOTTEST
BISECTIONS = 12  # of the smoothing width, to 1 / 2 ** 13


@dataclass(frozen=True)
class CalibrationErrors:
    """Three measures of the distance between confidence and correctness, each in [0, 1]; 0 is perfect.

    Attributes:
        ece: mean over images of |share correct - mean confidence| in each of 15 bins of equal width.
        ece_equal_mass: the same with bins of as many images as ties allow.
        smooth_ece: without bins (see `smooth_ece`).
    """

    ece: Floats
    ece_equal_mass: Floats
    smooth_ece: Floats


def fit_temperature(logits: NDArray[np.floating[Any]], labels: Labels) -> float:
    """Return the T in [1/20, 20] for which softmax(logits / T) has the smallest log loss; the argmax stays.

    The loss is convex in 1 / T, so the search on log T has one minimum. An end of the range means that the loss
    still falls there, as when every image is right.

    Args:
        logits: (N, C) of validation images. labels: (N,).

    Raises:
        DataError: when the images show one class only, or there are none.

    Source: Guo et al. 2017, arXiv:1706.04599, section 4.2.
    """
    from scipy.optimize import minimize_scalar
    from scipy.special import logsumexp

    if len(np.unique(labels)) < 2:
        raise DataError(
            found=f"{len(np.unique(labels))} class(es) in the {len(labels)} images that a temperature is fitted on.",
            expected="images of at least two classes: on one alone, being ever surer is always better.",
            fix="give val images of every class.",
        )
    values = np.asarray(logits, dtype=np.float64)
    chosen = values[np.arange(len(values)), labels]

    def loss(log_temperature: float) -> float:
        scale = np.exp(-log_temperature)
        return float((logsumexp(values * scale, axis=1) - chosen * scale).mean())

    ends = (-np.log(HOTTEST), np.log(HOTTEST))
    return float(np.exp(minimize_scalar(loss, bounds=ends, method="bounded", options={"xatol": 1e-8}).x))


def judge_calibration(logits: NDArray[np.floating[Any]], labels: Labels, temperature: float = 1.0) -> dict[str, Any]:
    """Return how well softmax(logits / temperature) is calibrated, as plain data.

    Returns:
        log_loss; ece, ece_equal_mass and smooth_ece, each as {value, perfect: {mean, interval}}: what it is, and
        what a perfectly calibrated model with these confidences shows on as many images, on average and in 95 % of
        cases; reliability: see `reliability`.
    """
    probs = softmax(np.asarray(logits, dtype=np.float64) / temperature)
    confidence, correct = probs.max(axis=1), probs.argmax(axis=1) == labels
    values, perfect = calibration_errors(confidence, correct), perfect_errors(confidence)
    entries = {
        name: {"value": float(value[0]), "perfect": _mean_and_reach(getattr(perfect, name))}
        for name, value in vars(values).items()
    }
    return {"log_loss": log_loss(probs, labels), **entries, "reliability": reliability(confidence, correct)}


def calibration_errors(confidence: Floats, correct: NDArray[np.bool_]) -> CalibrationErrors:
    """Return the errors of one set of answers, (1,) each.

    Source: Guo et al. 2017, arXiv:1706.04599, section 2 (bins of equal width); Nguyen & O'Connor 2015,
    arXiv:1508.05154 (bins of equal mass).
    """
    order = np.argsort(confidence, kind="stable")
    return _errors(confidence[order], correct[order][None])


def perfect_errors(confidence: Floats, *, num_sets: int = NUM_PERFECT, seed: int = 0) -> CalibrationErrors:
    """Return the errors, (num_sets,) each, of a model that is right as often as `confidence` (N,) says.

    Each set draws every answer's correctness from Bernoulli(confidence). A function of the seed.

    Source: Broecker & Smith 2007, doi:10.1175/WAF993.1 (consistency resampling).
    """
    ordered = np.sort(confidence)
    parts = [_errors(ordered, correct) for correct in _perfect_outcomes(ordered, num_sets, seed)]
    return CalibrationErrors(*(np.concatenate([getattr(part, name) for part in parts]) for name in vars(parts[0])))


def reliability(confidence: Floats, correct: NDArray[np.bool_]) -> list[dict[str, Any]]:
    """Return the bins of equal width that hold images, for a reliability diagram.

    Returns:
        Records of low and high (ends of the bin), count, confidence (mean), accuracy (share correct) and its 95 %
        Wilson interval, which takes the images for independent.
    """
    bins = _cells(confidence) * NUM_BINS // NUM_CELLS
    rows = []
    for each in np.unique(bins):
        inside = bins == each
        count, right = int(inside.sum()), int(correct[inside].sum())
        rows.append(
            {
                "low": each / NUM_BINS,
                "high": (each + 1) / NUM_BINS,
                "count": count,
                "confidence": float(confidence[inside].mean()),
                "accuracy": right / count,
                "interval": list(wilson_interval(right, count)),
            }
        )
    return rows


def smooth_ece(residuals: Floats) -> Floats:
    """Return the smooth calibration error (R,) of R sets of answers, by bisection on the smoothing width.

    Residuals, smoothed over the confidence with a Gaussian of width sigma that is reflected at 0 and 1, leave the
    error integral |smoothed residual| d confidence, which falls as sigma grows; the smooth error is where it equals
    sigma. Reflection makes the cosines of [0, 1] the eigenfunctions of smoothing: each is multiplied by
    exp(-(pi k sigma)^2 / 2).

    Args:
        residuals: (R, G): for each of G equal cells of [0, 1] the sum of confidence - correct, divided by N.

    Source: Blasiok & Nakkiran 2024, arXiv:2309.12236, section 3 and appendix.
    """
    from scipy.fft import dct, idct

    cosines = dct(residuals, axis=1)
    frequencies = np.pi * np.arange(residuals.shape[1])
    low, high = np.zeros(len(residuals)), np.ones(len(residuals))
    for _ in range(BISECTIONS):
        width = (low + high) / 2
        smoothed = idct(cosines * np.exp(-((width[:, None] * frequencies) ** 2) / 2), axis=1)
        above = np.abs(smoothed).sum(axis=1) > width
        low, high = np.where(above, width, low), np.where(above, high, width)
    return (low + high) / 2


def _errors(ordered: Floats, correct: NDArray[np.bool_]) -> CalibrationErrors:
    """Return the errors (R,) of R sets: `ordered` confidences (N,), ascending, and whether each is correct (R, N)."""
    num_images = len(ordered)
    missed = np.zeros((len(correct), num_images + 1))  # running sum of confidence - correct
    np.cumsum(ordered - correct, axis=1, out=missed[:, 1:])
    ends = np.searchsorted(_cells(ordered), np.arange(NUM_CELLS + 1))  # of the cells, as places in the order
    masses = np.searchsorted(ordered, ordered[num_images * np.arange(NUM_BINS) // NUM_BINS])
    residuals = np.diff(missed[:, ends], axis=1) / num_images
    widths, masses = ends[:: NUM_CELLS // NUM_BINS], np.unique(np.append(masses, num_images))
    return CalibrationErrors(
        ece=_absolute_sum(missed, widths) / num_images,
        ece_equal_mass=_absolute_sum(missed, masses) / num_images,
        smooth_ece=smooth_ece(residuals),
    )


def _absolute_sum(missed: Floats, ends: NDArray[np.int64]) -> Floats:
    total: Floats = np.abs(np.diff(missed[:, ends], axis=1)).sum(axis=1)
    return total


def _cells(confidence: Floats) -> NDArray[np.int64]:
    """Return the cell (N,) of each confidence; 1.0 lies in the last one."""
    return np.minimum((confidence * NUM_CELLS).astype(np.int64), NUM_CELLS - 1)


def _perfect_outcomes(ordered: Floats, num_sets: int, seed: int) -> Iterator[NDArray[np.bool_]]:
    """Yield, in chunks, (r, N): whether each answer is correct in each of the sets."""
    rng = np.random.default_rng(seed)
    rows = max(1, CHUNK_CELLS // max(len(ordered), NUM_CELLS))
    for start in range(0, num_sets, rows):
        yield rng.random((min(rows, num_sets - start), len(ordered))) < ordered


def _mean_and_reach(values: Floats) -> dict[str, Any]:
    return {"mean": float(values.mean()), "interval": [float(end) for end in np.quantile(values, [0.025, 0.975])]}
