"""Runs that were judged on their test images, read so that they can be compared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fitwell.data.split import read_split
from fitwell.errors import DataError, RunError
from fitwell.evaluation.comparison.answers import Answers, ClassSets, SingleClasses
from fitwell.evaluation.evaluate_label_sets import SEVERAL
from fitwell.files import to_json
from fitwell.recipe.difference import settings_asked
from fitwell.recipe.read import recipe_of
from fitwell.recipe.schema import Recipe
from fitwell.run_folder import RunFolder

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class JudgedRun:
    """A run and what it said about its test images.

    Attributes:
        record: its run.json. images: N rows of the test split by id, with path, label, sha256 and perhaps group.
        classes: C names, in the same order for all runs that are compared. answers: for the N images.
        num_seen: images of train and val, which training saw.
    """

    run: RunFolder
    record: dict[str, Any]
    recipe: Recipe
    images: pd.DataFrame
    classes: tuple[str, ...]
    answers: Answers
    num_seen: int

    @property
    def division(self) -> str:
        """Return what is equal where train, val and test are."""
        return str(self.record["split"]["hash"])

    @property
    def members(self) -> list[str] | None:
        """Return the runs that an ensemble is made of; None for a run that trained."""
        return [member["id"] for member in self.record.get("members", ())] or None


def read_runs(runs: Sequence[RunFolder]) -> list[JudgedRun]:
    """Return what the runs said about their test images.

    Raises:
        DataError: when the runs do not know the same classes, or some give an image one class and some any number.
        RunError: when a run was not judged on its test images.
    """
    recipes = [recipe_of(run) for run in runs]
    for run, recipe in zip(runs, recipes, strict=True):
        if recipe.target.is_multi_label != recipes[0].target.is_multi_label:
            raise DataError(
                found=f"{runs[0].path} has target.kind {recipes[0].target.kind}, and {run.path} {recipe.target.kind}.",
                expected="runs that give each image one class, or runs that give it any number.",
                fix="compare runs of one task.",
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
    probs, labels = said[[f"p_{name}" for name in classes]].to_numpy(), images["label"].tolist()
    answers: Answers
    if recipe.target.is_multi_label:
        targets, named = (SEVERAL.targets(each, classes) for each in (labels, said["predicted"].tolist()))
        answers = ClassSets(probs, targets, named)
    else:
        code = {name: index for index, name in enumerate(classes)}
        answers = SingleClasses(probs, np.array([code[label] for label in labels], dtype=np.int64), ordered)
    return JudgedRun(run, run.read(), recipe, images, classes, answers, int((split["split"] != "test").sum()))


def by_recipe(judged: Sequence[JudgedRun]) -> list[list[JudgedRun]]:
    """Return the runs of each recipe, as it was asked for, whatever its seed and fold."""
    recipes: dict[str, list[JudgedRun]] = {}
    for each in judged:
        asked = settings_asked(each.recipe)
        asked["seed"] = asked["split"]["fold"] = None
        asked["members"] = each.members
        recipes.setdefault(to_json(asked), []).append(each)
    return list(recipes.values())


def letter(index: int) -> str:
    """Return A for 0, B for 1, and after Z the number of the recipe."""
    return chr(ord("A") + index) if index < 26 else f"#{index + 1}"
