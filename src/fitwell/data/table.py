"""A CSV, TSV or Parquet table of images.

Every cell stays text: the labels `no`, `007`, `1.0` and `NA` are the classes no, 007, 1.0 and NA. Rows are
numbered as a spreadsheet shows them: the header is row 1. Used by `index` and `split`; never reaches torch.
"""

from __future__ import annotations

import codecs
import csv
import io
import os
import re
from collections.abc import Iterable
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import TYPE_CHECKING

from fitwell.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

TABLE_SUFFIXES = (".csv", ".tsv", ".parquet")
REQUIRED_COLUMNS = ("path", "label")
MEASURED_COLUMNS = ("id", "sha256", "width", "height")  # ours: what a table says about them is not read
SPLIT_NAMES = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
ADDRESS = re.compile(r"^[A-Za-z][A-Za-z0-9+.-]*:/")


def read_table(path: Path, image_root: Path) -> pd.DataFrame:
    """Return the checked rows of a table, sorted by path.

    Columns: path (relative to `image_root`), label, and where given group, split, weight (float) and slices.
    A group, split or weight column that is blank from top to bottom is as good as absent.

    Raises:
        DataError: on the first kind of fault, with the rows that have it.
    """
    table = read_cells(path)
    missing = [name for name in REQUIRED_COLUMNS if name not in table.columns]
    if missing:
        raise DataError(
            found=f"{path} has the columns {', '.join(map(repr, table.columns)) or '(none)'}.",
            expected="at least the columns 'path' and 'label', named in the first row.",
            fix=f"rename or add {' and '.join(map(repr, missing))}.",
        )
    table = table.drop(columns=[name for name in MEASURED_COLUMNS if name in table.columns])
    for name in ("group", "split", "weight"):
        if name in table.columns and not any(cell.strip() for cell in table[name]):
            table = table.drop(columns=name)
    for name in ("path", "label", "group", "split", "weight"):
        if name in table.columns:
            _refuse(table, [not cell.strip() for cell in table[name]], found=f"{name} is blank", fix=f"fill in {name}")
    _normalise(table)
    table = _drop_repeated_rows(table)
    _check_files(table, image_root)
    return table.sort_values("path").reset_index(drop=True)


def read_cells(path: Path) -> pd.DataFrame:
    """Return the cells of a table as text; the frame's index is the row number. Blank rows are left out."""
    import pandas as pd

    if path.suffix.lower() == ".parquet":
        columns = _read_parquet(path)
        return pd.DataFrame(columns, dtype=str, index=range(1, 1 + len(next(iter(columns.values()), []))))
    header, rows = _read_text(path)
    doubled = sorted({name for name in header if header.count(name) > 1})
    if doubled:
        raise _unreadable(path, f"the column {doubled[0]!r} is named more than once")
    cells = {number: row for number, row in enumerate(rows, start=2) if any(cell.strip() for cell in row)}
    for number, row in cells.items():
        if len(row) != len(header):
            raise _unreadable(path, f"row {number} has {len(row)} cells, the header has {len(header)}")
    return pd.DataFrame(list(cells.values()), columns=header, index=list(cells), dtype=str)


def name_first(items: Iterable[object], limit: int = 10) -> str:
    """Return "a, b, c", ending in "and 7 more" beyond `limit` items."""
    names = [str(item) for item in items]
    rest = len(names) - limit
    return ", ".join(names[:limit]) + (f" and {rest} more" if rest > 0 else "")


def _read_text(path: Path) -> tuple[list[str], list[list[str]]]:
    """Return header and rows; the delimiter is the one that makes the header name `path` and `label`."""
    text = _decode_text(path)
    delimiters = "\t" if path.suffix.lower() == ".tsv" else ",;\t"
    parsed = []
    for delimiter in delimiters:
        first = next(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter), [])
        header = [name.strip() for name in first]
        parsed.append((sum(name in header for name in REQUIRED_COLUMNS), len(header), delimiter))
    delimiter = max(parsed, key=lambda entry: entry[:2])[2]
    try:
        rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True))
    except csv.Error as error:
        raise _unreadable(path, str(error)) from error
    return ([name.strip() for name in rows[0]], rows[1:]) if rows else ([], [])


