"""Every setting and its range."""

from typing import Any

import pytest
from pydantic import ValidationError

from fitwell.recipe.phase import Stages
from fitwell.recipe.schema import DEFAULT_PHASES, Limits, Recipe

PHASE: dict[str, Any] = {"name": "head", "train": "head", "epochs": 3, "learning_rate": 1e-3}


def test_the_defaults_are_a_whole_recipe():
    recipe = Recipe()
    assert recipe.phases == DEFAULT_PHASES
    assert [phase.train for phase in recipe.phases] == ["head", Stages(stages=2)]
    assert recipe.resolved == ()


def test_a_recipe_is_frozen():
    with pytest.raises(ValidationError, match="frozen"):
        Recipe().seed = 3  # type: ignore[misc]


@pytest.mark.parametrize(
    "section", ["model", "images", "augment", "loss", "balance", "optimizer", "split", "select", "execution"]
)
def test_unknown_keys_are_refused_in_every_section(section: str):
    with pytest.raises(ValidationError, match="extra_forbidden"):
        Recipe.model_validate({section: {"unheard_of": 1}})


@pytest.mark.parametrize(
    "values",
    [
        {"version": 2},
        {"seed": -1},
        {"seed": 2**32},
        {"phases": []},
        {"images": {"size": 15}},
        {"images": {"size": 2049}},
        {"images": {"crop_fraction": 0}},
        {"model": {"head": {"dropout": 1}}},
        {"augment": {"rotate_degrees": 181}},
        {"augment": {"color": {"hue": 0.6}}},
        {"augment": {"views": 0}},
        {"loss": {"label_smoothing": 1}},
        {"optimizer": {"weight_decay": float("nan")}},
        {"optimizer": {"weight_decay": float("inf")}},
        {"optimizer": {"clip_norm": 0}},
        {"split": {"val_fraction": 0}},
        {"execution": {"batch_size": 0}},
        {"execution": {"workers": -1}},
    ],
)
def test_values_outside_their_range_are_refused(values: dict[str, Any]):
    with pytest.raises(ValidationError):
        Recipe.model_validate(values)


@pytest.mark.parametrize(("folds", "fold"), [(None, 2), (4, 5)])
def test_the_fold_is_one_of_the_folds(folds: int | None, fold: int):
    with pytest.raises(ValidationError, match=r"write a fold from 1 to split\.folds"):
        Recipe.model_validate({"split": {"folds": folds, "fold": fold}})


def test_phase_names_differ():
    with pytest.raises(ValidationError, match="expected every name once"):
        Recipe.model_validate({"phases": [PHASE, PHASE]})


def test_sizes_are_bytes_or_carry_a_unit():
    assert [Limits(cache=size).cache for size in ("8GB", "512MiB", 1000, "auto")] == [8 * 10**9, 2**29, 1000, "auto"]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"model": {"head": {"hidden": [{"units": 8}]}}},
            r"phases\.head\.learning_rate is search and model\.head has hidden",
        ),
        ({"augment": {"policy": "rand"}, "execution": {"pictures": "resident"}}, "expected pictures: stream"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(values: dict[str, Any], message: str):
    with pytest.raises(ValidationError, match=message):
        Recipe.model_validate(values)


@pytest.mark.parametrize(
    ("section", "value"), [("loss", {"kind": "ordinal"}), ("select", {"metric": "quadratic_kappa"})]
)
def test_what_needs_an_order_is_refused_without_one(section, value):
    with pytest.raises(ValidationError, match=r"target.order is empty; expected the classes in their order"):
        Recipe.model_validate({section: value})
    Recipe.model_validate({section: value, "target": {"order": ["mild", "severe"]}})


def test_a_class_stands_once_in_the_order():
    with pytest.raises(ValidationError, match="order names mild more than once"):
        Recipe.model_validate({"target": {"order": ["mild", "severe", "mild"]}})
