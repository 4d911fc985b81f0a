"""What is wrong with a recipe, in plain words: place, value, what was expected, nearest known key.

The words come from the schema itself, so a setting that is added there is explained here without further work.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from fitwell.errors import RecipeError
from fitwell.recipe.document import KeyPath
from fitwell.recipe.schema import Recipe

NOWHERE = "recipe"  # the place of what nobody wrote: a default
KINDS = {"integer": "a whole number", "number": "a number", "string": "text", "boolean": "true or false"}
SHOW = "`fitwell recipes show auto` prints every key with its value."


@dataclass(frozen=True)
class Mistake:
    """One thing to mend: `place` is file:line, a flag or an environment variable."""

    place: str
    found: str
    expected: str
    nearest: str | None = None


def validate_recipe(values: dict[str, Any], place_of: Callable[[KeyPath], str]) -> tuple[Recipe | None, list[Mistake]]:
    """Return the recipe that `values` describe, or None and everything that is wrong with them.

    Args:
        values: nested plain values, as YAML reads them.
        place_of: gives the place of a key, or of its nearest parent that somebody wrote.
    """
    try:
        # Strict JSON: "3" is not silently the number 3, true is not silently 1, yet a list can be a tuple.
        return Recipe.model_validate_json(json.dumps(values), strict=True), []
    except ValidationError as error:
        # A value that could be of several kinds gives one pydantic error per kind: they are one mistake.
        explained = [_explain(detail, values, place_of) for detail in error.errors()]
        return None, list(dict.fromkeys(mistake for mistake in explained if mistake))


def recipe_error(mistakes: Sequence[Mistake]) -> RecipeError:
    """Return the one error that lists all `mistakes`, of which there is at least one."""
    if len(mistakes) == 1:
        only = mistakes[0]
        fix = f"did you mean {only.nearest}?" if only.nearest else f"change it; {SHOW}"
        return RecipeError(found=f"{only.place}: {only.found}.", expected=f"{only.expected}.", fix=fix)
    lines = [
        f"  {each.place}: {each.found}; "
        + (f"did you mean {each.nearest}?" if each.nearest else f"expected {each.expected}.")
        for each in sorted(mistakes, key=_by_place)
    ]
    return RecipeError(
        found="\n".join([f"{len(mistakes)} mistakes in the recipe.", *lines]),
        expected="only known keys, each with a value in its range.",
        fix=f"change each of them; {SHOW}",
    )


def unknown_key(key: str, known: Iterable[str], section: str, place: str) -> Mistake:
    """Return the mistake of naming `key` where only `known` are, with the nearest of them."""
    known = sorted(known)
    found = f"unknown key {section}.{key}" if section else f"unknown key {key}"
    expected = f"one of {', '.join(known)}" if known else f"a single value at {section}"
    return Mistake(place, found, expected, nearest_name(key, known))


def nearest_name(name: str, known: Iterable[str]) -> str | None:
    """Return the name in `known` that `name` most likely stands for, or None."""
    by_lower = {each.lower(): each for each in known}
    matches = get_close_matches(name.lower().replace("-", "_"), by_lower, n=1, cutoff=0.6)
    matches = matches or get_close_matches(name.lower(), by_lower, n=1, cutoff=0.6)
    return by_lower[matches[0]] if matches else None


def schema_at(path: KeyPath) -> dict[str, Any] | None:
    """Return the JSON Schema of the setting at `path`, None where the recipe has none."""
    node: dict[str, Any] | None = recipe_schema()
    for part in path:
        node = _step(resolve_reference(node), part) if node else None
    return resolve_reference(node) if node else None


def known_keys(path: KeyPath) -> list[str]:
    """Return the keys of the section at `path`; empty when a single value stands there."""
    node = schema_at(path)
    return list(node.get("properties", {})) if node else []


def spell(path: KeyPath, values: dict[str, Any]) -> str:
    """Return `path` as the user writes it: dotted, a phase by its name."""
    parts: list[str] = []
    current: Any = values
    for part in path:
        current = _child(current, part)
        if isinstance(part, int):
            name = current.get("name") if isinstance(current, dict) else None
            if isinstance(name, str) and parts == ["phases"]:
                parts.append(name)
            else:
                parts[-1] = f"{parts[-1]}[{part}]"
        else:
            parts.append(part)
    return ".".join(parts)


@cache
def recipe_schema() -> dict[str, Any]:
    """Return the JSON Schema of a recipe."""
    return Recipe.model_json_schema()


def resolve_reference(node: dict[str, Any]) -> dict[str, Any]:
    """Return the definition that `node` points to, or `node` itself."""
    if "$ref" in node:
        definition: dict[str, Any] = recipe_schema()["$defs"][node["$ref"].rsplit("/", 1)[1]]
        return definition
    return node


def describe_expected(node: dict[str, Any]) -> str:
    """Return in words what a JSON Schema node allows."""
    node = resolve_reference(node)
    if "anyOf" in node:
        return ", or ".join(describe_expected(option) for option in node["anyOf"])
    if "const" in node or "enum" in node:
        words = [str(value) for value in node.get("enum", [node.get("const")])]
        return " or ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)
    if node.get("format") == "size":
        return f"a size such as {node['examples'][0]}"
    kind, required = str(node.get("type")), node.get("required", [])
    if kind == "object" and len(required) == 1:
        return f"{{{required[0]}: {describe_expected(node['properties'][required[0]])}}}"
    if kind == "object":
        return f"a section with the keys {', '.join(node.get('properties', {}))}"
    if kind == "array" and "prefixItems" in node:
        return f"a list of {len(node['prefixItems'])}, each {describe_expected(node['prefixItems'][0])}"
    if kind == "array":
        return "a list of at least one section" if node.get("minItems") else "a list of sections"
    return f"{KINDS.get(kind, kind)}{_describe_range(node)}"


def _describe_range(node: dict[str, Any]) -> str:
    if "pattern" in node:
        return " of at most 64 letters, digits, dots, dashes and underscores that starts with a letter or digit"
    if "minimum" in node and "maximum" in node:
        return f" from {node['minimum']} to {node['maximum']}"
    bounds = [
        ("at least", node.get("minimum")),
        ("above", node.get("exclusiveMinimum")),
        ("at most", node.get("maximum")),
        ("below", node.get("exclusiveMaximum")),
    ]
    described = " and ".join(f"{words} {bound}" for words, bound in bounds if bound is not None)
    return f", {described}" if described else ""


def _by_place(mistake: Mistake) -> tuple[str, int]:
    name, _, line = mistake.place.rpartition(":")
    return (name, int(line)) if line.isdigit() else (mistake.place, 0)


def _explain(detail: ErrorDetails, values: dict[str, Any], place_of: Callable[[KeyPath], str]) -> Mistake | None:
    """Turn one pydantic error into a mistake; None when another error says the same."""
    location: KeyPath = tuple(detail["loc"])
    path = _known_part(location)
    if detail["type"] == "json_invalid":
        return Mistake("recipe", "a value holds half of a surrogate pair", "text in Unicode")
    if detail["type"] == "value_error":
        return _explain_contradiction(str(detail["ctx"]["error"]), path, values, place_of)
    if detail["type"] == "extra_forbidden" and len(path) == len(location) - 1:
        return unknown_key(str(location[-1]), known_keys(path), spell(path, values), place_of(location))
    if detail["type"] == "too_short" and _lookup(path, values):
        return None  # the items are wrong, and each of them is reported
    if path and isinstance(path[-1], int) and detail["type"] == "missing":
        path = path[:-1]
    node, value = schema_at(path) or {}, _lookup(path, values)
    state = "missing" if detail["type"] == "missing" and path == location else _show(value)
    found = f"{spell(path, values)} is {state}"
    return Mistake(place_of(path), found, describe_expected(node), _nearest_word(node, value))


def _explain_contradiction(
    message: str, path: KeyPath, values: dict[str, Any], place_of: Callable[[KeyPath], str]
) -> Mistake:
    """Return the mistake of settings that do not go together; its place is that of a setting in `message`."""
    found, _, expected = message.partition("; expected ")
    named = [(*path, key) for key in known_keys(path) if re.search(rf"\b{key}\b", message)]
    places = [place_of(each) for each in [*named, path] if place_of(each) != NOWHERE]
    section = spell(path, values)
    return Mistake((places or [NOWHERE])[0], f"{section}: {found}" if section else found, expected)


def _known_part(location: KeyPath) -> KeyPath:
    """Return `location` up to where the schema branches; what follows are pydantic's names for the branches."""
    for length in range(len(location), 0, -1):
        if schema_at(location[:length]) is not None:
            return location[:length]
    return ()


