"""What corruptions of the pictures cost a classifier: metrics under each, and the paired drop against clean pictures.

Clean and corrupted pictures are resampled together, by images or by whole groups, so that a drop has the interval of a
difference on the same images. The intervals speak of other images like these, not of other corruptions. Never reaches
torch.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fitwell.evaluation.evaluate import CONFIDENCE, Judged, headline
from fitwell.evaluation.intervals import Floats, Resamples, Units, entry_of, find_units, interval_of, resample
from fitwell.evaluation.metrics import accuracy, balanced_accuracy, is_of_classes, recall_per_class
from fitwell.evaluation.paired_tests import bootstrap_p, holm

METRICS = {"accuracy": accuracy, "balanced_accuracy": balanced_accuracy}
MAIN = "balanced_accuracy"  # by which corruptions are told apart
LEVEL = 0.05  # of telling a corruption from the one that costs most, over all of them together


@dataclass(frozen=True)
class Corrupted:
    """The images of an evaluation, in their order, under one corruption.

    Attributes:
        name: of the corruption. severity: from 1. level: what the severity means. probs: (N, C).
    """

    name: str
    severity: int
    level: float
    probs: NDArray[np.float64]


@dataclass(frozen=True)
class Quantity:
    """A number of the images, None where it is not defined, and what it is in each of B resamples, (B,)."""

    value: float | None
    drawn: Floats

    def less(self, other: Quantity) -> Quantity:
        """Return the difference from `other` on the same images."""
        if self.value is None or other.value is None:
            return Quantity(None, self.drawn - other.drawn)
        return Quantity(self.value - other.value, self.drawn - other.drawn)


@dataclass(frozen=True)
class Measured:
    """The metrics of one set of pictures by name, and the recall of each of C classes."""

    metrics: dict[str, Quantity]
    recalls: list[Quantity]


def judge_robustness(clean: Judged, corrupted: Iterable[Corrupted], classes: tuple[str, ...]) -> dict[str, Any]:
    """Return what corruptions cost, as plain data.

    Args:
        clean: the images as they are. corrupted: all severities of a corruption together. classes: C names.

    Returns:
        clean: accuracy and balanced accuracy with intervals; mean: the same on average over all corruptions and
        severities, with `drop`; corruptions: of each its name, `drop` (the mean over its severities) and `severities`,
        each with its metrics, `drop` and `per_class` (recall clean and corrupted, and its drop); most_sensitive: by
        balanced accuracy, see `most_sensitive`. A drop is clean less corrupted.
    """
    units = find_units(clean.labels, clean.groups)
    before, of_clean = _measure(clean, units)
    measured: dict[str, list[dict[str, Quantity]]] = {}
    severities: dict[str, list[dict[str, Any]]] = {}
    for each in corrupted:
        after, entries = _measure(replace(clean, probs=each.probs), units)
        drop = _drops(before.metrics, after.metrics, clean, units)
        per_class = _per_class(before, after, clean, units, classes)
        row = {"severity": each.severity, "level": each.level, **entries, "drop": drop, "per_class": per_class}
        measured.setdefault(each.name, []).append(after.metrics)
        severities.setdefault(each.name, []).append(row)
    by_name = {name: _mean(found) for name, found in measured.items()}
    mean = _mean([metrics for found in measured.values() for metrics in found])
    return {
        "num_images": len(clean.labels),
        "num_groups": clean.num_groups,
        "classes": list(classes),
        "confidence": CONFIDENCE,
        "clean": of_clean,
        "mean": _mean_entries(before.metrics, mean, clean, units),
        "corruptions": [
            {"name": name, "drop": _drops(before.metrics, each, clean, units), "severities": severities[name]}
            for name, each in by_name.items()
        ],
        "most_sensitive": most_sensitive(
            {name: before.metrics[MAIN].less(each[MAIN]) for name, each in by_name.items()}, units
        ),
    }


def most_sensitive(drops: Mapping[str, Quantity], units: Units) -> list[str]:
    """Return the name of the largest of `drops` and those that cannot be told from it, the larger ones first.

    Each is compared with the largest by the paired bootstrap, adjusted after Holm.
    """
    first, *others = sorted(drops, key=lambda name: -(drops[name].value or 0.0))
    of_classes = is_of_classes(MAIN)
    p_values = [bootstrap_p(drops[first].less(drops[name]).drawn, units, of_classes=of_classes) for name in others]
    adjusted = holm([1.0 if p is None else p for p in p_values])
    return [first, *(name for name, p in zip(others, adjusted, strict=True) if p >= LEVEL)]


def _measure(judged: Judged, units: Units) -> tuple[Measured, dict[str, Any]]:
    """Return the metrics with their resamples, and as they are written down."""
    values = {name: metric(judged.probs, judged.labels) for name, metric in METRICS.items()}
    drawn: Resamples = resample(judged.probs, judged.labels, units, names=METRICS)
    recalls = recall_per_class(judged.probs, judged.labels)
    measured = Measured(
        {name: Quantity(value, drawn.metrics[name]) for name, value in values.items()},
        [Quantity(value, drawn.recall[:, index]) for index, value in enumerate(recalls)],
    )
    return measured, headline(judged, units, values, drawn)


def _mean_entries(
    before: Mapping[str, Quantity], mean: Mapping[str, Quantity], clean: Judged, units: Units
) -> dict[str, Any]:
    entries = {
        name: _entry(each, clean, units, bounds=(0.0, 1.0), of_classes=is_of_classes(name))
        for name, each in mean.items()
    }
    return {**entries, "drop": _drops(before, mean, clean, units)}


def _drops(
    before: Mapping[str, Quantity], after: Mapping[str, Quantity], clean: Judged, units: Units
) -> dict[str, dict[str, Any]]:
    return {
        name: _entry(before[name].less(after[name]), clean, units, of_classes=is_of_classes(name)) for name in METRICS
    }


def _per_class(
    before: Measured, after: Measured, clean: Judged, units: Units, classes: tuple[str, ...]
) -> list[dict[str, Any]]:
    pairs = zip(classes, before.recalls, after.recalls, strict=True)
    return [
        {"class": name, "clean": one.value, "corrupted": other.value, "drop": _entry(one.less(other), clean, units)}
        for name, one, other in pairs
    ]


def _entry(
    quantity: Quantity,
    clean: Judged,
    units: Units,
    *,
    bounds: tuple[float, float] = (-1.0, 1.0),
    of_classes: bool = False,
) -> dict[str, Any]:
    interval = interval_of(
        quantity.drawn,
        quantity.value,
        units,
        labels=clean.labels,
        confidence=CONFIDENCE,
        bounds=bounds,
        of_classes=of_classes,
    )
    return entry_of(quantity.value, interval)


def _mean(measured: Sequence[Mapping[str, Quantity]]) -> dict[str, Quantity]:
    """Return the mean of each metric, which images of a class always have."""
    return {
        name: Quantity(
            float(np.mean([each[name].value for each in measured])),
            np.mean([each[name].drawn for each in measured], axis=0),
        )
        for name in METRICS
    }
