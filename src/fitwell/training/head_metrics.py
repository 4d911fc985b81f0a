"""The val metrics of many heads at once: the same numbers as `evaluation/metrics.py`, for a whole stack of logits."""

from __future__ import annotations

import torch
from torch import Tensor


def metric_of_heads(metric: str, logits: Tensor, labels: Tensor) -> Tensor:
    """Return the metric (P,) float64 of P heads; NaN where it is not defined or a logit is not finite.

    Args:
        metric: one of `fitwell.evaluation.metrics.METRICS` or `ORDERED_METRICS`; of several classes an image, one of
            `fitwell.evaluation.multi_label.RANKING_METRICS`.
        logits: (P, C, M). labels: (M,) int64 in [0, C), or (M, C) bool whether the image shows the class.
    """
    several = labels.ndim == 2
    probs = logits.double().sigmoid() if several else logits.double().softmax(dim=1)
    values = (_METRICS_OF_SEVERAL if several else _METRICS)[metric](probs, labels)
    return torch.where(probs.isfinite().all(dim=2).all(dim=1), values, torch.nan)


def _accuracy(probs: Tensor, labels: Tensor) -> Tensor:
    return (probs.argmax(dim=1) == labels).double().mean(dim=1)


def _balanced_accuracy(probs: Tensor, labels: Tensor) -> Tensor:
    matrix = _confusion_matrices(probs, labels)
    return (matrix.diagonal(dim1=1, dim2=2) / matrix.sum(dim=2)).nanmean(dim=1)


def _macro_f1(probs: Tensor, labels: Tensor) -> Tensor:
    matrix = _confusion_matrices(probs, labels)
    return (2 * matrix.diagonal(dim1=1, dim2=2) / (matrix.sum(dim=1) + matrix.sum(dim=2))).nanmean(dim=1)


def _auc(probs: Tensor, labels: Tensor) -> Tensor:
    """Return the mean over the classes of the share of ordered pairs; of two classes the second alone."""
    num_classes = probs.shape[1]
    classes = range(num_classes) if num_classes > 2 else (1,)
    return torch.stack([_area(probs[:, index], labels == index) for index in classes]).mean(dim=0)


def _area(scores: Tensor, positive: Tensor) -> Tensor:
    """Return the share (P,) of pairs in which the positive has the higher score (P, M); a tie counts one half."""
    positives, negatives = scores[:, positive].contiguous(), scores[:, ~positive].sort(dim=1).values
    below = torch.searchsorted(negatives, positives) + torch.searchsorted(negatives, positives, right=True)
    return below.double().mean(dim=1) / (2 * negatives.shape[1])


def _log_loss(probs: Tensor, labels: Tensor) -> Tensor:
    eps = torch.finfo(torch.float64).eps
    chosen = probs.gather(1, labels.expand(len(probs), 1, -1))[:, 0]  # (P, M)
    return -chosen.clamp(eps, 1 - eps).log().mean(dim=1)


def _quadratic_kappa(probs: Tensor, labels: Tensor) -> Tensor:
    matrix = _confusion_matrices(probs, labels)
    steps = torch.arange(matrix.shape[1], device=labels.device, dtype=torch.float64)
    distance = (steps[:, None] - steps) ** 2
    by_chance = torch.einsum("pi,ij,pj->p", matrix.sum(dim=2), distance, matrix.sum(dim=1))
    return 1 - len(labels) * (matrix * distance).sum(dim=(1, 2)) / by_chance


def _mean_absolute_error(probs: Tensor, labels: Tensor) -> Tensor:
    return (probs.argmax(dim=1) - labels).abs().double().mean(dim=1)


def _confusion_matrices(probs: Tensor, labels: Tensor) -> Tensor:
    """Return counts (P, C, C) float64: rows are the actual class, columns the predicted one."""
    num_heads, num_classes, _ = probs.shape
    first_cells = torch.arange(num_heads, device=labels.device)[:, None] * num_classes**2
    cells = first_cells + labels * num_classes + probs.argmax(dim=1)  # (P, M)
    counts = cells.flatten().bincount(minlength=num_heads * num_classes**2)
    return counts.view(num_heads, num_classes, num_classes).double()  # or a ratio of them would be float32


def _auc_of_several(probs: Tensor, targets: Tensor) -> Tensor:
    return torch.stack([_area(probs[:, index], shown) for index, shown in enumerate(targets.T)]).mean(dim=0)


def _average_precision(probs: Tensor, targets: Tensor) -> Tensor:
    """Return the mean over the classes of the mean precision (P,) at the probability of each image that shows one."""
    return torch.stack([_precision(probs[:, index], shown) for index, shown in enumerate(targets.T)]).mean(dim=0)


def _precision(scores: Tensor, positive: Tensor) -> Tensor:
    found = scores[:, positive].contiguous()
    hits, named = (
        each.shape[1] - torch.searchsorted(each.sort(dim=1).values, found) for each in (found, scores)
    )  # (P, positives) that reach each score
    return (hits.double() / named).mean(dim=1)


def _log_loss_of_several(probs: Tensor, targets: Tensor) -> Tensor:
    eps = torch.finfo(torch.float64).eps
    return -torch.where(targets.T, probs, 1 - probs).clamp(eps, 1 - eps).log().mean(dim=(1, 2))


_METRICS = {
    "accuracy": _accuracy,
    "balanced_accuracy": _balanced_accuracy,
    "macro_f1": _macro_f1,
    "auc": _auc,
    "log_loss": _log_loss,
    "quadratic_kappa": _quadratic_kappa,
    "mean_absolute_error": _mean_absolute_error,
}
_METRICS_OF_SEVERAL = {
    "auc": _auc_of_several,
    "average_precision": _average_precision,
    "log_loss": _log_loss_of_several,
}
