"""Every setting and its range."""

from typing import Any

import pytest
from pydantic import ValidationError

from fitwell.recipe.schema import DEFAULT_PHASES, Last, Limits, Phase, Recipe, Stages

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


@pytest.mark.parametrize(
    "change", [{"epochs": 0}, {"learning_rate": 0}, {"train": {"last": 0}}, {"patience": 0}, {"train": "some"}]
)
def test_a_phase_needs_something_to_do(change: dict[str, Any]):
    with pytest.raises(ValidationError):
        Phase.model_validate({**PHASE, **change})


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".hidden", "a b", "x" * 65])
def test_a_phase_name_is_also_a_folder_name(name: str):
    with pytest.raises(ValidationError):
        Phase.model_validate({**PHASE, "name": name})


def test_what_trains_is_a_word_or_a_number_of_layers_or_stages():
    trains = [Phase.model_validate({**PHASE, "train": train}).train for train in ("all", {"last": 3}, {"stages": 2})]
    assert trains == ["all", Last(last=3), Stages(stages=2)]


def test_warmup_must_end_before_its_phase():
    with pytest.raises(ValidationError, match=r"warmup_epochs is 3; expected less than epochs \(3\)"):
        Phase.model_validate({**PHASE, "warmup_epochs": 3})
    with pytest.raises(ValidationError, match=r"expected less than epochs \(3\)"):
        Phase.model_validate({**PHASE, "epochs": "auto", "warmup_epochs": 4})


@pytest.mark.parametrize(("folds", "fold"), [(None, 2), (4, 5)])
def test_the_fold_is_one_of_the_folds(folds: int | None, fold: int):
    with pytest.raises(ValidationError, match=r"write a fold from 1 to split\.folds"):
        Recipe.model_validate({"split": {"folds": folds, "fold": fold}})


def test_phase_names_differ():
    with pytest.raises(ValidationError, match="expected every name once"):
        Recipe.model_validate({"phases": [PHASE, PHASE]})


def test_sizes_are_bytes_or_carry_a_unit():
    assert [Limits(cache=size).cache for size in ("8GB", "512MiB", 1000, "auto")] == [8 * 10**9, 2**29, 1000, "auto"]


def test_the_heads_rate_is_a_multiple_of_the_backbones():
    assert Phase(**PHASE).head_factor == 1.0
    assert Phase(**PHASE, head_learning_rate=5e-3).head_factor == pytest.approx(5e-3 / PHASE["learning_rate"])


def test_only_a_head_can_be_searched_and_the_search_needs_no_schedule():
    assert Phase(name="head", train="head", epochs=3, learning_rate="search").learning_rate == "search"
    for changes in (
        {"train": "all"},
        {"patience": 2},
        {"warmup_epochs": 1},
        {"head_learning_rate": 1e-3},
        {"image_size": 64},
    ):
        with pytest.raises(
            ValidationError,
            match="expected train: head, and no patience, warmup_epochs, head_learning_rate or image_size",
        ):
            Phase(**{"name": "p", "train": "head", "epochs": 3, "learning_rate": "search", **changes})