def _nearest_word(node: dict[str, Any], value: object) -> str | None:
    """Return the allowed word or key that `value` looks like a misspelling of."""
    options = [resolve_reference(option) for option in node.get("anyOf", [node])]
    if isinstance(value, dict):
        words, value = [key for option in options for key in option.get("properties", {})], next(iter(value), "")
    else:
        allowed = [word for option in options for word in option.get("enum", [option.get("const")])]
        words = [word for word in allowed if isinstance(word, str)]
    nearest = nearest_name(value, words) if isinstance(value, str) else None
    return nearest if nearest != value else None


def _step(node: dict[str, Any], part: str | int) -> dict[str, Any] | None:
    if isinstance(part, str):
        found: dict[str, Any] | None = node.get("properties", {}).get(part)
        return found
    prefix = node.get("prefixItems", [])
    return prefix[part] if part < len(prefix) else node.get("items") or None


def _lookup(path: KeyPath, values: dict[str, Any]) -> object:
    current: Any = values
    for part in path:
        current = _child(current, part)
    return current


def _child(current: object, part: str | int) -> object:
    if isinstance(current, dict):
        return current.get(str(part))
    if isinstance(current, list) and isinstance(part, int) and part < len(current):
        return current[part]
    return None


def _show(value: object) -> str:
    shown = json.dumps(value, ensure_ascii=False)
    if isinstance(value, dict | list):
        shown = shown.replace('"', "")
    return shown if len(shown) <= 80 else f"{shown[:77]}..."
