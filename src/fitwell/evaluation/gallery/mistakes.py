"""The images that were named wrongly, and the classes that are taken for one another. Never reaches torch."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fitwell.data.finding import printable
from fitwell.data.table import escape_cell
from fitwell.evaluation.metrics import softmax

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = ("id", "path", "group", "actual", "predicted", "confidence", "loss")
MOST_PAIRS = 6


def find_mistakes(
    images: pd.DataFrame, logits: NDArray[np.floating[Any]], classes: tuple[str, ...]
) -> list[dict[str, Any]]:
    """Return the images whose likeliest class is not theirs: the largest loss first, of equals by id.

    Args:
        images: N rows with id, path, label and maybe group. logits: (N, C) in the same order. classes: C names.

    Returns: of each image the `COLUMNS`. confidence: P(predicted). loss: -ln P(actual), in nats; from the logits, so
        that it tells apart even what has a probability of 0.
    """
    probs, values = softmax(logits), np.asarray(logits, dtype=np.float64)
    highest = values.max(axis=1, keepdims=True)
    log_totals = (highest + np.log(np.exp(values - highest).sum(axis=1, keepdims=True)))[:, 0]
    predicted, code = probs.argmax(axis=1), {name: index for index, name in enumerate(classes)}
    groups = images["group"].astype(str).tolist() if "group" in images.columns else [""] * len(images)
    told = zip(images["id"].astype(str), images["path"], groups, images["label"], strict=True)
    mistakes = [
        {
            "id": name,
            "path": path,
            "group": group,
            "actual": actual,
            "predicted": classes[predicted[row]],
            "confidence": float(probs[row, predicted[row]]),
            "loss": float(log_totals[row] - values[row, code[actual]]),
        }
        for row, (name, path, group, actual) in enumerate(told)
        if classes[predicted[row]] != actual
    ]
    return sorted(mistakes, key=lambda mistake: (-mistake["loss"], mistake["id"]))


def find_confused_pairs(mistakes: list[dict[str, Any]], labels: Iterable[str]) -> list[dict[str, Any]]:
    """Return which classes were taken for which others, the most frequent first, at most `MOST_PAIRS`.

    Args:
        mistakes: those of `find_mistakes`. labels: the actual classes of all images that were judged.

    Returns: actual, predicted, count, and share: of the images of the actual class, in (0, 1].
    """
    totals, counts = Counter(labels), Counter((mistake["actual"], mistake["predicted"]) for mistake in mistakes)
    pairs = [
        {"actual": actual, "predicted": predicted, "count": count, "share": count / totals[actual]}
        for (actual, predicted), count in sorted(counts.items())
    ]
    return sorted(pairs, key=lambda pair: (-pair["count"], -pair["share"]))[:MOST_PAIRS]


def mistakes_csv(mistakes: list[dict[str, Any]]) -> str:
    """Return a line for each of `mistakes`, as a person can read it; no cell begins as a formula does."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(COLUMNS)
    for mistake in mistakes:
        told = [escape_cell(printable(mistake[name])) for name in COLUMNS[:-2]]
        writer.writerow([*told, f"{mistake['confidence']:.6f}", f"{mistake['loss']:.6f}"])
    return buffer.getvalue()
