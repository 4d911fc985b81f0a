"""A folder of class folders: which images it holds, and what else was met on the way.

Reads names only and opens no file. A linked folder is never followed, so no circle of links is ever walked.
Used by `index`; never reaches torch.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from fitwell.data.file_format import FORMAT_OF_SUFFIX
from fitwell.data.file_lookup import FileLookup
from fitwell.data.finding import Case, Finding, gather_findings, refuse_errors
from fitwell.data.table import SPLIT_NAMES, name_first
from fitwell.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

IMAGE_SUFFIXES = frozenset(FORMAT_OF_SUFFIX)
SYSTEM_NAMES = frozenset({"__MACOSX", "Thumbs.db", "desktop.ini"})  # passed over like hidden names
LAYOUT = "one folder per class with images in it, as they are or below train/, val/ and test/; or a table."
NUMBER = re.compile("[0-9]+")


def read_folder(root: Path) -> tuple[pd.DataFrame, tuple[Finding, ...]]:
    """Return path, label and, below split folders, split of every image in natural order, and what is wrong.

    Raises:
        DataError: when there is no class folder, or it cannot be told which folders are classes.
    """
    import pandas as pd

    walk = _Walk(root)
    folders, loose = walk.list_folder("")
    is_split = _are_parts(root, folders)
    classes = [] if is_split else [(folder, "") for folder in folders]
    for part in folders if is_split else ():
        inside, loose_here = walk.list_folder(part)
        loose += loose_here
        classes += [(folder, SPLIT_NAMES[part.lower()]) for folder in inside]
    rows: dict[str, list[str]] = {"path": [], "label": [], "split": []}
    for folder, part in classes:
        paths = list(walk.images_below(folder))
        rows["path"] += paths
        rows["label"] += [_last(folder)] * len(paths)
        rows["split"] += [part] * len(paths)
    walk.cases["DATA203"] += [Case(path) for path in loose]
    walk.cases["DATA202"] += [
        Case(name) for name in sorted({_last(folder) for folder, _ in classes} - {*rows["label"]})
    ]
    findings = gather_findings(walk.cases, f"{walk.num_names:,} names")
    if not classes:
        refuse_errors(findings, str(root))  # which may be why
        raise DataError(
            found=f"{root} holds no class folder.",
            expected=LAYOUT,
            fix="give the folder that holds the class folders.",
            code="DATA201",
        )
    return pd.DataFrame(rows if is_split else {name: rows[name] for name in ("path", "label")}, dtype=str), findings


def natural_key(name: str) -> str:
    """Return what to sort names by so that numbers count as numbers: 2 before 10."""

    def in_order(match: re.Match[str]) -> str:
        digits = match[0].lstrip("0")
        return f"{len(digits):03}{digits}"  # a name has at most 255 digits

    return NUMBER.sub(in_order, name)


def _are_parts(root: Path, folders: list[str]) -> bool:
    """Say whether the folders are train, val and test rather than classes."""
    parts = [name for name in folders if name.lower() in SPLIT_NAMES]
    others = [name for name in folders if name not in parts]
    if parts and others and any(_Walk(root).list_folder(name)[0] for name in parts):
        raise DataError(
            found=f"{root} holds the split folder(s) {name_first(parts)} beside {name_first(others)}.",
            expected="either only split folders, or only class folders.",
            fix="move the other folders away, or rename a class that is called train, val or test.",
            code="DATA204",
        )
    return bool(parts) and not others


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    """Return what is visible directly in a folder, in natural order."""
    with os.scandir(folder) as entries:
        visible = (entry for entry in entries if entry.name[0] != "." and entry.name not in SYSTEM_NAMES)
        return sorted(visible, key=lambda entry: (natural_key(entry.name), entry.name))


def _last(path: str) -> str:
    return path.rpartition("/")[2]


class _Walk:
    """A walk through the folders below a root; paths are relative to it.

    Attributes:
        cases: what was met, by code.
        num_names: how many names were looked at.
    """

    def __init__(self, root: Path) -> None:
        self.cases: defaultdict[str, list[Case]] = defaultdict(list)
        self.num_names = 0
        self._root = root
        self._lookup = FileLookup(root)

    def list_folder(self, folder: str) -> tuple[list[str], list[str]]:
        """Return the folders and the images directly in a folder."""
        found = self._list(folder)
        return [path for path, is_folder in found if is_folder], [path for path, is_folder in found if not is_folder]

    def images_below(self, folder: str) -> Iterator[str]:
        """Yield the images at any depth below a folder."""
        waiting = [(folder, True)]  # a stack, because folders may lie deeper than Python calls itself
        while waiting:
            path, is_folder = waiting.pop()
            if is_folder:
                waiting += reversed(self._list(path))
            else:
                yield path

    def _list(self, folder: str) -> list[tuple[str, bool]]:
        """Return what counts directly in a folder, each with whether it is a folder."""
        try:
            entries = _entries(self._root / folder)
        except OSError as error:
            self._note("DATA110", folder or ".", error.strerror or "")
            return []
        self.num_names += len(entries)
        found = []
        for entry in entries:
            path = f"{folder}/{entry.name}" if folder else entry.name
            is_folder = entry.is_dir(follow_symlinks=False)
            if is_folder or self._is_usable_image(entry, path):
                if entry.name.isascii() or _is_utf8(entry.name):
                    found.append((path, is_folder))
                else:
                    self._note("DATA113", path)
        return found

    def _is_usable_image(self, entry: os.DirEntry[str], path: str) -> bool:
        """Say whether what is no folder is an image by its name and its kind; report what is not."""
        is_image = os.path.splitext(entry.name)[1].lower() in IMAGE_SUFFIXES  # noqa: PTH122 - 5 times faster
        code = "" if is_image else "DATA124"
        if entry.is_symlink():
            code = self._fault_of_link(entry.path, code)
        elif not entry.is_file():
            code = "DATA107"
        if code:
            self._note(code, path)
        return not code

    def _fault_of_link(self, link: str, code: str) -> str:
        """Return the code of what keeps a link from being used as an image, given what its name alone says."""
        try:
            mode = os.stat(link).st_mode  # noqa: PTH116
        except OSError as error:
            if error.errno == errno.ELOOP:
                return "DATA112"
            may_be_image = not code or not os.path.splitext(link)[1]  # noqa: PTH122 - no suffix: maybe a class folder
            is_gone = error.errno in (errno.ENOENT, errno.ENOTDIR)
            return code if not may_be_image else "DATA108" if is_gone else "DATA109"
        if not stat.S_ISDIR(mode) and (code or not stat.S_ISREG(mode)):
            return code or "DATA107"
        if not self._lookup.leads_inside(link):
            return "DATA111"
        return "DATA123" if stat.S_ISDIR(mode) else ""

    def _note(self, code: str, path: str, detail: str = "") -> None:
        name = os.fsencode(path).decode("utf-8", "backslashreplace")  # or no report could be written
        self.cases[code].append(Case(name, detail))


def _is_utf8(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
