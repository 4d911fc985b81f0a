"""Whether runs differ: on the same test images, over folds, or over seeds, as their recipes and splits tell.

Reads run folders and writes nothing. Runs of one recipe, but for seed and fold, stand together; the first recipe is
what the others are compared with.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fitwell.data.split import read_split
from fitwell.errors import DataError, RunError, UsageError
from fitwell.evaluation.intervals import Resamples, Units, find_units, interval_of, resample
from fitwell.evaluation.metrics import all_metrics, bounds_of, is_of_classes
from fitwell.evaluation.paired_tests import bootstrap_p, delong, holm, mcnemar, resampled_t
from fitwell.files import to_json
from fitwell.recipe.difference import recipe_difference, settings_asked
from fitwell.recipe.read import recipe_of
from fitwell.recipe.schema import Recipe
from fitwell.run_folder import RunFolder

if TYPE_CHECKING:
    import pandas as pd

CONFIDENCE = 0.95
FEWEST_FOR_DELONG = 2  # images of each class: a variance needs two


@dataclass(frozen=True)
class JudgedRun:
    """A run and what it said about its test images.

    Attributes:
        record: its run.json. images: N rows of the test split by id, with path, label, sha256 and perhaps group.
        classes: C names, in the same order for all runs that are compared. probs: (N, C). labels: (N,).
        ordered: whether the classes go from less to more, in at least one of the runs.
        num_train: images that it learnt from.
    """

    run: RunFolder
    record: dict[str, Any]
    recipe: Recipe
    images: pd.DataFrame
    classes: tuple[str, ...]
    probs: NDArray[np.float64]
    labels: NDArray[np.int64]
    ordered: bool
    num_train: int

    @property
    def division(self) -> str:
        """Return what is equal where train, val and test are."""
        return str(self.record["split"]["hash"])

    def metrics(self) -> dict[str, float | None]:
        """Return every metric on the test images."""
        return all_metrics(self.probs, self.labels, ordered=self.ordered)


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
    judged = _read_all(runs)
    recipes = _by_recipe(judged)
    if len(recipes) == 1 or len(recipes) == len(judged):
        recipes = [[each] for each in judged]
        found = _compare_on_images(judged)
    else:
        found = _compare_over_pairs(recipes)
    _adjust(found["comparisons"])
    of_a_pair = () if found["case"] == "images" else ("seed", "split.fold")
    for other, comparison in zip(recipes[1:], found["comparisons"], strict=True):
        rows = recipe_difference(recipes[0][0].recipe, other[0].recipe)
        comparison["recipe"] = [row for row in rows if row["key"] not in of_a_pair]
    return {
        **found,
        "confidence": CONFIDENCE,
        "recipes": [
            {"name": letter(index), "runs": [str(each.run.path) for each in arm]} for index, arm in enumerate(recipes)
        ],
    }


def letter(index: int) -> str:
    """Return A for 0, B for 1, and after Z the number of the recipe."""
    return chr(ord("A") + index) if index < 26 else f"#{index + 1}"


def _require_several(runs: Sequence[RunFolder]) -> None:
    num_different = len({run.path.resolve() for run in runs})
    if num_different < max(2, len(runs)):
        raise UsageError(
            found=f"{len(runs)} run(s), {num_different} of them different.",
            expected="at least two, each once.",
            fix="fitwell compare RUN RUN",
        )


def _read_all(runs: Sequence[RunFolder]) -> list[JudgedRun]:
    recipes = [recipe_of(run) for run in runs]
    for run, recipe in zip(runs, recipes, strict=True):
        if recipe.target.is_multi_label:
            raise UsageError(
                found=f"{run.path} was trained on images that show several classes (target.kind multi_label).",
                expected="runs that give each image one class.",
                fix="set the metrics and intervals of the two reports side by side.",
            )
    names = [run.read()["data"]["classes"] for run in runs]
    for run, known in zip(runs, names, strict=True):
        if set(known) != set(names[0]):
            raise DataError(
                found=f"{runs[0].path} knows the classes {names[0]}, and {run.path} {known}.",
                expected="runs that tell the same classes apart.",
                fix="compare runs of one task.",
            )
    order = next((recipe.target.order for recipe in recipes if recipe.target.order), ())
    classes = order or tuple(names[0])
    return [_read(run, recipe, classes, bool(order)) for run, recipe in zip(runs, recipes, strict=True)]


def _read(run: RunFolder, recipe: Recipe, classes: tuple[str, ...], ordered: bool) -> JudgedRun:
    import pyarrow.parquet as pq

    path = run.evaluation("test") / "predictions.parquet"
    if not path.is_file():
        raise RunError(
            found=f"{run.path} was not judged on its test images: {path.name} is missing.",
            expected=f"{path}.",
            fix=f"fitwell evaluate {run.path}",
        )
    split = read_split(run.split).set_index("id")
    images = split[split["split"] == "test"].sort_index()
    said = pq.read_table(path).to_pandas().set_index("id").sort_index()
    if not images.index.equals(said.index):
        raise RunError(
            found=f"{path} holds {len(said)} images; the test split of the run has {len(images)} others.",
            expected="a prediction for each test image.",
            fix=f"fitwell evaluate {run.path}",
        )
    code = {name: index for index, name in enumerate(classes)}
    return JudgedRun(
        run,
        run.read(),
        recipe,
        images,
        classes,
        probs=said[[f"p_{name}" for name in classes]].to_numpy(),
        labels=np.array([code[label] for label in images["label"]], dtype=np.int64),
        ordered=ordered,
        num_train=int((split["split"] == "train").sum()),
    )


def _by_recipe(judged: Sequence[JudgedRun]) -> list[list[JudgedRun]]:
    """Return the runs of each recipe, as it was asked for, whatever its seed and fold."""
    recipes: dict[str, list[JudgedRun]] = {}
    for each in judged:
        asked = settings_asked(each.recipe)
        asked["seed"] = asked["split"]["fold"] = None
        recipes.setdefault(to_json(asked), []).append(each)
    return list(recipes.values())


def _compare_on_images(judged: Sequence[JudgedRun]) -> dict[str, Any]:
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


def _compare_over_pairs(recipes: Sequence[Sequence[JudgedRun]]) -> dict[str, Any]:
    """Compare recipes that each ran on the same several divisions, or with the same several seeds on one."""
    everything = [each for arm in recipes for each in arm]
    over_seeds = len({each.division for each in everything}) == 1
    tables = [{each.recipe.seed if over_seeds else each.division: each for each in arm} for arm in recipes]
    keys = list(tables[0])
    one_data_set = len({each.record["data"]["fingerprint"] for each in everything}) == 1
    once = all(len(table) == len(arm) for table, arm in zip(tables, recipes, strict=True))
    if not (one_data_set and once and len(keys) > 1 and all(table.keys() == set(keys) for table in tables)):
        raise _mixture(recipes)
    first = [tables[0][key] for key in keys]
    ratio = 0.0 if over_seeds else float(np.mean([len(each.images) / each.num_train for each in first]))
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
    values = [(one.metrics(), another.metrics()) for one, another in zip(first, other, strict=True)]
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
        f"{ratio:.2f} test images for each training image."
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
