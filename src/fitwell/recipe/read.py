"""Recipes in and out: built-in names, YAML files, environment, flags; all mistakes at once.

Layers, the later wins: defaults < recipe < ./fitwell.yaml < FITWELL_* variables < overrides. A list replaces the
whole list below it; one phase is addressed by its name (`phases.fine-tune.epochs`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from types import MappingProxyType

from fitwell.errors import RecipeError
from fitwell.files import sha256_of_text, write_text
from fitwell.recipe.document import Document, read_document, to_yaml
from fitwell.recipe.layers import Layers
from fitwell.recipe.mistakes import nearest_name, recipe_error, validate_recipe
from fitwell.recipe.schema import Recipe
from fitwell.run_folder import RunFolder

PROJECT_FILE = "fitwell.yaml"
ENVIRONMENT_PREFIX = "FITWELL_"
HEADER = (
    "A fitwell recipe: everything that decides a training run.\n"
    "`resolved` tells what each `auto` became and why; fitwell writes it."
)
NOTHING: Mapping[str, object] = MappingProxyType({})


def read_recipe(
    name_or_path: str = "auto",
    overrides: Mapping[str, object] = NOTHING,
    *,
    environment: Mapping[str, str],
    folder: Path,
) -> tuple[Recipe, dict[str, str]]:
    """Return the recipe that all layers give together, and where each of its values comes from.

    A resolved recipe (that of a run) can be the base of a new one: its values then count as asked for, and
    its record of what each `auto` became is left behind.

    Args:
        name_or_path: a built-in name or the path of a YAML file.
        overrides: dotted key to value; a string is read as YAML, so "1e-3" is a number.
        environment: variables; only those that start with FITWELL_ count (FITWELL_OPTIMIZER__WEIGHT_DECAY).
        folder: holds the optional fitwell.yaml; relative paths start here.

    Returns:
        the recipe, and dotted key -> "default", "recipe two-phase", "file fitwell.yaml",
        "environment FITWELL_SEED" or "flag --seed".

    Raises:
        RecipeError: names every mistake of every layer at once.
    """
    layers = Layers()
    name, document = _load_base(name_or_path, folder)
    layers.add_document(document, origin=f"recipe {name}", where=name)
    project = folder / PROJECT_FILE
    if project.is_file() and project.resolve() != (folder / name).resolve():
        text = _read_text(project, PROJECT_FILE)
        layers.add_document(read_document(text, PROJECT_FILE), origin=f"file {PROJECT_FILE}", where=PROJECT_FILE)
    for variable in sorted(environment):
        if variable.startswith(ENVIRONMENT_PREFIX):
            layers.set_variable(variable, ENVIRONMENT_PREFIX, environment[variable])
    for key, value in overrides.items():
        layers.set_flag(key, value)
    recipe, mistakes = validate_recipe(layers.values, layers.place_of)
    if recipe is None or layers.mistakes:
        raise recipe_error([*mistakes, *layers.mistakes])
    return recipe.model_copy(update={"resolved": ()}), layers.origins(recipe)


def parse_recipe(text: str, where: str) -> Recipe:
    """Return the recipe that one YAML document holds, `resolved` included; missing keys take their defaults.

    Raises:
        RecipeError: names every mistake at once; `where` is what it calls the document.
    """
    layers = Layers()
    layers.add_document(read_document(text, where), origin=where, where=where)
    recipe, mistakes = validate_recipe(layers.values, layers.place_of)
    if recipe is None:
        raise recipe_error(mistakes)
    return recipe


def recipe_of(run: RunFolder) -> Recipe:
    """Return the recipe that `run` is trained by.

    Raises:
        RecipeError: when its recipe.yaml was changed into something that is none.
    """
    return parse_recipe(run.recipe.read_text(encoding="utf-8"), str(run.recipe))


def recipe_to_yaml(recipe: Recipe) -> str:
    """Return `recipe` as a YAML document with every setting; parse_recipe gives the same recipe back."""
    values = recipe.model_dump(mode="json")
    for optional in ("description", "resolved"):
        if not values[optional]:
            del values[optional]
    return to_yaml(values, HEADER)


def write_recipe(path: Path, recipe: Recipe) -> None:
    """Write `recipe` to `path` atomically, as YAML that parse_recipe reads back equal."""
    write_text(path, recipe_to_yaml(recipe))


def recipe_hash(recipe: Recipe) -> str:
    """Return a SHA-256 of every setting; what `resolved` says about them does not count."""
    values = recipe.model_dump(mode="json", exclude={"resolved"})
    return sha256_of_text(json.dumps(values, sort_keys=True))


def builtin_recipes() -> dict[str, str]:
    """Return name -> description of the recipes that fitwell carries."""
    return {name: parse_recipe(text, name).description for name, text in _builtin_texts().items()}


def _builtin_texts() -> dict[str, str]:
    folder = resources.files("fitwell.recipe") / "builtin"
    files = sorted((each for each in folder.iterdir() if each.name.endswith(".yaml")), key=lambda each: each.name)
    return {each.name.removesuffix(".yaml"): each.read_text(encoding="utf-8") for each in files}


def _load_base(name_or_path: str, folder: Path) -> tuple[str, Document]:
    """Return the name and the content of a built-in recipe, or of the file at a path."""
    texts = _builtin_texts()
    if name_or_path in texts:
        return name_or_path, read_document(texts[name_or_path], f"{name_or_path}.yaml")
    path = folder / name_or_path
    if path.is_file():
        return name_or_path, read_document(_read_text(path, name_or_path), name_or_path)
    nearest = nearest_name(Path(name_or_path).stem, texts)
    raise RecipeError(
        found=f"{name_or_path} is neither a built-in recipe nor a file in {folder}.",
        expected=f"one of {', '.join(texts)}, or the path of a YAML file.",
        fix=f"did you mean {nearest}?" if nearest else "`fitwell recipes list` says what each built-in recipe is for.",
    )


def _read_text(path: Path, where: str) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise RecipeError(
            found=f"{where} is not UTF-8: byte {error.start} is {error.object[error.start]:#04x}.",
            expected="a YAML file in UTF-8.",
            fix="save the file as UTF-8 in your editor.",
        ) from None
    except OSError as error:
        raise RecipeError(
            found=f"{where} cannot be read: {error.strerror}.",
            expected="a YAML file that this user may read.",
            fix=f"change its permissions, for example `chmod u+r {where}`.",
        ) from None
