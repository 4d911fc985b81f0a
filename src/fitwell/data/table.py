"""A CSV, TSV or Parquet table of images.

Every cell stays text: the labels `no`, `007`, `1.0` and `NA` are the classes no, 007, 1.0 and NA. Rows are
numbered as a spreadsheet shows them: the header is row 1. Faulty rows are left out and reported, each kind of fault
once. Used by `index` and `split`; never reaches torch.
"""

from __future__ import annotations

import codecs
import csv
import io
import posixpath
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fitwell.data.file_lookup import FileLookup
from fitwell.data.finding import Case, Finding, gather_findings
from fitwell.data.labels import ONE_EACH, Labelling, join_names
from fitwell.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

TABLE_SUFFIXES = (".csv", ".tsv", ".parquet")
REQUIRED_COLUMNS = ("path", "label")
OPTIONAL_COLUMNS = ("group", "split", "weight")
MEASURED_COLUMNS = ("id", "sha256", "width", "height", "brightness")  # ours: what a table says about them is not read
SPLIT_NAMES = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
YES_OR_NO = {"1": True, "0": False, "1.0": True, "0.0": False, "true": True, "false": False}  # Parquet has the latter
SPREADSHEET_STARTS = ("=", "+", "-", "@", "\t", "\r")
# Absolute, with a drive, an address, climbing, or with NUL, on any system.
LEAVES_ROOT = re.compile(r"\0|^[/\\]|^[A-Za-z]:|^[A-Za-z][A-Za-z0-9+.-]*:/|(^|[/\\])\.\.($|[/\\])")
ROWS_AT_ONCE = 1 << 10  # as lists of text, which take 8 times the memory of a column


def read_table(
    path: Path, image_root: Path, labelling: Labelling = ONE_EACH
) -> tuple[pd.DataFrame, tuple[Finding, ...]]:
    """Return the usable rows of a table in their order, and what is wrong with the others.

    Columns: path (relative to `image_root`), label, and where given group, split, weight (float) and slices.
    A group, split or weight column that is blank from top to bottom is as good as absent. Where an image may show
    several classes, label has their names, sorted and joined by |; it is blank for none.

    Raises:
        DataError: when it cannot be read as a table, or has no column path or label.
    """
    table = read_cells(path)
    columns = _class_columns(table, path, labelling)
    blank = [name for name in OPTIONAL_COLUMNS if name in table.columns and not any(map(str.strip, _text(table[name])))]
    table = table.drop(columns=[*blank, *(name for name in MEASURED_COLUMNS if name in table.columns)])
    faults = _Faults(table)
    for name in (*REQUIRED_COLUMNS, *OPTIONAL_COLUMNS):
        if name in table.columns and not (name == "label" and labelling.several):
            faults.add("DATA208", [not cell.strip() for cell in _text(table[name])], name)
    table = _read_numbers_and_parts(table, faults)
    if labelling.several:
        table = _read_classes(table, columns, labelling, faults)
    table = table.assign(path=_find_files(table, image_root, faults))[~faults.faulty]
    usable = _drop_repeated_rows(table, faults.cases).reset_index(drop=True)
    return usable, gather_findings(faults.cases, f"{len(faults.faulty):,} rows")


def read_cells(path: Path) -> pd.DataFrame:
    """Return the cells of a table as text; the frame's index is the row number. Blank rows are left out.

    Raises:
        DataError: when it cannot be read as a table.
    """
    import pandas as pd

    if not path.is_file():  # reading a pipe would wait for its writer for ever
        raise _unreadable(path, "it is no regular file")
    try:
        if path.suffix.lower() == ".parquet":
            return _read_parquet(path)
        header, rows = _read_text(path)
        _refuse_doubled(path, header)
        frames = [pd.DataFrame(columns=header, dtype=str)]
        numbered = _whole_rows(path, header, rows)
        while some := list(islice(numbered, ROWS_AT_ONCE)):
            numbers, cells = zip(*some, strict=True)
            frames.append(pd.DataFrame(list(cells), columns=header, index=list(numbers), dtype=str))
        return pd.concat(frames[1:] or frames)
    except (csv.Error, OSError) as error:
        raise _unreadable(path, str(error)) from error


def escape_cell(text: str) -> str:
    """Return `text` such that a spreadsheet shows it and does not run it; for tables that people open."""
    return f"'{text}" if text.startswith(SPREADSHEET_STARTS) else text


