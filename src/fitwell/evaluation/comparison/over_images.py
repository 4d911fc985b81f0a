"""Runs on the same test images: the paired bootstrap, McNemar, DeLong, and the images that change sides."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fitwell.errors import DataError
from fitwell.evaluation.comparison.answers import Answers
from fitwell.evaluation.comparison.judged_runs import JudgedRun, letter
from fitwell.evaluation.evaluate import CONFIDENCE
from fitwell.evaluation.intervals import Floats, Units, find_units, interval_of
from fitwell.evaluation.metrics import is_of_classes
from fitwell.evaluation.paired_tests import bootstrap_p, delong, mcnemar
from fitwell.recipe.difference import recipe_difference


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
    units = find_units(first.answers.strata, groups)
    drawn = [each.answers.resampled(units) for each in judged]
    comparisons = [
        {
            "first": letter(0),
            "other": letter(index),
            "metrics": _bootstrapped(first.answers, other.answers, drawn[0], drawn[index], units),
            **(_tests_of_images(first.answers, other.answers) if groups is None else {"mcnemar": None, "delong": None}),
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


def _bootstrapped(
    first: Answers, other: Answers, drawn: dict[str, Floats], other_drawn: dict[str, Floats], units: Units
) -> dict[str, Any]:
    values, other_values = first.metrics(), other.metrics()
    entries = {}
    for name in drawn:
        before, after = values[name], other_values[name]
        difference = None if before is None or after is None else after - before
        differences = other_drawn[name] - drawn[name]
        least, most = first.bounds(name)
        interval = interval_of(
            differences,
            difference,
            units,
            labels=first.strata,
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


def _tests_of_images(first: Answers, other: Answers) -> dict[str, Any]:
    ranking, other_ranking = first.ranking, other.ranking
    return {
        "mcnemar": {"metric": first.metric_of_right, **mcnemar(first.right, other.right)},
        "delong": ranking and other_ranking and delong(np.stack([ranking[0], other_ranking[0]]), ranking[1]),
    }


def _flips(first: JudgedRun, other: JudgedRun) -> dict[str, list[dict[str, str]]]:
    """Return the images that only the other has right, and those that only the first has right."""
    before, after = (each.answers.names(first.classes) for each in (first, other))
    changed = other.answers.right.astype(int) - first.answers.right
    rows = zip(first.images["path"], first.images["label"], before, after, strict=True)
    named = [dict(zip(("path", "label", "first", "other"), row, strict=True)) for row in rows]
    return {
        kind: [row for row, change in zip(named, changed, strict=True) if change == sign]
        for kind, sign in (("fixes", 1), ("breaks", -1))
    }


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