def _decode_text(path: Path) -> str:
    content = path.read_bytes()
    utf16 = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        return content.decode("utf-16" if utf16 else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise _unreadable(path, f"byte {error.start} is not {error.encoding}") from error


def _read_parquet(path: Path) -> dict[str, list[str]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path)
    except (pa.ArrowException, OSError) as error:
        raise _unreadable(path, " ".join(str(error).split())[:200]) from error
    return {
        name: ["" if value is None else str(value) for value in table.column(name).to_pylist()]
        for name in table.column_names
    }


def _unreadable(path: Path, reason: str) -> DataError:
    return DataError(
        found=f"{path} cannot be read as a table: {reason}.",
        expected="CSV or TSV in UTF-8 (or UTF-16 with its mark) with one header row, or Parquet.",
        fix="save it again as CSV in UTF-8, with quotes around cells that hold the delimiter.",
    )


def _normalise(table: pd.DataFrame) -> None:
    """Bring paths, splits and weights into their one form, in place."""
    _refuse(
        table,
        [_leaves_root(cell) for cell in table["path"]],
        found="path is absolute, an address, or climbs with '..'",
        fix="write each path relative to the folder of images",
    )
    table["path"] = [PurePosixPath(cell).as_posix() for cell in table["path"]]
    if "split" in table.columns:
        splits = [SPLIT_NAMES.get(cell.strip().lower()) for cell in table["split"]]
        _refuse(
            table, [split is None for split in splits], found="split is unknown", fix="write 'train', 'val' or 'test'"
        )
        table["split"] = splits
    if "weight" in table.columns:
        weights = [_to_weight(cell) for cell in table["weight"]]
        _refuse(
            table,
            [weight is None for weight in weights],
            found="weight is no finite number of at least 0",
            fix="write numbers such as 1 or 0.5",
        )
        table["weight"] = [float(weight) for weight in weights if weight is not None]


def _leaves_root(cell: str) -> bool:
    """Say whether a path points elsewhere, on any system."""
    windows = PureWindowsPath(cell)
    return bool("\0" in cell or ADDRESS.match(cell) or windows.anchor or ".." in windows.parts)


def _to_weight(cell: str) -> float | None:
    try:
        weight = float(cell)
    except ValueError:
        return None
    return weight if 0 <= weight < float("inf") else None


def _refuse(table: pd.DataFrame, faulty: list[bool], *, found: str, fix: str) -> None:
    rows = [number for number, is_faulty in zip(table.index, faulty, strict=True) if is_faulty]
    if rows:
        paths = table.loc[rows, "path"].map(repr)
        raise DataError(
            found=f"{found} in {len(rows)} row(s): {name_first(f'row {n} ({p})' for n, p in paths.items())}.",
            expected="every row to name one image below the folder of images, and its class.",
            fix=f"{fix} (the header is row 1).",
        )


def _drop_repeated_rows(table: pd.DataFrame) -> pd.DataFrame:
    """Keep one of rows that say the same; refuse rows that say different things of one image."""
    once = table.drop_duplicates()
    contradicting = once[once["path"].duplicated(keep=False)].sort_values("path", kind="stable")
    if len(contradicting):
        cases = []
        for path, rows in contradicting.groupby("path"):
            columns = [name for name in rows.columns if rows[name].nunique() > 1]
            cases.append(f"{path!r} in rows {name_first(rows.index)} ({', '.join(columns)} differ)")
        raise DataError(
            found=f"{len(cases)} image(s) with rows that contradict each other: {name_first(cases)}.",
            expected="one row per image.",
            fix="keep the right row of each image (the header is row 1).",
        )
    return once


def _check_files(table: pd.DataFrame, image_root: Path) -> None:
    """Refuse rows whose file is missing, no regular file, or reached through a link out of `image_root`."""
    root = os.path.realpath(image_root)
    absent, outside = [], []
    for path in table["path"]:
        file = os.path.join(root, path)  # noqa: PTH118 - os.path is 10 times faster, and tables are long
        if not os.path.isfile(file):  # noqa: PTH113
            absent.append(path)
        elif not os.path.realpath(file).startswith(root + os.sep):
            outside.append(path)
    if absent:
        raise DataError(
            found=f"{len(absent)} of {len(table)} images are not files below {image_root}: {name_first(absent)}.",
            expected="every path of the table, relative to that folder, to be a file.",
            fix="correct the paths, or name the folder that they are relative to.",
        )
    if outside:
        raise DataError(
            found=f"{len(outside)} image(s) are links that leave {image_root}: {name_first(outside)}.",
            expected="every image to lie below the folder of images.",
            fix="copy the images into it, or name the folder that holds them all.",
        )
