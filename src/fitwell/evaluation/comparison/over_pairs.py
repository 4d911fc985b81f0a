"""Recipes that each ran with the same seeds, or on the same folds: t tests of paired differences."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fitwell.errors import UsageError
from fitwell.evaluation.comparison.judged_runs import JudgedRun, letter
from fitwell.evaluation.evaluate import CONFIDENCE
from fitwell.evaluation.paired_tests import resampled_t


def compare_over_pairs(recipes: Sequence[Sequence[JudgedRun]]) -> dict[str, Any]:
    """Compare recipes that each ran on the same several divisions, or with the same several seeds on one.

    Raises:
        UsageError: where recipes, seeds and divisions are mixed.
    """
    everything = [each for arm in recipes for each in arm]
    over_seeds = len({each.division for each in everything}) == 1
    tables = [{each.recipe.seed if over_seeds else each.division: each for each in arm} for arm in recipes]
    keys = list(tables[0])
    one_data_set = len({each.record["data"]["fingerprint"] for each in everything}) == 1
    once = all(len(table) == len(arm) for table, arm in zip(tables, recipes, strict=True))
    if not (one_data_set and once and len(keys) > 1 and all(table.keys() == set(keys) for table in tables)):
        raise _mixture(recipes)
    first = [tables[0][key] for key in keys]
    ratio = 0.0 if over_seeds else float(np.mean([len(each.images) / each.num_seen for each in first]))
    comparisons = [
        {
            "first": letter(0),
            "other": letter(index),
            "metrics": _paired(first, [table[key] for key in keys], ratio),
        }
        for index, table in enumerate(tables[1:], start=1)
    ]
    case = "seeds" if over_seeds else "folds" if first[0].recipe.split.folds else "divisions"
    return {"case": case, "sentence": _say_pairs(case, first, ratio), "n": len(keys), "comparisons": comparisons}


def _paired(first: Sequence[JudgedRun], other: Sequence[JudgedRun], ratio: float) -> dict[str, Any]:
    values = [(one.answers.metrics(), another.answers.metrics()) for one, another in zip(first, other, strict=True)]
    method = "paired t" if ratio == 0 else "corrected resampled t"
    entries = {}
    for name in values[0][0]:
        pairs = [(one[name], another[name]) for one, another in values]
        defined = [(before, after) for before, after in pairs if before is not None and after is not None]
        if len(defined) < len(pairs):
            continue  # of some fold only: a mean over the others would be of other images
        test = resampled_t([b - a for a, b in defined], test_train_ratio=ratio, confidence=CONFIDENCE)
        means = np.mean(defined, axis=0)
        entries[name] = {"first": float(means[0]), "other": float(means[1]), **test, "method": method, "pairs": defined}
    return entries


def _say_pairs(case: str, first: Sequence[JudgedRun], ratio: float) -> str:
    if case == "seeds":
        seeds = ", ".join(str(each.recipe.seed) for each in first)
        return (
            f"{len(first)} seeds ({seeds}) on one division of the images: paired t test. It speaks for other seeds and "
            f"these {len(first[0].images)} test images, not for other images."
        )
    names = f"{len(first)} divisions"
    if case == "folds":
        folds = first[0].recipe.split.folds
        names = f"Folds {', '.join(str(each.recipe.split.fold) for each in first)} of {folds}"
    return (
        f"{names}: corrected resampled t test (Nadeau & Bengio 2003), because their models share training images; "
        f"{ratio:.2f} test images for each of train and val."
    )


def _mixture(recipes: Sequence[Sequence[JudgedRun]]) -> UsageError:
    told = []
    for index, arm in enumerate(recipes):
        runs = ", ".join(_place(each) for each in arm)
        told.append(f"recipe {letter(index)} on {len({each.division for each in arm})} division(s): {runs}")
    return UsageError(
        found=f"a mixture: {'; '.join(told)}.",
        expected="one run of each recipe on the same test images; or of each recipe one run for each of the same seeds "
        "on one division of the images; or one run for each of the same folds.",
        fix="compare the runs that belong together, or train those that are missing.",
    )


def _place(judged: JudgedRun) -> str:
    fold = f"fold {judged.recipe.split.fold} " if judged.recipe.split.folds else ""
    return f"{fold}seed {judged.recipe.seed}"
