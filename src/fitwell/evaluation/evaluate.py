"""From the logits of one split to its folder: predictions, metrics with intervals, confusion matrix, pictures.

Everything the report says about a split is in metrics.json. Never reaches torch.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fitwell.data.table import escape_cell
from fitwell.errors import DataError
from fitwell.evaluation.charts import (
    confidence_chart,
    confusion_chart,
    reliability_chart,
    risk_coverage_chart,
    roc_chart,
)
from fitwell.evaluation.choices import judge_choices
from fitwell.evaluation.confidence import judge_confidence
from fitwell.evaluation.conformal import describe_promise, promise_sets
from fitwell.evaluation.intervals import (
    Interval,
    Resamples,
    Units,
    auc_interval,
    entry_of,
    find_units,
    interval_of,
    resample,
    wilson_interval,
)
from fitwell.evaluation.metrics import (
    accuracy,
    all_metrics,
    auc,
    balanced_accuracy,
    bounds_of,
    confusion_matrix,
    further_metrics,
    is_of_classes,
    per_class,
    roc_curve,
    softmax,
)
from fitwell.evaluation.ranking import ranking_metrics
from fitwell.evaluation.selective import answers, judge_abstention
from fitwell.evaluation.slices import FEWEST_FOR_A_CLAIM, judge_slices, slice_columns
from fitwell.files import write_bytes, write_json, write_text
from fitwell.run_folder import RunFolder

if TYPE_CHECKING:
    import pandas as pd

CONFIDENCE = 0.95
FEW_GROUPS = 10  # below, an interval over groups is itself uncertain
MOST_CURVE_POINTS = 400  # in metrics.json and in pictures


@dataclass(frozen=True)
class Judged:
    """One set of judged images.

    Attributes:
        probs: (N, C). labels: (N,). groups: (N,) names, or None when images are independent.
        ordered: whether the classes go from less to more.
    """

    probs: NDArray[np.float64]
    labels: NDArray[np.int64]
    groups: NDArray[Any] | None
    ordered: bool = False

    def only(self, chosen: NDArray[np.bool_]) -> Judged:
        """Return the images that `chosen` (N,) names."""
        groups = None if self.groups is None else self.groups[chosen]
        return replace(self, probs=self.probs[chosen], labels=self.labels[chosen], groups=groups)

    @property
    def num_groups(self) -> int | None:
        """Return how many groups there are; None when images are independent."""
        return None if self.groups is None else len(set(self.groups.tolist()))


def write_evaluation(
    run: RunFolder,
    split: str,
    images: pd.DataFrame,
    logits: NDArray[np.floating[Any]],
    classes: tuple[str, ...],
    *,
    majority: str,
    ordered: bool = False,
) -> dict[str, Any]:
    """Write `evaluation/<split>/` of `run` and return what metrics.json holds.

    Args:
        split: the name of the folder; test, val, or another name for other images.
        images: N rows of split.csv. logits: (N, C) in the same order. classes: C names, in the order of logits.
        majority: the most frequent class of train; always answering it is the baseline.
        ordered: whether the classes go from less to more.

    Raises:
        DataError: without images, when a label is no class of the run, or when a prediction is not finite.
    """
    require_judgeable(images, logits, classes, images["label"])
    labels = _numbers(images["label"], classes)
    judged = Judged(softmax(logits), labels, groups_of(images), ordered)
    units = find_units(judged.labels, judged.groups)
    matrix = confusion_matrix(judged.probs, judged.labels)
    metrics = {
        "split": split,
        "num_images": len(judged.labels),
        "num_groups": judged.num_groups,
        "classes": list(classes),
        "class_counts": dict(zip(classes, matrix.sum(axis=1).tolist(), strict=True)),
        "confidence": CONFIDENCE,
        **_with_intervals(judged, units, classes),
        "baseline": _baseline(judged, units, classes, majority),
        "confusion": matrix.tolist(),
        "roc": _roc(judged, classes),
        **judge_choices(run, logits, judged.labels, units),
        "confidence_distribution": judge_confidence(judged.probs, judged.labels, classes),
        **_slices(judged, images),
        **_abstaining(run, split, judged, classes),
    }
    metrics["notes"] = limits_of(metrics)
    answers = {"predicted": np.array(classes)[judged.probs.argmax(axis=1)], "confidence": judged.probs.max(axis=1)}
    folder = run.evaluation(split)
    _write_figures(folder / "figures", metrics, matrix, classes)
    write_bytes(folder / "predictions.parquet", predictions_table(images, answers, judged.probs, classes))
    write_text(folder / "confusion.csv", _confusion_csv(matrix, classes))
    write_json(folder / "metrics.json", metrics)  # last: who finds it finds the rest
    return metrics


def require_judgeable(
    images: pd.DataFrame, logits: NDArray[np.floating[Any]], classes: tuple[str, ...], named: Iterable[str]
) -> None:
    """Make sure that the images can be judged.

    Args:
        images: N rows. logits: (N, C). classes: C names. named: the classes that the labels name.

    Raises:
        DataError: without images, when a label is no class of the run, or when a prediction is not finite.
    """
    if not len(images):
        raise DataError(found="0 images to judge.", expected="at least one.", fix="name a split that holds images.")
    if logits.shape != (len(images), len(classes)):
        raise ValueError(f"logits have shape {logits.shape}, expected ({len(images)}, {len(classes)}).")
    unknown = sorted(set(named) - set(classes))
    if unknown:
        raise DataError(
            found=f"{len(unknown)} label(s) that the run does not know: {unknown[:10]}.",
            expected=f"only classes of the run: {list(classes)}.",
            fix="rename the labels, or train a run that knows these classes.",
        )
    sick = ~np.isfinite(logits).all(axis=1)
    if sick.any():
        raise DataError(
            found=f"{int(sick.sum())} of {len(images)} predictions are not finite, the first for "
            f"{images['path'].iloc[int(sick.argmax())]}.",
            expected="a number for every class.",
            fix="train again with a smaller learning rate: these weights cannot be judged.",
        )


def groups_of(images: pd.DataFrame) -> NDArray[Any] | None:
    """Return the group (N,) of each image; None where every one is alone, as when duplicates in train made groups."""
    grouped = "group" in images.columns and images["group"].any() and images["group"].duplicated().any()
    return np.array(images["group"].astype(str).tolist()) if grouped else None


def read_judged(path: Path, classes: tuple[str, ...]) -> Judged:
    """Return what a predictions.parquet at `path` holds, in its order."""
    import pyarrow.parquet as pq

    said = pq.read_table(path).to_pandas()
    probs = said[[f"p_{name}" for name in classes]].to_numpy()
    return Judged(probs, _numbers(said["label"], classes), groups_of(said))


def _numbers(names: Iterable[str], classes: tuple[str, ...]) -> NDArray[np.int64]:
    """Return the class number of each image."""
    code = {name: index for index, name in enumerate(classes)}
    return np.array([code[name] for name in names], dtype=np.int64)


def _with_intervals(judged: Judged, units: Units, classes: tuple[str, ...]) -> dict[str, Any]:
    """Return `metrics` and `per_class`, from one set of resamples."""
    values = all_metrics(judged.probs, judged.labels, ordered=judged.ordered)
    values |= further_metrics(judged.probs, judged.labels)
    if len(classes) == 2:
        values |= ranking_metrics(judged.probs[:, 1], judged.labels == 1)
    drawn = _resample(judged, units, values)
    rows = per_class(judged.probs, judged.labels, classes)
    for index, row in enumerate(rows):
        for name, total, shares in (
            ("recall", row["support"], drawn.recall[:, index]),
            ("precision", row["predicted"], drawn.precision[:, index]),
        ):
            interval = (
                wilson(row["correct"], total)
                if judged.groups is None
                else interval_of(shares, row[name], units, labels=judged.labels, confidence=CONFIDENCE)
            )
            row[name] = entry_of(row[name], interval)
    return {"metrics": headline(judged, units, values, drawn), "per_class": rows}


def _resample(judged: Judged, units: Units, names: Iterable[str]) -> Resamples:
    """Return resamples with those of `names` whose interval is made of them."""
    wanted = set(names) - {"log_loss", "auc"}
    return resample(judged.probs, judged.labels, units, names=wanted)


def headline(
    judged: Judged, units: Units, values: Mapping[str, float | None], drawn: Resamples | None
) -> dict[str, dict[str, Any]]:
    """Return every metric of `values` as {value, interval, method, num_left_out}."""
    entries = {}
    for name, value in values.items():
        if name == "auc":
            interval = auc_interval(judged.probs, judged.labels, units, confidence=CONFIDENCE)
        elif name == "accuracy" and judged.groups is None:
            interval = wilson(int((judged.probs.argmax(axis=1) == judged.labels).sum()), len(judged.labels))
        elif drawn is not None and name in drawn.metrics:
            interval = interval_of(
                drawn.metrics[name],
                value,
                units,
                labels=judged.labels,
                confidence=CONFIDENCE,
                bounds=bounds_of(name, judged.probs.shape[1]),
                of_classes=is_of_classes(name),
            )
        else:
            interval = None
        entries[name] = entry_of(value, interval)
    return entries


def wilson(successes: int, total: int) -> Interval:
    """Return the interval of a share of independent images."""
    return Interval(*wilson_interval(successes, total, CONFIDENCE), f"Wilson, {successes} of {total} images")


def _baseline(judged: Judged, units: Units, classes: tuple[str, ...], majority: str) -> dict[str, Any]:
    """Return what always answering `majority` would reach on the same images."""
    constant = np.zeros_like(judged.probs)
    constant[:, classes.index(majority)] = 1.0
    always = replace(judged, probs=constant)
    values = {"accuracy": accuracy(constant, judged.labels)}
    drawn = None if judged.groups is None else _resample(always, units, values)
    return {
        "label": majority,
        **headline(always, units, values, drawn),
        "balanced_accuracy": 1 / len(classes),
        "auc": 0.5,
    }


def _slices(judged: Judged, images: pd.DataFrame) -> dict[str, Any]:
    right = judged.probs.argmax(axis=1) == judged.labels
    return judge_slices(images, right, judged.labels, judged.groups, judge=lambda part: _slice(judged.only(part)))


def _slice(part: Judged) -> dict[str, Any]:
    units = find_units(part.labels, part.groups)
    values = {metric.__name__: metric(part.probs, part.labels) for metric in (accuracy, balanced_accuracy, auc)}
    return {
        "num_images": len(part.labels),
        "num_groups": part.num_groups,
        "enough": len(part.labels) >= FEWEST_FOR_A_CLAIM,
        **headline(part, units, values, _resample(part, units, values)),
    }


def _abstaining(run: RunFolder, split: str, judged: Judged, classes: tuple[str, ...]) -> dict[str, Any]:
    """Return `conformal` and `selective`: what sets of classes, and abstaining, are worth with thresholds from val."""
    given = answers(judged.probs, judged.labels, judged.groups)
    path = run.evaluation("val") / "predictions.parquet"
    if split == "val" or not path.is_file():
        return {"conformal": None, "selective": _thinned(judge_abstention(given, None))}
    val = read_judged(path, classes)
    sets = promise_sets((val.probs, val.labels), judged.probs, judged.labels, judged.groups, classes)
    return {
        "conformal": {**sets, "note": describe_promise(len(val.labels), val.num_groups)},
        "selective": _thinned(judge_abstention(given, answers(val.probs, val.labels, val.groups))),
    }


def _thinned(selective: dict[str, Any]) -> dict[str, Any]:
    return {**selective, "curve": _thin(selective["curve"])}


def _thin(points: NDArray[np.float64]) -> list[list[float]]:
    """Return at most `MOST_CURVE_POINTS` of (T, 2) points, the ends among them."""
    kept = np.unique(np.linspace(0, len(points) - 1, min(len(points), MOST_CURVE_POINTS)).round().astype(int))
    thinned: list[list[float]] = points[kept].round(6).tolist()
    return thinned


def _roc(judged: Judged, classes: tuple[str, ...]) -> dict[str, Any] | None:
    if len(classes) != 2 or len(np.unique(judged.labels)) < 2:
        return None
    return {"positive": classes[1], "points": _thin(roc_curve(judged.probs[:, 1], judged.labels == 1))}


def _write_figures(folder: Path, metrics: dict[str, Any], matrix: NDArray[np.int64], classes: tuple[str, ...]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / "confusion.svg", confusion_chart(matrix, classes))
    write_text(folder / "reliability.svg", reliability_chart(metrics["calibration"]))
    write_text(folder / "confidence.svg", confidence_chart(metrics["confidence_distribution"]["all"]))
    write_text(folder / "risk_coverage.svg", risk_coverage_chart(metrics["selective"]))
    _write_roc(folder / "roc.svg", metrics)


def _write_roc(path: Path, metrics: dict[str, Any]) -> None:
    if metrics["roc"] is None:
        path.unlink(missing_ok=True)  # of an evaluation of the same name before
        return
    area = metrics["metrics"]["auc"]["value"]
    write_text(path, roc_chart(np.array(metrics["roc"]["points"]), positive=metrics["roc"]["positive"], area=area))


def limits_of(metrics: dict[str, Any]) -> list[str]:
    """Return what limits the numbers, one sentence each."""
    notes = []
    num_groups = metrics["num_groups"]
    if num_groups is not None and num_groups < FEW_GROUPS:
        notes.append(
            f"There are only {num_groups} groups: images of a group are alike, so the intervals are wide and "
            "themselves uncertain. More groups would help more than more images."
        )
    missing = [name for name, count in metrics["class_counts"].items() if count == 0]
    if missing:
        notes.append(f"No image shows {', '.join(missing)}: nothing can be said about it, and the AUC is not defined.")
    left_out = max(entry.get("num_left_out", 0) for entry in metrics["metrics"].values())
    if left_out:
        notes.append(f"{left_out} resamples lacked a class and were left out of the intervals that need both.")
    return notes


def predictions_table(
    images: pd.DataFrame, answers: Mapping[str, Any], probs: NDArray[np.floating[Any]], classes: tuple[str, ...]
) -> bytes:
    """Return predictions.parquet: id, path, label, group, the `answers` by column name, p_<class>..., slices."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns: dict[str, Any] = {name: images[name].astype(str).tolist() for name in ("id", "path", "label")}
    columns["group"] = images["group"].astype(str).tolist() if "group" in images.columns else [""] * len(images)
    columns |= {**answers, **{f"p_{name}": probs[:, index] for index, name in enumerate(classes)}}
    for name in slice_columns(images):
        free = name if name not in columns else f"slice_{name}"
        columns[free] = images[name].fillna("").astype(str).tolist()
    buffer = io.BytesIO()
    pq.write_table(pa.table(columns), buffer)
    return buffer.getvalue()


def _confusion_csv(matrix: NDArray[np.int64], classes: tuple[str, ...]) -> str:
    """Return the counts as CSV; a name that a spreadsheet would run as a formula starts with an apostrophe."""
    names = [escape_cell(name) for name in classes]
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
    writer.writerow(["actual (rows) / predicted (columns)", *names])
    writer.writerows([name, *row] for name, row in zip(names, matrix.tolist(), strict=True))
    return buffer.getvalue()