def name_first(items: Iterable[object], limit: int = 10) -> str:
    """Return "a, b, c", ending in "and 7 more" beyond `limit` items."""
    names = [str(item) for item in items]
    rest = len(names) - limit
    return ", ".join(names[:limit]) + (f" and {rest} more" if rest > 0 else "")


def _text(column: pd.Series[str]) -> list[str]:
    return column.tolist()  # 6 times faster than to go through the column itself


class _Faults:
    """The faults of a table's N rows.

    Attributes:
        cases: by code.
        faulty: (N,) whether a row cannot be used.
    """

    def __init__(self, table: pd.DataFrame) -> None:
        self._table = table
        self.cases: defaultdict[str, list[Case]] = defaultdict(list)
        self.faulty = np.zeros(len(table), dtype=bool)

    def add(self, code: str, faulty: Sequence[bool], column: str | None = None) -> None:
        """Report and exclude rows, with their cell in `column` where the path does not show what is wrong."""
        rows = np.flatnonzero(faulty).tolist()
        self.faulty[rows] = True
        self.note(code, rows, column)

    def note(self, code: str, rows: list[int], column: str | None = None) -> None:
        """Report rows."""
        some = self._table.iloc[rows]
        places = [f"row {number}" for number in some.index]
        details = places
        if column is not None:
            details = [f"{place}, {column} {cell!r}" for place, cell in zip(places, _text(some[column]), strict=True)]
        names = [path if path.strip() else place for path, place in zip(_text(some["path"]), places, strict=True)]
        self.cases[code] += map(Case, names, details)


def _read_text(path: Path) -> tuple[list[str], Iterator[list[str]]]:
    """Return header and rows; the delimiter is the one that makes the header name `path` and `label`."""
    content = path.read_bytes()
    encoding = "utf-16" if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig"
    try:
        content.decode(encoding)
    except UnicodeDecodeError as error:
        raise _unreadable(path, f"byte {error.start} is not {error.encoding}") from error

    def rows(delimiter: str, strict: bool) -> Iterator[list[str]]:
        text = io.TextIOWrapper(io.BytesIO(content), encoding, newline="")
        return csv.reader(text, delimiter=delimiter, strict=strict)

    def fits(delimiter: str) -> tuple[int, int]:
        header = [name.strip() for name in next(rows(delimiter, strict=False), [])]
        return sum(name in header for name in REQUIRED_COLUMNS), len(header)

    found = rows(max("\t" if path.suffix.lower() == ".tsv" else ",;\t", key=fits), strict=True)
    return [name.strip() for name in next(found, [])], found


def _whole_rows(path: Path, header: list[str], rows: Iterable[list[str]]) -> Iterator[tuple[int, list[str]]]:
    """Yield the number and the cells of every row that is not blank."""
    for number, row in enumerate(rows, start=2):
        if not "".join(row).strip():
            continue
        if len(row) != len(header):
            raise _unreadable(path, f"row {number} has {len(row)} cells, the header has {len(header)}")
        yield number, row


def _read_parquet(path: Path) -> pd.DataFrame:
    import pandas as pd
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:  # read_table would make columns of folders called name=value
            table = file.read()
        _refuse_doubled(path, table.column_names)
        cells = {
            name: ["" if value is None else str(value) for value in table.column(name).to_pylist()]
            for name in table.column_names
        }
    except (pa.ArrowException, OSError, ValueError, OverflowError) as error:  # damage; text or dates beyond bounds
        raise _unreadable(path, " ".join(str(error).split())[:200]) from error
    return pd.DataFrame(cells, dtype=str, index=range(1, 1 + table.num_rows))


def _refuse_doubled(path: Path, header: Sequence[str]) -> None:
    doubled = sorted({name for name in header if header.count(name) > 1})
    if doubled:
        raise _unreadable(path, f"the column {doubled[0]!r} is named more than once")


def _unreadable(path: Path, reason: str) -> DataError:
    return DataError(
        found=f"{path} cannot be read as a table: {reason}.",
        expected="CSV or TSV in UTF-8 (or UTF-16 with its mark) with one header row, or Parquet.",
        fix="save it again as CSV in UTF-8, with quotes around cells that hold the delimiter.",
        code="DATA206",
    )


