"""From the logits of images that show any number of classes to the folder of a split: predictions and metrics.

Which classes an image is given is decided by a threshold for each, chosen on val. Never reaches torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fitwell.data.labels import Labelling, join_names
from fitwell.errors import CheckpointError
from fitwell.evaluation.evaluate import (
    CONFIDENCE,
    groups_of,
    limits_of,
    predictions_table,
    require_judgeable,
    wilson,
)
from fitwell.evaluation.intervals import Interval, Units, entry_of, find_units, interval_of
from fitwell.evaluation.metrics import Probs, is_of_classes
from fitwell.evaluation.multi_label import (
    Targets,
    Thresholds,
    choose_thresholds,
    naming_metrics,
    per_class,
    ranking_metrics,
    sigmoid,
)
from fitwell.evaluation.multi_label_intervals import PER_CLASS, LabelSetResamples, resample_label_sets, strata_of
from fitwell.evaluation.slices import FEWEST_FOR_A_CLAIM, judge_slices
from fitwell.files import write_bytes, write_json
from fitwell.run_folder import RunFolder

if TYPE_CHECKING:
    import pandas as pd

SEVERAL = Labelling(several=True)
CHOSEN_ON = "val"


@dataclass(frozen=True)
class JudgedSets:
    """One set of judged images.

    Attributes:
        probs: (N, C). targets: (N, C) what they show. groups: (N,) names, or None when images are independent.
        thresholds: (C,) from which on an image is given a class.
    """

    probs: Probs
    targets: Targets
    groups: NDArray[Any] | None
    thresholds: Thresholds

    @property
    def named(self) -> Targets:
        """The classes (N, C) that each image is given."""
        return self.probs >= self.thresholds

    @property
    def num_groups(self) -> int | None:
        """How many groups there are; None when images are independent."""
        return None if self.groups is None else len(set(self.groups.tolist()))

    def only(self, chosen: NDArray[np.bool_]) -> JudgedSets:
        """Return the images that `chosen` (N,) names."""
        groups = None if self.groups is None else self.groups[chosen]
        return JudgedSets(self.probs[chosen], self.targets[chosen], groups, self.thresholds)


def write_label_set_evaluation(
    run: RunFolder,
    split: str,
    images: pd.DataFrame,
    logits: NDArray[np.floating[Any]],
    classes: tuple[str, ...],
    *,
    usual: str,
) -> dict[str, Any]:
    """Write `evaluation/<split>/` of `run` and return what metrics.json holds.

    On val the thresholds are chosen, once, and written to run.json; everywhere else they are taken from there.

    Args:
        split: the name of the folder; test, val, or another name for other images.
        images: N rows of split.csv. logits: (N, C) in the same order. classes: C names, in the order of logits.
        usual: the most frequent label of train; always answering it is the baseline.

    Raises:
        DataError: without images, when a label is no class of the run, or when a prediction is not finite.
        CheckpointError: when no thresholds were chosen yet.
    """
    require_judgeable(images, logits, classes, SEVERAL.classes(images["label"]))
    probs, targets = sigmoid(logits), SEVERAL.targets(images["label"].tolist(), classes)
    if split == CHOSEN_ON and "thresholds" not in run.read():
        run.update(thresholds=_choose(probs, targets, classes))
    chosen = read_thresholds(run)
    judged = JudgedSets(probs, targets, groups_of(images), np.array([chosen["values"][name] for name in classes]))
    metrics = {
        "split": split,
        "num_images": len(images),
        "num_groups": judged.num_groups,
        "classes": list(classes),
        "class_counts": dict(zip(classes, targets.sum(axis=0).tolist(), strict=True)),
        "num_of_no_class": int((~targets.any(axis=1)).sum()),
        "thresholds": chosen,
        "confidence": CONFIDENCE,
        **_with_intervals(judged, classes),
        "baseline": _baseline(judged, classes, usual),
        **_slices(judged, images),
    }
    metrics["notes"] = [*limits_of(metrics), *_limits_of_thresholds(metrics)]
    folder = run.evaluation(split)
    folder.mkdir(parents=True, exist_ok=True)
    answers = {"predicted": [join_names(names) for names in name_classes(judged.named, classes)]}
    write_bytes(folder / "predictions.parquet", predictions_table(images, answers, probs, classes))
    write_json(folder / "metrics.json", metrics)  # last: who finds it finds the rest
    return metrics


def read_thresholds(run: RunFolder) -> dict[str, Any]:
    """Return the thresholds of `run`: "values" of each class, and the "split" they were chosen on.

    Raises:
        CheckpointError: when the val images have not been judged, so that there are none.
    """
    record = run.read()
    if "thresholds" not in record:
        raise CheckpointError(
            found=f"the run {run.path} has no thresholds yet.",
            expected="those that are chosen when its val images are judged.",
            fix=f"judge them with: fitwell evaluate {run.path} --split val",
        )
    chosen: dict[str, Any] = record["thresholds"]
    return chosen


def name_classes(named: Targets, classes: tuple[str, ...]) -> list[list[str]]:
    """Return for each of N images the names of the classes that `named` (N, C) gives it."""
    return [[name for name, is_named in zip(classes, row, strict=True) if is_named] for row in named.tolist()]


def _choose(probs: Probs, targets: Targets, classes: tuple[str, ...]) -> dict[str, Any]:
    thresholds = choose_thresholds(probs, targets)
    return {
        "split": CHOSEN_ON,
        "rule": "largest F1 of each class, of equals the highest",
        "values": dict(zip(classes, thresholds.tolist(), strict=True)),
        "without_images": [name for name, count in zip(classes, targets.sum(axis=0), strict=True) if not count],
    }


def _with_intervals(judged: JudgedSets, classes: tuple[str, ...]) -> dict[str, Any]:
    """Return `metrics` and `per_class`, from one set of resamples."""
    units, drawn = _resample(judged)
    rows = per_class(judged.probs, judged.targets, judged.thresholds, classes)
    for index, row in enumerate(rows):
        shown = judged.targets[:, index].astype(np.int64)
        for name in PER_CLASS:
            total = {"recall": row["support"], "precision": row["predicted"]}.get(name)
            interval = (
                wilson(row["correct"], total)
                if total is not None and judged.groups is None
                else interval_of(drawn.per_class[name][:, index], row[name], units, labels=shown, confidence=CONFIDENCE)
            )
            row[name] = entry_of(row[name], interval)
    return {"metrics": _headline(judged, units, drawn), "per_class": rows}


def _resample(judged: JudgedSets) -> tuple[Units, LabelSetResamples]:
    units = find_units(strata_of(judged.targets), judged.groups)
    return units, resample_label_sets(judged.probs, judged.targets, judged.named, units)


def _headline(judged: JudgedSets, units: Units, drawn: LabelSetResamples) -> dict[str, dict[str, Any]]:
    """Return every metric as {value, interval, method, num_left_out}."""
    found = ranking_metrics(judged.probs, judged.targets) | naming_metrics(judged.named, judged.targets)
    strata, entries = strata_of(judged.targets), {}
    for name, value in found.items():
        interval: Interval | None = None
        if name == "exact_match" and judged.groups is None:
            interval = wilson(int((judged.named == judged.targets).all(axis=1).sum()), len(judged.targets))
        elif name in drawn.metrics:
            interval = interval_of(
                drawn.metrics[name],
                value,
                units,
                labels=strata,
                confidence=CONFIDENCE,
                of_classes=is_of_classes(name),
            )
        entries[name] = entry_of(value, interval)
    return entries


def _baseline(judged: JudgedSets, classes: tuple[str, ...], usual: str) -> dict[str, Any]:
    """Return what always answering `usual` would reach on the same images, and what chance ranks."""
    always = np.broadcast_to(SEVERAL.targets([usual], classes), judged.targets.shape)
    return {
        "label": usual,
        "auc": 0.5,
        "average_precision": float(judged.targets.mean()),
        **naming_metrics(always, judged.targets),
    }


def _slices(judged: JudgedSets, images: pd.DataFrame) -> dict[str, Any]:
    right, strata = (judged.named == judged.targets).all(axis=1), strata_of(judged.targets)
    return judge_slices(images, right, strata, judged.groups, judge=lambda part: _slice(judged.only(part)))


def _slice(part: JudgedSets) -> dict[str, Any]:
    entries = _headline(part, *_resample(part))
    return {
        "num_images": len(part.targets),
        "num_groups": part.num_groups,
        "enough": len(part.targets) >= FEWEST_FOR_A_CLAIM,
        "exact_match": entries["exact_match"],
        "macro_f1": entries["macro_f1"],
        "auc": entries["auc"],
    }


def _limits_of_thresholds(metrics: dict[str, Any]) -> list[str]:
    missing, notes = metrics["thresholds"]["without_images"], []
    if missing:
        notes.append(f"No val image shows {', '.join(missing)}: the threshold could not be chosen and is 0.5.")
    if metrics["split"] == CHOSEN_ON:
        notes.append("The thresholds were chosen on these images: F1 and the exact match read a little too well here.")
    return notes
