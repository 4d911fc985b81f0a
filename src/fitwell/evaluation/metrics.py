"""How good are predictions: pure functions of (N, C) probabilities and (N,) labels.

Everything here agrees with scikit-learn where scikit-learn is defined, and is None where a metric is not
defined; it is never NaN. Runs after every epoch, so it needs numpy only. Intervals live in intervals.py.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fitwell.evaluation.class_counts import COUNTED, ClassCounts

Probs = NDArray[np.floating[Any]]
Labels = NDArray[np.integer[Any]]

METRICS = ("accuracy", "balanced_accuracy", "macro_f1", "auc", "log_loss")
ORDERED_METRICS = ("quadratic_kappa", "mean_absolute_error")  # of classes that go from less to more
FURTHER_METRICS = (  # of evaluations only: epochs are chosen by the ones above
    "macro_precision",
    "weighted_precision",
    "weighted_f1",
    "matthews_correlation",
    "cohen_kappa",
    "brier_score",
)
OF_CLASSES = (  # means over classes, or over pairs of images of two classes
    "balanced_accuracy",
    "macro_f1",
    "macro_precision",
    "matthews_correlation",
    "auc",
    "average_precision",
    "partial_auc",
    "sensitivity_at_95_specificity",
)


def softmax(logits: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Return probabilities (N, C), rows summing to 1, from logits (N, C); a row that is not finite becomes NaN."""
    values = np.asarray(logits, dtype=np.float64)
    with np.errstate(invalid="ignore"):  # infinity minus infinity, in a network that diverged
        powers = np.exp(values - values.max(axis=1, keepdims=True))
    probs: NDArray[np.float64] = powers / powers.sum(axis=1, keepdims=True)
    return probs


def higher_is_better(metric: str) -> bool:
    """Return whether more of `metric` is better; losses and errors are worse when they grow."""
    return metric not in ("log_loss", "brier_score", "mean_absolute_error", "hamming_loss")


def is_of_classes(metric: str) -> bool:
    """Return whether a class counts alike in `metric` however few images it has, so that rare ones make it unsure."""
    return metric in OF_CLASSES


def bounds_of(metric: str, num_classes: int) -> tuple[float, float]:
    """Return the least and the largest value of a `metric` that has an interval."""
    if metric in ("matthews_correlation", "cohen_kappa", "quadratic_kappa"):
        return -1.0, 1.0
    if metric == "mean_absolute_error":
        return 0.0, num_classes - 1.0
    return 0.0, 2.0 if metric == "brier_score" and num_classes > 2 else 1.0


def all_metrics(probs: Probs, labels: Labels, *, ordered: bool = False) -> dict[str, float | None]:
    """Return every metric of `METRICS`, and of `ORDERED_METRICS` where the classes have an order.

    Args:
        probs: (N, C), rows sum to 1. labels: (N,) in [0, C).
        ordered: whether the classes go from less to more.

    Returns:
        Numbers in [0, 1], higher is better, but log_loss in [0, inf), lower is better; quadratic_kappa in [-1, 1];
        mean_absolute_error in [0, C - 1], lower is better. None where a metric is
        not defined; all are None when a probability is not finite, because nothing was predicted then.
    """
    if not np.isfinite(probs).all():
        return dict.fromkeys(METRICS + ORDERED_METRICS * ordered)
    found = {
        "accuracy": accuracy(probs, labels),
        "balanced_accuracy": balanced_accuracy(probs, labels),
        "macro_f1": macro_f1(probs, labels),
        "auc": auc(probs, labels),
        "log_loss": log_loss(probs, labels),
    }
    if ordered:
        found["quadratic_kappa"] = quadratic_kappa(probs, labels)
        found["mean_absolute_error"] = mean_absolute_error(probs, labels)
    return found


def further_metrics(probs: Probs, labels: Labels) -> dict[str, float | None]:
    """Return every metric of `FURTHER_METRICS`; None where one is not defined. See class_counts.py for each.

    Macro recall is the balanced accuracy, and weighted recall the accuracy: they are among `METRICS`.
    """
    matrix = confusion_matrix(probs, labels).astype(np.float64)[None]
    counts = ClassCounts(matrix.sum(axis=2), matrix.sum(axis=1), matrix.diagonal(axis1=1, axis2=2))
    found = {name: _or_none(COUNTED[name](counts)[0]) for name in FURTHER_METRICS if name in COUNTED}
    return {**found, "brier_score": brier_score(probs, labels)}


