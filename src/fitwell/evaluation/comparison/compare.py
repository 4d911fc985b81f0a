"""Whether runs differ: on the same test images, over folds, or over seeds, as their recipes and splits tell.

Reads run folders and writes nothing. Runs of one recipe, but for seed and fold, stand together; the first recipe is
what the others are compared with.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fitwell.errors import UsageError
from fitwell.evaluation.comparison.judged_runs import JudgedRun, by_recipe, letter, read_runs
from fitwell.evaluation.comparison.over_images import compare_on_images
from fitwell.evaluation.comparison.over_pairs import compare_over_pairs
from fitwell.evaluation.evaluate import CONFIDENCE
from fitwell.evaluation.paired_tests import holm
from fitwell.recipe.difference import recipe_difference
from fitwell.run_folder import RunFolder


def compare_runs(runs: Sequence[RunFolder]) -> dict[str, Any]:
    """Return how the other runs differ from the first.

    Returns:
        case: "images" (the same test images, one run of each recipe), "seeds" (one division of the images), "folds" or
            "divisions" (the same several divisions for each recipe), and `sentence`: what that means.
        recipes: of each letter its runs.
        comparisons: of every other letter with the first: `recipe` (what differs), `metrics` (of each: first, other,
            difference, interval, p, p_holm, method and whether they are distinguishable) and, for images, `mcnemar`,
            `delong` and `flips`.

    Raises:
        UsageError: with fewer than two runs, or where recipes, seeds and folds are mixed.
        RunError: when a run was not judged on its test images.
        DataError: when runs to be compared have not the same test images.
    """
    _require_several(runs)
    judged = read_runs(runs)
    recipes = by_recipe(judged)
    if len(recipes) == 1 or len(recipes) == len(judged):
        recipes = [[each] for each in judged]
        found = compare_on_images(judged)
    else:
        found = compare_over_pairs(recipes)
    _adjust(found["comparisons"])
    of_a_pair = () if found["case"] == "images" else ("seed", "split.fold")
    for other, comparison in zip(recipes[1:], found["comparisons"], strict=True):
        comparison["recipe"] = [row for row in _difference(recipes[0][0], other[0]) if row["key"] not in of_a_pair]
    return {
        **found,
        "confidence": CONFIDENCE,
        "recipes": [
            {"name": letter(index), "runs": [str(each.run.path) for each in arm]} for index, arm in enumerate(recipes)
        ],
    }


def _require_several(runs: Sequence[RunFolder]) -> None:
    num_different = len({run.path.resolve() for run in runs})
    if num_different < max(2, len(runs)):
        raise UsageError(
            found=f"{len(runs)} run(s), {num_different} of them different.",
            expected="at least two, each once.",
            fix="fitwell compare RUN RUN",
        )


def _difference(first: JudgedRun, other: JudgedRun) -> list[dict[str, Any]]:
    """Return what differs in the recipes; of an ensemble, whose recipe trains nothing, its members."""
    if first.members or other.members:
        return [{"key": "members", "before": first.members, "after": other.members}]
    return recipe_difference(first.recipe, other.recipe)


def _adjust(comparisons: Sequence[dict[str, Any]]) -> None:
    """Give each test its p after Holm, over the comparisons, and say of each metric whether the two differ."""
    names = dict.fromkeys(name for each in comparisons for name in each["metrics"])
    families = [[each["metrics"].get(name) for each in comparisons] for name in names]
    families += [[each.get(test) for each in comparisons] for test in ("mcnemar", "delong")]
    for family in families:
        present = [entry for entry in family if entry]
        for entry in present:
            entry["p_holm"] = None
        defined = [entry for entry in present if entry["p"] is not None]
        for entry, adjusted in zip(defined, holm([entry["p"] for entry in defined]), strict=True):
            entry["p_holm"] = adjusted
    for entry in (entry for each in comparisons for entry in each["metrics"].values()):
        low, high = entry["interval"] or (0, 0)
        beyond_zero = low > 0 or high < 0
        entry["distinguishable"] = beyond_zero and entry["p_holm"] < 1 - CONFIDENCE
