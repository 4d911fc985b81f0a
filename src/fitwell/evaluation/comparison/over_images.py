"""Runs on the same test images: the paired bootstrap, McNemar, DeLong, and the images that change sides."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fitwell.errors import DataError
from fitwell.evaluation.comparison.judged_runs import JudgedRun, letter
from fitwell.evaluation.evaluate import CONFIDENCE
from fitwell.evaluation.intervals import Resamples, Units, find_units, interval_of, resample
from fitwell.evaluation.metrics import bounds_of, is_of_classes
from fitwell.evaluation.paired_tests import bootstrap_p, delong, mcnemar
from fitwell.recipe.difference import recipe_difference

FEWEST_FOR_DELONG = 2  # images of each class: a variance needs two


def compare_on_images(judged: Sequence[JudgedRun]) -> dict[str, Any]:
    """Compare the others with the first run; see `compare.compare_runs`.

    Raises:
        DataError: when they have not the same test images.
    """
    first = judged[0]
    for other in judged[1:]:
        _require_same_images(first, other)
    grouped = (each.images["group"] for each in judged if "group" in each.images)
    groups = next((column.to_numpy() for column in grouped if column.duplicated().any()), None)
    units = find_units(first.labels, groups)
    drawn = [_resample(each, units) for each in judged]
    comparisons = [
        {
            "first": letter(0),
            "other": letter(index),
            "metrics": _bootstrapped(first, other, drawn[0], drawn[index], units),
            **(_tests_of_images(first, other) if groups is None else {"mcnemar": None, "delong": None}),
            "flips": _flips(first, other),
        }
        for index, other in enumerate(judged[1:], start=1)
    ]
    count = len(first.images)
    sentence = f"The same {count} test images, paired."
    if groups is not None:
        sentence = (
            f"The same {count} test images, paired, in {units.count} groups. Images of a group are alike, so whole "
            "groups are resampled; McNemar's and DeLong's tests take images for independent and are left out."
        )
    return {"case": "images", "sentence": sentence, "num_images": count, "comparisons": comparisons}


def _resample(judged: JudgedRun, units: Units) -> Resamples:
    """Return the metrics in resamples that are the same for every run on the same images."""
    return resample(judged.probs, judged.labels, units, names=judged.metrics().keys() - {"log_loss"})


def _bootstrapped(
    first: JudgedRun, other: JudgedRun, drawn: Resamples, other_drawn: Resamples, units: Units
) -> dict[str, Any]:
    values, other_values = first.metrics(), other.metrics()
    entries = {}
    for name in drawn.metrics:
        before, after = values[name], other_values[name]
        difference = None if before is None or after is None else after - before
        differences = other_drawn.metrics[name] - drawn.metrics[name]
        least, most = bounds_of(name, first.probs.shape[1])
        interval = interval_of(
            differences,
            difference,
            units,
            labels=first.labels,
            confidence=CONFIDENCE,
            bounds=(least - most, most - least),
            of_classes=is_of_classes(name),
        )
        entries[name] = {
            "first": before,
            "other": after,
            "difference": difference,
            "interval": interval and [interval.low, interval.high],
            "p": interval and bootstrap_p(differences, units, of_classes=is_of_classes(name)),
            "method": interval and interval.method,
        }
    return entries


def _tests_of_images(first: JudgedRun, other: JudgedRun) -> dict[str, Any]:
    right, other_right = (each.probs.argmax(axis=1) == each.labels for each in (first, other))
    positive = first.labels == 1
    two_classes = first.probs.shape[1] == 2 and min(positive.sum(), (~positive).sum()) >= FEWEST_FOR_DELONG
    scores = np.stack([first.probs[:, 1], other.probs[:, 1]])
    return {
        "mcnemar": mcnemar(right, other_right),
        "delong": delong(scores, positive) if two_classes else None,
    }


def _flips(first: JudgedRun, other: JudgedRun) -> dict[str, list[dict[str, str]]]:
    """Return the images that only the other has right, and those that only the first has right."""
    classes = first.classes
    rows: dict[str, list[dict[str, str]]] = {"fixes": [], "breaks": []}
    answers = zip(first.probs.argmax(axis=1), other.probs.argmax(axis=1), first.labels, strict=True)
    for path, (before, after, label) in zip(first.images["path"], answers, strict=True):
        if (before == label) != (after == label):
            row = {"path": path, "label": classes[label], "first": classes[before], "other": classes[after]}
            rows["fixes" if after == label else "breaks"].append(row)
    return rows


def _require_same_images(first: JudgedRun, other: JudgedRun) -> None:
    mine, theirs = first.images, other.images
    both = mine.index.intersection(theirs.index)
    changed = (mine.loc[both, ["sha256", "label"]] != theirs.loc[both, ["sha256", "label"]]).any(axis=1)
    only_first, only_other = len(mine) - len(both), len(theirs) - len(both)
    if not (only_first or only_other or changed.any()):
        return
    raise DataError(
        found=f"{first.run.path} and {other.run.path} do not have the same test images: {only_first} of {len(mine)} "
        f"and {only_other} of {len(theirs)} are in one only, and {int(changed.sum())} of the {len(both)} in both have "
        f"another content or label. {_why(first, other)}",
        expected="runs on the same test images.",
        fix=f"train the second on the first one's division: fitwell train {first.run.split} "
        f"--image-root {first.record['data']['root']}",
    )


def _why(first: JudgedRun, other: JudgedRun) -> str:
    """Return why two runs have other test images, as far as their records tell."""
    rows = [
        row
        for row in recipe_difference(first.recipe, other.recipe)
        if row["key"] == "seed" or row["key"].startswith("split.")
    ]
    reasons = [f"{row['key']} is {row['before']} in one and {row['after']} in the other" for row in rows]
    data, other_data = first.record["data"], other.record["data"]
    if data["fingerprint"] != other_data["fingerprint"]:
        reasons.insert(0, f"the images are those of {data['source']} and of {other_data['source']}, as they were then")
    return f"Why: {'; '.join(reasons) or 'the tables they came from gave other splits'}."