def accuracy(probs: Probs, labels: Labels) -> float | None:
    """Return the share of images whose most probable class is right, in [0, 1]; None without images."""
    return float((probs.argmax(axis=1) == labels).mean()) if len(labels) else None


def balanced_accuracy(probs: Probs, labels: Labels) -> float | None:
    """Return the mean recall of the classes that have images, in [0, 1]; None without images.

    Always answering one class gives 1/C, however unequal the classes are.
    """
    return mean([recall for recall in recall_per_class(probs, labels) if recall is not None])


def macro_f1(probs: Probs, labels: Labels) -> float | None:
    """Return the mean F1 of the classes that have images or predictions, in [0, 1]; None without images."""
    return mean([score for score in _f1_per_class(confusion_matrix(probs, labels)) if score is not None])


def auc(probs: Probs, labels: Labels) -> float | None:
    """Return the area under the ROC curve, in [0, 1]; 0.5 is chance. None when a class has no images.

    Two classes: of P(class 1). More: the mean over classes of "this one against the rest". It is the share of
    (positive, negative) pairs in which the positive has the higher score; a tie counts one half.

    Source: Hanley & McNeil 1982, doi:10.1148/radiology.143.1.7063747.
    """
    areas = auc_per_class(probs, labels)
    defined = [area for area in areas if area is not None]
    return mean(defined) if len(defined) == len(areas) else None


def log_loss(probs: Probs, labels: Labels) -> float | None:
    """Return the mean of -ln P(true class), in [0, 36.05], lower is better; None without images.

    Probabilities are clipped to [eps, 1 - eps] of float64, as scikit-learn does, so one sure mistake is finite.
    """
    if not len(labels):
        return None
    eps = np.finfo(np.float64).eps
    chosen = np.asarray(probs, dtype=np.float64)[np.arange(len(labels)), labels]  # (N,)
    return float(-np.log(np.clip(chosen, eps, 1 - eps)).mean())


def brier_score(probs: Probs, labels: Labels) -> float | None:
    """Return the mean squared error of the probabilities, lower is better; None without images.

    Two classes: of P(class 1) alone, in [0, 1]. More: summed over the classes, as Brier wrote it, in [0, 2].
    Both as scikit-learn's brier_score_loss has them.

    Source: Brier 1950, doi:10.1175/1520-0493(1950)078<0001:VOFEIT>2.0.CO;2.
    """
    return float(brier_losses(probs, labels).mean()) if len(labels) else None


def brier_losses(probs: Probs, labels: Labels) -> NDArray[np.float64]:
    """Return each image's squared error (N,), of which the Brier score is the mean."""
    wanted = np.eye(probs.shape[1])[labels]
    squares: NDArray[np.float64] = ((np.asarray(probs, dtype=np.float64) - wanted) ** 2).sum(axis=1)
    return squares / 2 if probs.shape[1] == 2 else squares


def quadratic_kappa(probs: Probs, labels: Labels) -> float | None:
    """Return how far ordered classes agree beyond chance, in [-1, 1]; a mistake counts by its distance squared.

    1 is perfect, 0 what chance gives with the same frequencies. None where every image is, and is called, one class.

    Source: Cohen 1968, doi:10.1037/h0026256.
    """
    matrix = confusion_matrix(probs, labels).astype(np.float64)
    distance = squared_distances(len(matrix))
    by_chance = (distance * np.outer(matrix.sum(axis=1), matrix.sum(axis=0))).sum()
    return float(1 - matrix.sum() * (distance * matrix).sum() / by_chance) if by_chance else None


def squared_distances(num_classes: int) -> NDArray[np.float64]:
    """Return (C, C): the squared number of steps from each of C ordered classes to each."""
    steps = np.arange(num_classes, dtype=np.float64)
    distances: NDArray[np.float64] = (steps[:, None] - steps) ** 2
    return distances


def mean_absolute_error(probs: Probs, labels: Labels) -> float | None:
    """Return by how many steps the predicted class of ordered ones is wrong, on average; None without images."""
    return float(abs(probs.argmax(axis=1) - labels).mean()) if len(labels) else None


