"""A suite: several tasks x several recipes x several seeds, as one YAML document. Reading one never loads torch.

Paths in it are relative to its own folder, so that a suite can move with its images.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, field_validator
from pydantic_core import ErrorDetails

from fitwell.errors import FitwellError, RecipeError, UsageError
from fitwell.files import sha256_of_text
from fitwell.recipe.document import Document, KeyPath, read_document
from fitwell.recipe.mistakes import nearest_name
from fitwell.recipe.read import read_recipe, recipe_hash
from fitwell.recipe.resolve import plan_labelling
from fitwell.recipe.schema import Recipe
from fitwell.recipe.section import Metric, Section

EXAMPLE = "tasks: {chest: images/chest}, recipes: [fast, two-phase]"
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]


class Task(Section):
    """Labelled images, and how to read them."""

    data: str
    image_root: str | None = None
    group_by: str | None = None
    on_data_error: Literal["stop", "warn"] = "stop"
    settings: dict[str, Any] = Field({}, description="of the recipe, by dotted key, for this task alone")


class Variant(Section):
    """A recipe, and what is changed in it."""

    name: Name
    recipe: str
    settings: dict[str, Any] = Field({}, description="by dotted key")


class Suite(Section):
    """What a suite file holds.

    Attributes:
        tasks: name to images; a path alone will do.
        recipes: names or paths of recipes, or variants of them; the first is what the others are compared with.
        seeds: every recipe is trained once with each; the seed draws the split too.
        metric: of val, by which a recipe is chosen for each task; auto: what the first recipe's epochs are chosen by.
    """

    version: Literal[1] = 1
    tasks: dict[Name, Task] = Field(min_length=1)
    recipes: tuple[Variant, ...] = Field(min_length=1)
    seeds: tuple[Annotated[int, Field(ge=0)], ...] = Field((0,), min_length=1)
    metric: Metric = "auto"

    @field_validator("tasks", mode="before")
    @classmethod
    def _path_alone(cls, tasks: object) -> object:
        if not isinstance(tasks, dict):
            return tasks
        return {name: {"data": task} if isinstance(task, str) else task for name, task in tasks.items()}

    @field_validator("recipes", mode="before")
    @classmethod
    def _recipe_alone(cls, recipes: object) -> object:
        if not isinstance(recipes, list):
            return recipes
        return tuple({"name": Path(each).stem, "recipe": each} if isinstance(each, str) else each for each in recipes)

    @field_validator("recipes")
    @classmethod
    def _named_apart(cls, recipes: tuple[Variant, ...]) -> tuple[Variant, ...]:
        names = [variant.name for variant in recipes]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"{twice[0]} is the name of {names.count(twice[0])} recipes; expected a name for each")
        return recipes

    @field_validator("seeds")
    @classmethod
    def _seeds_differ(cls, seeds: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(seeds)) < len(seeds):
            raise ValueError(f"seeds are {list(seeds)}; expected each once: the same seed gives the same run")
        return seeds


@dataclass(frozen=True)
class Entry:
    """One training of a suite.

    Attributes:
        task, variant, seed: what is trained on what.
        recipe: with the settings of the variant and of the task laid over it.
    """

    task: str
    variant: str
    seed: int
    recipe: Recipe

    @property
    def key(self) -> str:
        """Name the entry: task/recipe/seed."""
        return f"{self.task}/{self.variant}/{self.seed}"

    def definition(self, task: Task, folder: Path) -> str:
        """Return a hash of all that decides the training, but the images themselves."""
        told = task.model_dump(exclude={"settings"}) | {"folder": str(folder.resolve())}
        return sha256_of_text(recipe_hash(self.recipe), json.dumps(told, sort_keys=True))


def read_suite(path: Path) -> Suite:
    """Return the suite in `path`.

    Raises:
        UsageError: when there is no such file.
        RecipeError: names every mistake at once, with its line.
    """
    if not path.is_file():
        raise UsageError(found=f"{path} is no file.", expected="a suite in YAML.", fix=f"write one: {EXAMPLE}.")
    document = read_document(path.read_text(encoding="utf-8-sig"), str(path))
    try:
        return Suite.model_validate_json(json.dumps(document.values), strict=True)
    except ValidationError as error:
        details = [each for each in error.errors() if each["type"] != "too_short" or not each["input"]]  # items tell
        lines = list(dict.fromkeys(_explain(detail, document, path) for detail in details))
        raise RecipeError(
            found="\n  ".join([f"{len(lines)} mistake(s) in the suite.", *lines]),
            expected=f"tasks and recipes, such as {EXAMPLE}.",
            fix="change each of them; docs/suites.md explains every key.",
        ) from None


def plan_entries(suite: Suite, folder: Path) -> list[Entry]:
    """Return every training of `suite`, seed by seed, so that each task has a result early.

    Args:
        folder: the suite's own, from which paths start.

    Raises:
        RecipeError: when a recipe does not validate, or divides or labels images otherwise than the first; says which.
    """
    entries = [
        Entry(task, variant.name, seed, _read_recipe(suite.tasks[task], task, variant, seed, folder))
        for seed in suite.seeds
        for task in suite.tasks
        for variant in suite.recipes
    ]
    _require_one_question(entries)
    return entries


def _require_one_question(entries: Sequence[Entry]) -> None:
    firsts: dict[str, Entry] = {}
    for entry in entries:
        first = firsts.setdefault(entry.task, entry)
        if plan_labelling(entry.recipe) != plan_labelling(first.recipe):
            raise RecipeError(
                found=f"recipes {first.variant} and {entry.variant} read the labels of {entry.task} differently.",
                expected="one target.kind and target.columns for all recipes of a task.",
                fix="set the target in the settings of the task.",
            )
        if entry.recipe.split != first.recipe.split:
            raise RecipeError(
                found=f"recipes {first.variant} and {entry.variant} divide the images of {entry.task} differently.",
                expected="one split for all recipes of a task, or their val numbers cannot be compared.",
                fix="set the split in the settings of the task.",
            )


def _read_recipe(task: Task, name: str, variant: Variant, seed: int, folder: Path) -> Recipe:
    settings = {**variant.settings, **task.settings, "seed": seed}
    try:
        return read_recipe(variant.recipe, settings, environment=os.environ, folder=folder)[0]
    except FitwellError as error:
        error.found = f"recipe {variant.name} for task {name}: {error.found}"
        raise


def _explain(detail: ErrorDetails, document: Document, path: Path) -> str:
    line = document.lines.get(_written(tuple(detail["loc"]), document), 1)
    where, key = f"{path}:{line}", ".".join(str(part) for part in detail["loc"])
    if detail["type"] == "extra_forbidden":
        nearest = nearest_name(str(detail["loc"][-1]), _known_keys(detail["loc"]))
        return f"{where}: unknown key {key}" + (f"; did you mean {nearest}?" if nearest else ".")
    if detail["type"] == "missing":
        return f"{where}: {key} is missing."
    return f"{where}: {key} is {json.dumps(detail['input'], default=str)[:80]}; {detail['msg']}."


def _written(location: KeyPath, document: Document) -> KeyPath:
    """Return `location` as far as it was written: keys that are missing have no line."""
    while location and location not in document.lines:
        location = location[:-1]
    return location


def _known_keys(location: Sequence[str | int]) -> Iterator[str]:
    kinds: dict[str | int, type[Section]] = {"tasks": Task, "recipes": Variant}
    yield from (kinds[location[0]] if len(location) > 1 else Suite).model_fields
