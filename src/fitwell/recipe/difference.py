"""What two recipes say otherwise."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fitwell.recipe.phase import Phase
from fitwell.recipe.schema import Recipe

UNSAID = {"version", "description", "resolved", "targets"}  # decide nothing about a training

Settings = dict[str, Any]


def recipe_difference(before: Recipe, after: Recipe) -> list[Settings]:
    """Return what differs as records of `key` (dotted; a phase goes by its name), `before` and `after`.

    A phase that only one of them has is one record: None on the other side, on its own what is not default.
    """
    return list(_differences(settings_of(before), settings_of(after)))


def settings_of(recipe: Recipe) -> Settings:
    """Return what decides the training as plain nested values; phases by their names."""
    values = recipe.model_dump(mode="json", exclude=UNSAID)
    return {**values, "phases": {phase["name"]: phase for phase in values["phases"]}}


def settings_asked(recipe: Recipe) -> Settings:
    """Return `settings_of` the recipe before any `auto` was resolved: equal in all runs of one recipe."""
    values = settings_of(recipe)
    for row in recipe.resolved:
        if row.asked == "auto":  # other rows tell what became of a phase that is not there any more
            section, _, key = row.key.rpartition(".")
            first, _, phase = section.partition(".")
            (values[first][phase] if phase else values[first])[key] = "auto"
    return values


def _differences(before: Settings, after: Settings, place: tuple[str, ...] = ()) -> Iterator[Settings]:
    for name in dict.fromkeys((*before, *after)):
        old, new, path = before.get(name), after.get(name), (*place, name)
        if isinstance(old, dict) and isinstance(new, dict):
            yield from _differences(old, new, path)
        elif old != new:
            yield {"key": ".".join(path), "before": _short(old, place), "after": _short(new, place)}


def _short(value: object, place: tuple[str, ...]) -> object:
    """Return a whole phase as what is not default in it, and anything else as it is."""
    if place != ("phases",) or value is None:
        return value
    return Phase.model_validate(value).model_dump(mode="json", exclude_defaults=True, exclude={"name"})
