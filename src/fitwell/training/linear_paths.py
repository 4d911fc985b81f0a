"""Linear heads that need no training loop: ridge regression and logistic regression along a path of strengths.

Both work in the coordinates of the principal axes, where ridge regression is a division and where the curvature of
the logistic loss is nearly diagonal, so that every coordinate can be brought to the same scale before L-BFGS.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

TYPICAL_CURVATURE = 0.03  # p * (1 - p) of a fairly sure answer; from 0.01 to 0.1 the number of steps hardly changes
MAX_STEPS = 500
ROUNDING_ENDED_IT = 2  # SciPy's status of a line search that no step satisfies; on some processors float32 gets there
GRADIENT_TOLERANCE = 3e-5  # of the mean loss, in coordinates of curvature near 1

Judge = Callable[[Tensor], tuple[Tensor, Tensor]]  # logits (C, N) float64 to the mean loss and its slopes (C, N)


@dataclass(frozen=True)
class LinearHeads:
    """P linear heads side by side; the logits of head p are `features @ weight[p].T + bias[p]`.

    Attributes:
        weight: (P, C, D) float32. bias: (P, C).
    """

    weight: Tensor
    bias: Tensor

    def logits(self, features: Tensor) -> Tensor:
        """Return (P, C, N) from features (N, D)."""
        num_heads, num_classes, width = self.weight.shape
        products = self.weight.reshape(-1, width) @ features.T  # (P * C, N)
        return products.view(num_heads, num_classes, -1) + self.bias[:, :, None]


@dataclass(frozen=True)
class PrincipalRows:
    """Weighted rows, centred and turned into the axes of their covariance.

    Attributes:
        coordinates: (N, R) with R = min(N, D). weights: (N,), mean 1.
        mean: (D,), weighted. axes: (D, R), orthonormal columns. variances: (R,), weighted, ascending.
    """

    coordinates: Tensor
    weights: Tensor
    mean: Tensor
    axes: Tensor
    variances: Tensor

    def to_heads(self, weight: Tensor, bias: Tensor) -> LinearHeads:
        """Return heads for rows from heads for coordinates: weight (P, C, R), bias (P, C)."""
        weight = weight @ self.axes.T  # (P, C, D)
        return LinearHeads(weight, bias - weight @ self.mean)


def principal_rows(rows: Tensor, weights: Tensor) -> PrincipalRows:
    """Return standardised `rows` (N, D) float32 in their principal axes; weights (N,) >= 0 have mean 1."""
    mean = weights @ rows / len(rows)
    covariance = rows.T @ (weights[:, None] * rows) / len(rows) - torch.outer(mean, mean)
    variances, axes = torch.linalg.eigh(covariance)
    variances, axes = variances[-len(rows) :].clamp_min(0), axes[:, -len(rows) :]  # N rows span at most N axes
    return PrincipalRows((rows @ axes).sub_(mean @ axes), weights, mean, axes, variances)


def ridge_path(rows: PrincipalRows, labels: Tensor, *, num_classes: int, alphas: Sequence[float]) -> LinearHeads:
    """Return one head for every alpha: least squares on 0/1 targets plus alpha times the squared weights.

    Args:
        labels: (N,) int64 in [0, C), or (N, C) bool of several classes an image.
        alphas: above 0, as in scikit-learn's `Ridge`: against the sum, not the mean, of the squared errors.

    Source: Hoerl & Kennard 1970, doi:10.1080/00401706.1970.10488634; one eigendecomposition serves every alpha.
    """
    targets = _zero_or_one(labels, num_classes) * rows.weights[:, None]  # (N, C)
    bias = targets.mean(dim=0)
    products = targets.T @ rows.coordinates / len(labels)  # (C, R); coordinates are centred, targets need not be
    decays = torch.tensor(alphas, device=labels.device)[:, None, None] / len(labels)
    return rows.to_heads(products / (rows.variances + decays), bias.expand(len(alphas), -1))


def logistic_path(
    rows: PrincipalRows, labels: Tensor, *, num_classes: int, costs: Sequence[float], weights: Tensor | None = None
) -> LinearHeads:
    """Return one head for every cost C: C times the summed cross-entropy plus half the squared weights.

    Each head starts from the one before, so ascending costs are fastest. Of several classes an image, each class is a
    logistic regression of its own.

    Args:
        labels: (N,) int64 in [0, C), or (N, C) bool of several classes an image.
        costs: above 0, as in scikit-learn's `LogisticRegression(C=...)`, also for two classes, where the squared
            weights are those of the difference of the two logits.
        weights: (N, C) in the loss of several classes an image; by default those of the rows.

    Source: Liu & Nocedal 1989, doi:10.1007/BF01589116, in coordinates of similar curvature.
    """
    if labels.ndim == 2:
        judge = _judge_each_class(labels, rows.weights[:, None] if weights is None else weights)
    else:
        judge = _judge_one_class(labels, rows.weights, num_classes)
    # A difference of d is d/2 and -d/2: half the squares.
    two_classes_share = 0.5 if num_classes == 2 and labels.ndim == 1 else 1.0
    weight = rows.coordinates.new_zeros((num_classes, len(rows.variances)))
    bias = weight.new_zeros((num_classes, 1))
    found: list[tuple[Tensor, Tensor]] = []
    for cost in costs:
        decay = 1 / (cost * two_classes_share * len(labels))
        weight, bias = _fit_logistic(rows, judge, decay, weight, bias)
        found.append((weight, bias[:, 0]))
    weight, bias = (torch.stack(each) for each in zip(*found, strict=True))
    return rows.to_heads(weight, bias)


def _zero_or_one(labels: Tensor, num_classes: int) -> Tensor:
    return (labels if labels.ndim == 2 else F.one_hot(labels, num_classes)).float()  # (N, C)


def _judge_one_class(labels: Tensor, weights: Tensor, num_classes: int) -> Judge:
    targets = F.one_hot(labels, num_classes).T  # (C, N)

    def judge(logits: Tensor) -> tuple[Tensor, Tensor]:
        log_probs = logits.log_softmax(dim=0)
        loss = -(weights * (targets * log_probs).sum(dim=0)).mean()
        return loss, weights / len(labels) * (log_probs.exp() - targets)

    return judge


def _judge_each_class(labels: Tensor, weights: Tensor) -> Judge:
    targets, weights = labels.T.double(), weights.T / len(labels)  # (C, N)

    def judge(logits: Tensor) -> tuple[Tensor, Tensor]:
        losses = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
        return (weights * losses).sum(), weights * (logits.sigmoid() - targets)

    return judge


def _fit_logistic(
    rows: PrincipalRows, judge: Judge, decay: float, weight: Tensor, bias: Tensor
) -> tuple[Tensor, Tensor]:
    """Return weight (C, R) and bias (C, 1) with the least mean loss plus decay / 2 times the squared weights."""
    from scipy.optimize import minimize
    from threadpoolctl import threadpool_limits

    scale = (TYPICAL_CURVATURE * rows.variances + decay).rsqrt()

    def unpack(variables: NDArray[np.float64], coordinates: Tensor) -> tuple[Tensor, Tensor]:
        columns = torch.from_numpy(variables).to(coordinates).view(len(weight), -1)  # (C, R + 1)
        return columns[:, :-1] * scale, columns[:, -1:]

    def loss_and_gradient(variables: NDArray[np.float64], coordinates: Tensor) -> tuple[float, NDArray[np.float64]]:
        weight, bias = unpack(variables, coordinates)
        mean_loss, slopes = judge((weight @ coordinates.T + bias).double())
        loss = mean_loss + decay / 2 * weight.double().square().sum()
        residuals = slopes.to(coordinates)
        gradient = (residuals @ coordinates + decay * weight) * scale
        columns = torch.cat([gradient, residuals.sum(dim=1, keepdim=True)], dim=1)
        return float(loss), columns.double().flatten().cpu().numpy()

    start = torch.cat([weight / scale, bias], dim=1).double().flatten().cpu().numpy()
    with threadpool_limits(1, user_api="blas"):  # SciPy's threads and torch's in turn: three times as slow on 2 cores
        for dtype in (torch.float32, torch.float64):
            found = minimize(
                loss_and_gradient,
                start,
                args=(rows.coordinates.to(dtype),),
                jac=True,
                method="L-BFGS-B",
                options={"maxiter": MAX_STEPS, "maxcor": 10, "gtol": GRADIENT_TOLERANCE, "ftol": 0.0},
            )
            if found.status != ROUNDING_ENDED_IT:
                break
            start = found.x
    return unpack(found.x, rows.coordinates)
