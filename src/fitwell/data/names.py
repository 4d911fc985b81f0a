"""What the names of images and classes would do to other tools: terminals, browsers, spreadsheets, other systems.

Used by `index`; never reaches torch.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from fitwell.data.finding import Case
from fitwell.data.table import SPREADSHEET_STARTS

if TYPE_CHECKING:
    import pandas as pd

NUMBER = re.compile(r"[+-][0-9.,eE+-]*")  # what begins like a formula and is harmless, such as -5.2 in a slice


def find_odd_names(images: pd.DataFrame, classes: Sequence[str]) -> dict[str, list[Case]]:
    """Return cases by code: DATA122 dangerous names, 125 paths that are alike, 215 formulas, 216 labels that are alike.

    A folder counts once, not with each of its images.
    """
    paths = images["path"].tolist()
    folders = sorted(_folders_of(paths))
    folder_names = {_last(folder) for folder in folders}
    return {
        "DATA122": [Case(path) for path in (*folders, *paths) if is_dangerous(_last(path))]
        + [Case(label, "label") for label in classes if is_dangerous(label) and label not in folder_names],
        "DATA125": _alike([*folders, *paths], _as_other_systems_see),
        "DATA215": list(_formulas(images)),
        "DATA216": _alike(sorted(classes), lambda label: " ".join(_one_case(label).split())),
    }


def is_dangerous(name: str) -> bool:
    """Say whether a name holds what cannot be seen or what would be acted on, or begins like an option."""
    return not name.isprintable() or name != name.strip() or name.startswith("-") or "<" in name or ">" in name


def _folders_of(paths: Iterable[str]) -> set[str]:
    """Return every folder on the way to one of the paths."""
    found: set[str] = set()
    for folder in {path.rpartition("/")[0] for path in paths}:
        while folder and folder not in found:
            found.add(folder)
            folder = folder.rpartition("/")[0]
    return found


def _last(path: str) -> str:
    return path.rpartition("/")[2]


def _one_case(text: str) -> str:
    return unicodedata.normalize("NFC", text).casefold()


def _as_other_systems_see(path: str) -> str:
    folder, _, name = path.rpartition("/")
    return f"{folder}/{_one_case(name)}"  # the folder as it is: where two are alike, they are reported themselves


def _alike(names: Sequence[str], key: Callable[[str], str]) -> list[Case]:
    """Return a case for every name whose key is that of an earlier one."""
    hashes = np.fromiter((hash(key(name)) for name in names), dtype=np.int64, count=len(names))
    values, counts = np.unique(hashes, return_counts=True)  # a million keys as text would take 100 MB
    first: dict[str, str] = {}
    cases = []
    for position in np.flatnonzero(np.isin(hashes, values[counts > 1])).tolist():
        name = names[position]
        earlier = first.setdefault(key(name), name)
        if earlier != name:
            cases.append(Case(name, other=earlier))
    return cases


def _formulas(images: pd.DataFrame) -> Iterator[Case]:
    for column in images.columns.difference(["split", "weight"], sort=False):
        cells = images[column].tolist()
        starts = (path.partition("/")[0] for path in cells) if column == "path" else cells
        for cell in sorted(set(starts)):
            if cell.startswith(SPREADSHEET_STARTS) and not NUMBER.fullmatch(cell):
                yield Case(cell, f"in the column {column}")
