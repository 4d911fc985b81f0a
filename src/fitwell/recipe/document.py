"""YAML 1.2 text to plain values with line numbers, and plain values to readable YAML.

Knows nothing of recipes. YAML 1.1 parsers turn the words `no` and `on` into booleans and `1e-3` into a string;
this room keeps the words and reads the number.
"""

from __future__ import annotations

import io
import re
from dataclasses import dataclass
from datetime import date
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import YAMLError
from ruamel.yaml.scalarstring import DoubleQuotedScalarString

from fitwell.errors import RecipeError

KeyPath = tuple[str | int, ...]


@dataclass(frozen=True)
class Document:
    """A YAML mapping as plain values, and the line (1-based) on which each of its keys and items stands."""

    values: dict[str, Any]
    lines: dict[KeyPath, int]


def read_document(text: str, where: str) -> Document:
    """Return the mapping that `text` holds.

    Args:
        text: YAML 1.2; an empty text is an empty mapping.
        where: what errors call the text, usually its path.

    Raises:
        RecipeError: when `text` is not YAML, names a key twice, or is not one mapping.
    """
    content = _load(text, where)
    if content is None:
        return Document({}, {})
    if not isinstance(content, CommentedMap):
        raise RecipeError(
            found=f"{where} holds {_kind(content)}.",
            expected="keys with values, such as `seed: 1`.",
            fix="start from `fitwell recipes show auto`, which prints a complete recipe.",
        )
    lines: dict[KeyPath, int] = {}
    return Document(_plain_section(content, (), lines, where), lines)


def read_value(text: str, where: str) -> object:
    """Return one value as YAML reads it: `1e-3` a number, `null` nothing, `[0.5, 1]` a list, `no` a word.

    Raises:
        RecipeError: when `text` is not YAML.
    """
    content = _load(text, where)
    return _plain(content, (), {}, where)


def to_yaml(values: dict[str, Any], header: str) -> str:
    """Return `values` as YAML in block style, short lists of scalars on one line, under the comment `header`."""
    yaml = YAML()
    yaml.width = 4096  # a reason stays on its line
    yaml.indent(mapping=2, sequence=4, offset=2)
    stream = io.StringIO()
    yaml.dump(_styled(values), stream)
    comment = "".join(f"# {line}\n" for line in header.splitlines())
    return comment + stream.getvalue()


def _load(text: str, where: str) -> object:
    if re.search(r"^%YAML 1\.[01]", text, re.MULTILINE):
        raise RecipeError(
            found=f"{where} declares an older YAML than 1.2.",
            expected="YAML 1.2, in which `no` and `on` are words.",
            fix="remove the line that starts with %YAML.",
        )
    try:
        return YAML().load(text)
    except YAMLError as error:
        raise _syntax_error(error, where) from None
    except RecursionError:
        raise RecipeError(
            found=f"{where} nests brackets deeper than they can be read.",
            expected="a recipe, which is at most 5 deep.",
            fix="close the brackets where they belong.",
        ) from None


def _plain(content: object, path: KeyPath, lines: dict[KeyPath, int], where: str) -> object:
    """Return `content` without ruamel's types, and note the line of every key and item below `path`."""
    if isinstance(content, CommentedMap):
        return _plain_section(content, path, lines, where)
    if isinstance(content, CommentedSeq):
        for position in range(len(content)):
            lines[(*path, position)] = _line(content, position, lines.get(path, 1))
        return [_plain(value, (*path, position), lines, where) for position, value in enumerate(content)]
    return _plain_scalar(content, path, lines, where)


def _plain_section(content: CommentedMap, path: KeyPath, lines: dict[KeyPath, int], where: str) -> dict[str, Any]:
    for key in content:
        lines[(*path, str(key))] = _line(content, key, lines.get(path, 1))
    return {str(key): _plain(value, (*path, str(key)), lines, where) for key, value in content.items()}


def _plain_scalar(content: object, path: KeyPath, lines: dict[KeyPath, int], where: str) -> object:
    if content is None or isinstance(content, bool):
        return content
    for kind in (int, float, str):
        if isinstance(content, kind):
            return kind(content)
    if isinstance(content, date):
        return str(content)
    place = f"{where}:{lines[path]}" if path in lines else where
    raise RecipeError(
        found=f"{place} holds a value of the YAML kind {_tag(content)}.",
        expected="words, numbers, lists and keys only.",
        fix="write the value itself, without a YAML tag.",
    )


def _line(content: CommentedMap | CommentedSeq, key: object, fallback: int) -> int:
    """Return the line of `key`; one that came through a merge key (`<<`) stands where its parent stands."""
    known = content.lc.data or {}
    return int(known[key][0]) + 1 if key in known else fallback


def _tag(content: object) -> str:
    return str(getattr(getattr(content, "tag", None), "value", type(content).__name__))


def _kind(content: object) -> str:
    return "a list" if isinstance(content, list) else f"the single value {str(content)[:60]!r}"


def _syntax_error(error: YAMLError, where: str) -> RecipeError:
    mark = getattr(error, "problem_mark", None)
    place = f"{where}:{mark.line + 1}" if mark else where
    problem = " ".join(str(getattr(error, "problem", None) or getattr(error, "reason", "unreadable text")).split())
    if "duplicate key" in problem:
        return RecipeError(
            found=f"{place}: {problem}.", expected="every key once in its section.", fix="remove one of the two lines."
        )
    fix = "mend the line; values with `: ` or ` #` in them need quotes."
    if "'\\t'" in problem:
        fix = "indent with spaces; YAML does not allow tabs there."
    return RecipeError(found=f"{place}: {problem}.", expected="YAML 1.2.", fix=fix)


def _styled(content: object) -> object:
    if isinstance(content, dict):
        return CommentedMap({key: _styled(value) for key, value in content.items()})
    if isinstance(content, list | tuple):
        items = CommentedSeq(_styled(value) for value in content)
        if not any(isinstance(value, dict | list | tuple) for value in content):
            items.fa.set_flow_style()
        return items
    if isinstance(content, str) and content.startswith("?"):  # ruamel leaves it bare, and reads a key from a bare one
        return DoubleQuotedScalarString(content)
    return content