def confusion_matrix(probs: Probs, labels: Labels) -> NDArray[np.int64]:
    """Return counts (C, C): rows are the actual class, columns the predicted one."""
    num_classes = probs.shape[1]
    cells = np.asarray(labels, dtype=np.int64) * num_classes + probs.argmax(axis=1)
    return np.bincount(cells, minlength=num_classes**2).reshape(num_classes, num_classes)


def recall_per_class(probs: Probs, labels: Labels) -> list[float | None]:
    """Return for each of C classes the share of its images that were recognised; None for one without images."""
    matrix = confusion_matrix(probs, labels)
    return [ratio(hit, total) for hit, total in zip(matrix.diagonal(), matrix.sum(axis=1), strict=True)]


def per_class(probs: Probs, labels: Labels, classes: tuple[str, ...]) -> list[dict[str, Any]]:
    """Return for each class its name, counts, precision, recall, F1 and AUC against the rest.

    Returns:
        Records of class, support (actual images), predicted (images given this class), correct, and scores in
        [0, 1] that are None where not defined: precision of a class never predicted, recall of one without images.
    """
    matrix = confusion_matrix(probs, labels)
    correct, support, predicted = matrix.diagonal(), matrix.sum(axis=1), matrix.sum(axis=0)
    f1, areas = _f1_per_class(matrix), one_against_rest(probs, labels)
    return [
        {
            "class": name,
            "support": int(support[index]),
            "predicted": int(predicted[index]),
            "correct": int(correct[index]),
            "precision": ratio(correct[index], predicted[index]),
            "recall": ratio(correct[index], support[index]),
            "f1": f1[index],
            "auc": areas[index],
        }
        for index, name in enumerate(classes)
    ]


def auc_per_class(probs: Probs, labels: Labels) -> list[float | None]:
    """Return the areas whose mean is the AUC: one for two classes, else C, each against the rest."""
    return one_against_rest(probs, labels)[1:] if probs.shape[1] == 2 else one_against_rest(probs, labels)


def one_against_rest(probs: Probs, labels: Labels) -> list[float | None]:
    """Return for each of C classes the AUC of its probability; None when it or the rest has no images."""
    return [area(probs[:, index], labels == index) for index in range(probs.shape[1])]


def roc_curve(scores: NDArray[np.floating[Any]], positive: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the ROC curve as points (T, 2) of (false positive rate, true positive rate), from (0, 0) to (1, 1).

    Args:
        scores: (N,). positive: (N,); must hold both True and False.
    """
    order = np.argsort(-scores, kind="stable")
    last_of_tie = np.append(np.diff(scores[order]) != 0, True)
    hits = np.cumsum(positive[order])[last_of_tie]
    false_alarms = np.cumsum(~positive[order])[last_of_tie]
    points = np.column_stack([false_alarms / false_alarms[-1], hits / hits[-1]])
    return np.vstack([np.zeros((1, 2)), points])


def area(scores: NDArray[np.floating[Any]], positive: NDArray[np.bool_]) -> float | None:
    """Return the share of pairs in which a positive (N,) has the higher score, a tie for one half; None without pairs.

    The Mann-Whitney statistic, from mid-ranks.
    """
    num_positive = int(positive.sum())
    num_negative = len(positive) - num_positive
    if num_positive == 0 or num_negative == 0:
        return None
    _, places, counts = np.unique(scores, return_inverse=True, return_counts=True)
    midranks = np.cumsum(counts) - (counts - 1) / 2  # 1-based; ties share the mean of their ranks
    rank_sum = midranks[places][positive].sum()
    return float((rank_sum - num_positive * (num_positive + 1) / 2) / (num_positive * num_negative))


def _f1_per_class(matrix: NDArray[np.int64]) -> list[float | None]:
    totals = matrix.sum(axis=0) + matrix.sum(axis=1)
    return [ratio(2 * hit, total) for hit, total in zip(matrix.diagonal(), totals, strict=True)]


def ratio(part: np.integer[Any], whole: np.integer[Any]) -> float | None:
    """Return part / whole; None of nothing."""
    return float(part / whole) if whole else None


def _or_none(value: np.floating[Any]) -> float | None:
    return None if np.isnan(value) else float(value)


def mean(values: list[float]) -> float | None:
    """Return the mean; None without values."""
    return float(np.mean(values)) if values else None
