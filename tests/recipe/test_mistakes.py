"""A wrong recipe in plain words."""

from typing import Any

import pytest

from fitwell.recipe.mistakes import Mistake, describe_expected, nearest_name, recipe_error, schema_at, validate_recipe
from fitwell.recipe.schema import Recipe

PHASE = {"name": "head", "train": "head", "epochs": 3, "learning_rate": 1e-3}


def mistakes_of(values: dict[str, Any]) -> list[Mistake]:
    recipe, mistakes = validate_recipe(values, lambda path: "here")
    assert (recipe is None) == bool(mistakes)
    return mistakes


def test_valid_values_give_a_recipe_and_no_mistake():
    recipe, mistakes = validate_recipe({"seed": 3, "augment": {"crop_area": [0.5, 1]}}, lambda path: "here")
    assert recipe == Recipe.model_validate({"seed": 3, "augment": {"crop_area": (0.5, 1)}})
    assert mistakes == []


@pytest.mark.parametrize(
    ("values", "found", "expected", "nearest"),
    [
        ({"images": {"size": "big"}}, 'images.size is "big"', "a whole number from 16 to 2048, or auto", None),
        ({"images": {"size": "autto"}}, 'images.size is "autto"', "a whole number from 16 to 2048, or auto", "auto"),
        ({"images": {"fit": "crp"}}, 'images.fit is "crp"', "crop, pad or squash", "crop"),
        ({"seed": True}, "seed is true", "a whole number, at least 0 and below 4294967296", None),
        ({"seed": "3"}, 'seed is "3"', "a whole number, at least 0 and below 4294967296", None),
        ({"version": 2}, "version is 2", "1", None),
        ({"model": None}, "model is null", "a section with the keys backbone, weights, own_statistics, head", None),
        ({"model": {"backbone": 3}}, "model.backbone is 3", "text", None),
        ({"optimizer": {"weight_decy": 1}}, "unknown key optimizer.weight_decy", None, "weight_decay"),
        ({"optimiser": {}}, "unknown key optimiser", None, "optimizer"),
        ({"optimizer": {"weight_decay": -1}}, "optimizer.weight_decay is -1", "a number, at least 0", None),
        ({"optimizer": {"clip_norm": 0}}, "optimizer.clip_norm is 0", "a number, above 0, or null", None),
        (
            {"augment": {"crop_area": [0.1]}},
            "augment.crop_area is [0.1]",
            "a list of 2, each a number from 0 to 1",
            None,
        ),
        ({"augment": {"crop_area": [0, 2]}}, "augment.crop_area[1] is 2", "a number from 0 to 1", None),
        ({"phases": []}, "phases is []", "a list of at least one section", None),
        ({"phases": [{**PHASE, "epochs": 0}]}, "phases.head.epochs is 0", "a whole number, at least 1, or auto", None),
        ({"phases": [{**PHASE, "epoch": 1}]}, "unknown key phases.head.epoch", None, "epochs"),
        ({"phases": [PHASE, PHASE]}, "phases are named ['head', 'head']", "every name once", None),
        ({"phases": [3]}, "phases[0] is 3", None, None),
        ({"description": "\ud800"}, "a value holds half of a surrogate pair", "text in Unicode", None),
        (
            {"phases": [{**PHASE, "train": {"lst": 3}}]},
            "phases.head.train is {lst: 3}",
            "head or all, or {last: a whole number, at least 1}, or {stages: a whole number, at least 1}, "
            "or {gradual: {every: a whole number, at least 1}}",
            "last",
        ),
        (
            {"phases": [{**PHASE, "warmup_epochs": 3}]},
            "phases.head: warmup_epochs is 3",
            "less than epochs (3)",
            None,
        ),
        (
            {"phases": [{**PHASE, "name": "a/b"}]},
            'phases.a/b.name is "a/b"',
            "text of at most 64 letters, digits, dots, dashes and underscores that starts with a letter or digit",
            None,
        ),
    ],
)
def test_one_mistake_is_told_once_in_plain_words(
    values: dict[str, Any], found: str, expected: str | None, nearest: str | None
):
    (mistake,) = mistakes_of(values)
    assert (mistake.found, mistake.nearest, mistake.place) == (
        found,
        nearest,
        "recipe" if "surrogate" in found else "here",
    )
    if expected is not None:
        assert mistake.expected == expected


def test_a_missing_key_of_a_phase_is_named():
    (mistake,) = mistakes_of({"phases": [{"name": "head", "train": "head", "epochs": 1}]})
    assert mistake.found == "phases.head.learning_rate is missing"
    assert mistake.expected == "a number, above 0, or search"


def test_a_long_value_is_cut():
    (mistake,) = mistakes_of({"seed": "x" * 500})
    assert mistake.found.endswith("...")
    assert len(mistake.found) < 100


def test_a_contradiction_stands_where_one_of_its_settings_was_written():
    def place_of(path: tuple[str | int, ...]) -> str:
        return "--phases.head.warmup_epochs" if path[-1] == "warmup_epochs" else "recipe"

    _, (mistake,) = validate_recipe({"phases": [{**PHASE, "warmup_epochs": 9}]}, place_of)
    assert mistake.place == "--phases.head.warmup_epochs"


def test_several_mistakes_become_one_error_in_the_order_of_the_file():
    error = recipe_error([Mistake("a.yaml:12", "x is 1", "2"), Mistake("a.yaml:9", "unknown key y", "z", "z")])
    assert (
        error.found
        == "2 mistakes in the recipe.\n  a.yaml:9: unknown key y; did you mean z?\n  a.yaml:12: x is 1; expected 2."
    )
    assert error.expected == "only known keys, each with a value in its range."
    assert error.fix.startswith("change each of them")


def test_a_single_mistake_is_told_without_a_list():
    error = recipe_error([Mistake("--seed", "seed is -1", "a whole number, at least 0")])
    assert (error.found, error.expected) == ("--seed: seed is -1.", "a whole number, at least 0.")
    assert "fitwell recipes show auto" in error.fix


@pytest.mark.parametrize(
    ("name", "nearest"), [("learning-rate", "learning_rate"), ("Learning_Rate", "learning_rate"), ("zzz", None)]
)
def test_the_nearest_name_forgives_case_and_dashes(name: str, nearest: str | None):
    assert nearest_name(name, ["learning_rate", "epochs"]) == nearest


def test_every_setting_of_the_schema_can_be_described():
    def walk(path: tuple[str | int, ...]) -> None:
        node = schema_at(path)
        assert node is not None
        assert describe_expected(node)
        for key in node.get("properties", {}):
            walk((*path, key))
        if "items" in node:
            walk((*path, 0))

    walk(())


def test_no_message_shows_pydantic_or_an_address():
    broken = {"images": {"size": [], "fit": 1}, "phases": [{}], "seed": {}, "split": {"val_fraction": 7}, "x": 1}
    text = str(recipe_error(mistakes_of(broken)))
    for machinery in ("type=", "pydantic", "http", "Input should", "Literal", "constrained"):
        assert machinery not in text


@pytest.mark.parametrize("size", ["lots", -1])
def test_a_size_is_described_by_an_example(size):
    (mistake,) = mistakes_of({"limits": {"cache": size}})
    assert mistake.expected == "a size such as 8GB, or auto"
