"""`fitwell recipes list` and `fitwell recipes show`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from fitwell.cli.output import print_json
from fitwell.cli.train import Settings, parse_settings


def list_recipes(*, json: Annotated[bool, Parameter(negative="")] = False) -> None:
    """List the built-in recipes.

    Args:
        json: print them as JSON.
    """
    from fitwell.recipe.read import builtin_recipes

    recipes = builtin_recipes()
    if json:
        print_json({"recipes": recipes})
        return
    for name, description in recipes.items():
        print(f"{name:<12} {description}")


def show(
    recipe: str = "auto",
    /,
    *settings: Settings,
    origin: Annotated[bool, Parameter(negative="")] = False,
    json: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Show a recipe as it would be used here: with the project file, the environment and the settings laid over it.

    Args:
        recipe: name of a built-in recipe, or path of a YAML file.
        origin: say where each value comes from.
        json: print it as JSON.
    """
    from fitwell.recipe.read import read_recipe, recipe_to_yaml

    overrides = parse_settings(settings, known=("--origin", "--json"))
    chosen, origins = read_recipe(recipe, overrides, environment=os.environ, folder=Path.cwd())
    if json:
        print_json({"recipe": chosen.model_dump(mode="json"), "origin": origins})
    elif origin:
        for key, place in origins.items():
            print(f"{key:<36} {place}")
    else:
        print(recipe_to_yaml(chosen), end="")
