"""The val numbers of an epoch, from logits: of single classes, of ordered ones, and of several classes an image."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fitwell.evaluation.metrics import all_metrics, recall_per_class, softmax
from fitwell.evaluation.multi_label import average_precisions, naming_metrics, ranking_metrics, sigmoid


def epoch_metrics(
    logits: NDArray[np.floating[Any]], labels: NDArray[Any], *, ordered: bool = False
) -> dict[str, float | None]:
    """Return the metrics by which epochs can be chosen; of several classes an image, those that need no threshold.

    Args:
        logits: (N, C). labels: (N,) in [0, C), or (N, C) whether the image shows the class.
        ordered: whether the classes go from less to more.
    """
    if labels.ndim == 2:
        return ranking_metrics(sigmoid(logits), labels)
    return all_metrics(softmax(logits), labels, ordered=ordered)


def train_metrics(logits: NDArray[np.floating[Any]], labels: NDArray[Any]) -> dict[str, float | None]:
    """Return the loss and the share of images that are recognised, of several classes each from 0.5 on."""
    found = epoch_metrics(logits, labels)
    share = naming_metrics(logits > 0, labels)["exact_match"] if labels.ndim == 2 else found["accuracy"]
    return {"loss": found["log_loss"], "exact_match" if labels.ndim == 2 else "accuracy": share}


def class_records(
    logits: NDArray[np.floating[Any]], labels: NDArray[Any], classes: tuple[str, ...]
) -> dict[str, dict[str, float | None]]:
    """Return one number of every class, under the key of an epoch record: recall, or average precision of several."""
    if labels.ndim == 2:
        values = average_precisions(sigmoid(logits), labels)
        return {"val_average_precision": dict(zip(classes, values, strict=True))}
    return {"val_per_class": dict(zip(classes, recall_per_class(softmax(logits), labels), strict=True))}
