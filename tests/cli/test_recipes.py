import json

from fitwell.cli.app import run
from fitwell.recipe.read import builtin_recipes, parse_recipe


def test_the_built_in_recipes_are_listed(capsys):
    assert run(["recipes", "list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    names = list(builtin_recipes())
    assert [line.split()[0] for line in lines] == names
    assert run(["recipes", "list", "--json"]) == 0
    assert list(json.loads(capsys.readouterr().out)["recipes"]) == names


def test_a_shown_recipe_can_be_used_as_a_recipe(capsys):
    assert run(["recipes", "show", "two-phase", "--images.size", "96"]) == 0
    assert parse_recipe(capsys.readouterr().out, "shown").images.size == 96


def test_the_origin_of_every_value_is_told(capsys, monkeypatch):
    monkeypatch.setenv("FITWELL_OPTIMIZER__WEIGHT_DECAY", "0.2")
    assert run(["recipes", "show", "two-phase", "--origin", "--images.size", "96"]) == 0
    shown = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert "FITWELL_OPTIMIZER__WEIGHT_DECAY" in shown["optimizer.weight_decay"]
    assert "--images.size" in shown["images.size"]
    assert shown["loss.kind"] == "recipe two-phase"


def test_in_json_the_recipe_comes_with_its_origins(capsys):
    assert run(["recipes", "show", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["recipe"]["version"] == 1
    assert shown["origin"]["version"]
