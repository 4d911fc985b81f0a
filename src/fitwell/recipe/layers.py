"""Values laid over one another, each remembering where it came from.

Nothing is judged here but what cannot be laid down: an unknown key or phase, text that is not YAML.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from fitwell.errors import RecipeError
from fitwell.recipe.document import Document, KeyPath, read_value
from fitwell.recipe.mistakes import NOWHERE, Mistake, known_keys, nearest_name, schema_at, spell, unknown_key
from fitwell.recipe.schema import DEFAULT_PHASES, Recipe
from fitwell.recipe.section import Section

WRITTEN_BY_FITWELL = "resolved"


@dataclass
class Layers:
    """The values laid down so far; `_sources` holds (origin, place) of every key that somebody wrote."""

    values: dict[str, Any] = field(default_factory=dict)
    mistakes: list[Mistake] = field(default_factory=list)
    _sources: dict[KeyPath, tuple[str, str]] = field(default_factory=dict)

    def add_document(self, document: Document, *, origin: str, where: str) -> None:
        """Lay a YAML document over what is there: sections key by key, lists and values whole."""
        self._lay(document, document.values, (), (origin, where))

    def set_flag(self, key: str, value: object) -> None:
        """Lay one value over what is there; `key` is dotted, a string is read as YAML."""
        flag = f"--{key}"
        self._set(key.split("."), value, origin=f"flag {flag}", place=flag)

    def set_variable(self, variable: str, prefix: str, value: str) -> None:
        """Lay one environment variable over what is there; `__` separates sections."""
        parts = variable.removeprefix(prefix).lower().split("__")
        self._set(parts, value, origin=f"environment {variable}", place=variable)

    def place_of(self, path: KeyPath) -> str:
        """Return where the key at `path`, or its nearest parent that somebody wrote, stands."""
        for length in range(len(path), 0, -1):
            if path[:length] in self._sources:
                return self._sources[path[:length]][1]
        return NOWHERE

    def origins(self, recipe: Recipe) -> dict[str, str]:
        """Return dotted key -> origin for every setting of `recipe`; phases go by their names."""
        return dict(self._walk(recipe, (), ""))

    def _walk(self, section: Section, path: KeyPath, dotted: str) -> list[tuple[str, str]]:
        found: list[tuple[str, str]] = []
        for name in type(section).model_fields:
            value, here, key = getattr(section, name), (*path, name), f"{dotted}{name}"
            if key == WRITTEN_BY_FITWELL:
                continue
            if key == "phases":
                for position, phase in enumerate(value):
                    found += self._walk(phase, (*here, position), f"{key}.{phase.name}.")
            elif isinstance(value, Section) and known_keys(here):
                found += self._walk(value, here, f"{key}.")
            else:
                found.append((key, self._sources.get(here, ("default", ""))[0]))
        return found

    def _lay(self, document: Document, values: dict[str, Any], path: KeyPath, source: tuple[str, str]) -> None:
        origin, where = source
        target = self._section(path)
        if target is None:
            return  # a lower layer put a single value where a section belongs: that mistake must stay visible
        for key, value in values.items():
            here = (*path, key)
            if isinstance(value, dict) and known_keys(here) and key in target:
                self._lay(document, value, here, source)
                continue
            self._forget(here)
            target[key] = value
            for below, line in document.lines.items():
                if below[: len(here)] == here:
                    self._sources[below] = (origin, f"{where}:{line}")

    def _set(self, parts: list[str], value: object, *, origin: str, place: str) -> None:
        path: KeyPath | None = tuple(parts)
        if parts[0] == "phases" and len(parts) > 1:
            path = self._phase_path(parts[1:], place)
        if path is None:
            return
        depth = self._depth_of_setting(path, place)
        if depth == 0:
            return
        setting, inside = path[:depth], path[depth:]
        target = self._section(setting[:-1])
        if target is None:
            return
        try:
            parsed = _read(value, setting, place)
        except RecipeError as error:
            self.mistakes.append(Mistake(place, f"{value!r} is not YAML", error.expected.rstrip(".")))
            return
        for key in reversed(inside):  # {last: 10}: a value with keys of its own is replaced whole
            parsed = {key: parsed}
        self._forget(setting)
        target[str(setting[-1])] = parsed
        self._sources[setting] = (origin, place)

    def _depth_of_setting(self, path: KeyPath, place: str) -> int:
        """Return how many parts of `path` lead to its setting; 0, and a mistake noted, when the recipe has none."""
        for depth in range(1, len(path) + 1):
            keys = known_keys(path[: depth - 1])
            if isinstance(path[depth - 1], int):
                continue
            if not keys:
                node = schema_at(path[: depth - 1]) or {}
                if "anyOf" in node:
                    return depth - 1
            if path[depth - 1] not in keys or path[0] == WRITTEN_BY_FITWELL:
                known = [key for key in keys if key != WRITTEN_BY_FITWELL]
                section = spell(path[: depth - 1], self.values)
                self.mistakes.append(unknown_key(str(path[depth - 1]), known, section, place))
                return 0
        return len(path)

    def _phase_path(self, parts: list[str], place: str) -> KeyPath | None:
        """Return the path of a key of the phase that `parts` name; None, and a mistake noted, when there is none."""
        if "phases" not in self.values:
            self.values["phases"] = [phase.model_dump(mode="json") for phase in DEFAULT_PHASES]
        phases = self.values["phases"]
        if not isinstance(phases, list) or not all(isinstance(phase, dict) for phase in phases):
            return None  # validation reports it
        asked = ".".join(parts)
        names = [str(phase.get("name")) for phase in phases]
        for position in sorted(range(len(names)), key=lambda each: -len(names[each])):
            for name, text in ((names[position], asked), (_as_variable(names[position]), _as_variable(asked))):
                if text.startswith(f"{name}.") or text == name:
                    rest = asked[len(name) + 1 :]
                    return ("phases", position, *(rest.split(".") if rest else []))
        found, expected = f"no phase is named {parts[0]}", f"one of {', '.join(names)}"
        self.mistakes.append(Mistake(place, found, expected, nearest_name(parts[0], names)))
        return None

    def _section(self, path: KeyPath) -> dict[str, Any] | None:
        """Return the section at `path`, made when nothing is there; None when it is not a section."""
        current: Any = self.values
        for part in path:
            current = current[part] if isinstance(part, int) else current.setdefault(part, {})
            if not isinstance(current, dict | list):
                return None
        return current if isinstance(current, dict) else None

    def _forget(self, path: KeyPath) -> None:
        for below in [each for each in self._sources if each[: len(path)] == path]:
            del self._sources[below]


def _as_variable(name: str) -> str:
    return re.sub(r"[^a-z0-9.]", "_", name.lower())


def _read(value: object, path: KeyPath, place: str) -> object:
    if not isinstance(value, str):
        return value
    node = schema_at(path) or {}
    if node.get("type") == "string":  # a backbone, a description: 007 and null stay the words they are
        return value
    return read_value(value, place)