def _class_columns(table: pd.DataFrame, path: Path, labelling: Labelling) -> tuple[str, ...]:
    """Return the columns of 0 and 1 that say which classes an image shows; none where the column label does.

    Raises:
        DataError: when a column is missing, or both ways are there.
    """
    found = [name for name in labelling.columns if name in table.columns]
    if found and "label" in table.columns:
        raise DataError(
            found=f"{path} has the column label beside {name_first(found)}.",
            expected="one answer to which classes an image shows: label, or the columns of target.columns.",
            fix="take out or rename the column label, or leave out target.columns.",
        )
    columns = labelling.columns if found or "label" not in table.columns else ()
    required = ("path", *(columns or ("label",)))
    missing = [name for name in required if name not in table.columns]
    if missing:
        raise DataError(
            found=f"{path} has the columns {', '.join(map(repr, table.columns)) or '(none)'}.",
            expected=f"at least the columns {' and '.join(map(repr, required))}, named in the first row.",
            fix=f"rename or add {' and '.join(map(repr, missing))}.",
            code="DATA207",
        )
    return columns


def _read_classes(table: pd.DataFrame, columns: tuple[str, ...], labelling: Labelling, faults: _Faults) -> pd.DataFrame:
    """Bring the classes that each image shows into the column label: trimmed, sorted, each once."""
    if not columns:
        return table.assign(label=[join_names(labelling.names(cell)) for cell in _text(table["label"])])
    shown = []
    for name in columns:
        cells = [cell.strip().lower() for cell in _text(table[name])]
        faults.add("DATA217", [cell not in YES_OR_NO for cell in cells], name)
        shown.append([name if YES_OR_NO.get(cell) else "" for cell in cells])
    labels = [join_names(name for name in row if name) for row in zip(*shown, strict=True)]
    return table.drop(columns=list(columns)).assign(label=labels)


def _read_numbers_and_parts(table: pd.DataFrame, faults: _Faults) -> pd.DataFrame:
    """Bring splits and weights into their one form. Blank cells are reported already."""
    if "split" in table.columns:
        known = {**SPLIT_NAMES, "": ""}
        parts = [cell.strip().lower() for cell in _text(table["split"])]
        faults.add("DATA211", [part not in known for part in parts], "split")
        table = table.assign(split=[known.get(part, "") for part in parts])
    if "weight" in table.columns:
        weights = [_to_weight(cell.strip() or "0") for cell in _text(table["weight"])]
        faults.add("DATA212", [weight is None for weight in weights], "weight")
        table = table.assign(weight=np.array(weights, dtype=np.float64))
    return table


def _to_weight(cell: str) -> float | None:
    try:
        weight = float(cell)
    except ValueError:
        return None
    return weight if 0 <= weight < float("inf") else None


def _find_files(table: pd.DataFrame, image_root: Path, faults: _Faults) -> list[str]:
    """Return the path of every row in its one form, and report those that lead to no file below `image_root`."""
    lookup = FileLookup(image_root)
    paths: list[str] = []
    rows: defaultdict[str, list[int]] = defaultdict(list)
    for row, cell in enumerate(_text(table["path"])):
        path, code = cell, ""
        if LEAVES_ROOT.search(cell):
            code = "DATA209"
        elif cell.strip():
            path = posixpath.normpath(cell)
            code = lookup.fault(path)
            if code == "DATA108" and "\\" in path:
                turned = posixpath.normpath(path.replace("\\", "/"))
                if (other := lookup.fault(turned)) != "DATA108":
                    path, code = turned, other
                    rows["DATA210"].append(row)
        paths.append(path)
        if code:
            rows[code].append(row)
    for code, found in rows.items():
        faults.note(code, found)
        if code != "DATA210":
            faults.faulty[found] = True
    return paths


def _drop_repeated_rows(table: pd.DataFrame, cases: defaultdict[str, list[Case]]) -> pd.DataFrame:
    """Keep one of rows that say the same, and none of rows that say different things of one image."""
    if not table["path"].duplicated().any():
        return table
    repeated = table.duplicated()
    cases["DATA213"] += [Case(path, f"row {number}") for number, path in table["path"][repeated].items()]
    once = table[~repeated]
    contradicting = once["path"].duplicated(keep=False)
    for path, rows in once[contradicting].groupby("path", sort=False):
        columns = [name for name in rows.columns if rows[name].nunique() > 1]
        cases["DATA214"].append(Case(str(path), f"rows {name_first(rows.index)}: {', '.join(columns)} differ"))
    return once[~contradicting]
