"""Runs that were judged on their test images, read so that they can be compared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fitwell.data.split import read_split
from fitwell.errors import DataError, RunError, UsageError
from fitwell.evaluation.metrics import all_metrics
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

    @property
    def members(self) -> list[str] | None:
        """Return the runs that an ensemble is made of; None for a run that trained."""
        return [member["id"] for member in self.record.get("members", ())] or None

    def metrics(self) -> dict[str, float | None]:
        """Return every metric on the test images."""
        return all_metrics(self.probs, self.labels, ordered=self.ordered)


def read_runs(runs: Sequence[RunFolder]) -> list[JudgedRun]:
    """Return what the runs said about their test images.

    Raises:
        UsageError: where images show several classes.
        DataError: when the runs do not know the same classes.
        RunError: when a run was not judged on its test images.
    """
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
