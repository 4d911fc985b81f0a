"""The texts of a model card that only its owner can write, kept between markers when the card is written again.

<!-- yours: intended-use -->
A second reader for screening in our clinic.
<!-- end -->
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from fitwell.errors import RunError

BEGIN = re.compile(r"<!-- yours: (\S+) -->\s*")
END = re.compile(r"<!-- end -->\s*")


def read_own_texts(card: Path, names: Mapping[str, object]) -> dict[str, str]:
    """Return the text between the markers of each of `names` in the model `card`; {} where there is none yet.

    Raises:
        RunError: when a marker is broken, so that a text could be lost; the card is left as it is.
    """
    if not card.exists():
        return {}
    try:
        lines = card.read_text(encoding="utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        raise _broken(card, f"byte {error.start} is not UTF-8") from error
    texts: dict[str, list[str]] = {}
    name: str | None = None
    for number, line in enumerate(lines, start=1):
        begin = BEGIN.fullmatch(line)
        if begin and (name is not None or begin[1] not in names or begin[1] in texts):
            raise _broken(card, f"line {number} begins “{begin[1]}”, {_why(begin[1], name, names)}")
        if END.fullmatch(line) and name is None:
            raise _broken(card, f"line {number} ends a text that nothing began")
        if begin:
            name = begin[1]
            texts[name] = []
        elif END.fullmatch(line):
            name = None
        elif name is not None:
            texts[name].append(line)
    lost = name or next((other for other in names if other not in texts), None)
    if lost is not None:
        raise _broken(card, f"“{lost}” has no end" if name else f"the markers of “{lost}” are missing")
    return {name: "\n".join(text) for name, text in texts.items()}


def between_markers(name: str, text: str) -> str:
    """Return `text` between the markers of `name`, as `read_own_texts` finds it again."""
    return f"<!-- yours: {name} -->\n{text}\n<!-- end -->"


def _why(begun: str, name: str | None, names: Mapping[str, object]) -> str:
    if name is not None:
        return f"but “{name}” has no end"
    return "a second time" if begun in names else "which is no text of this card"


def _broken(card: Path, found: str) -> RunError:
    return RunError(
        found=f"the markers of {card} are broken: {found}.",
        expected="each text of yours between a line <!-- yours: NAME --> and a line <!-- end -->.",
        fix="mend that line, or move your text elsewhere and delete the file; it is then written anew.",
    )
