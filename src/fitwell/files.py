"""Atomic writes, hashes, JSON.

Every file that a later step trusts is written here: a temporary file in the same directory, flush, fsync,
rename, fsync of the directory. A reader sees the old file or the new one, never half of either.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

SCHEMA_VERSION = 1


def write_atomically(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Give `write` a binary file that becomes `path` only when it is complete and on disk.

    Raises:
        OSError: when the disk is full or the directory cannot be written; the old file stays.
    """
    temporary = path.with_name(f"{path.name}.tmp-{os.getpid()}-{secrets.token_hex(4)}")
    try:
        with temporary.open("xb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    _sync_directory(path.parent)


def write_bytes(path: Path, content: bytes) -> None:
    """Write `content` to `path` atomically."""
    write_atomically(path, lambda file: file.write(content))


def write_text(path: Path, content: str) -> None:
    """Write `content` to `path` atomically, as UTF-8."""
    write_bytes(path, content.encode("utf-8"))


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write `content` with its `schema_version` to `path` atomically; NaN and infinity become null."""
    write_text(path, to_json({"schema_version": SCHEMA_VERSION, **content}, indent=2) + "\n")


def read_json(path: Path) -> dict[str, Any]:
    """Return the JSON object in `path`."""
    content = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds a JSON {type(content).__name__}, expected an object.")
    return content


def to_json(content: object, indent: int | None = None) -> str:
    """Return `content` as standard JSON: numpy scalars as numbers, NaN and infinity as null."""
    return json.dumps(_jsonable(content), indent=indent, ensure_ascii=False, allow_nan=False)


def read_json_lines(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the records of a JSON-lines file; a last line cut short by a kill is left out."""
    if not path.exists():
        return
    for line in path.read_bytes().split(b"\n"):
        try:
            record = json.loads(line)
        except ValueError:
            continue
        yield record


def sha256_of_file(path: Path) -> str:
    """Return the SHA-256 of the bytes in `path`, as 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_of_text(*parts: str) -> str:
    """Return one SHA-256 over `parts`; their borders count, so ("ab", "c") differs from ("a", "bc")."""
    digest = hashlib.sha256()
    for part in parts:
        encoded = part.encode("utf-8", "surrogateescape")
        digest.update(len(encoded).to_bytes(8, "little"))
        digest.update(encoded)
    return digest.hexdigest()


@contextmanager
def appending(path: Path) -> Iterator[Callable[[dict[str, Any]], None]]:
    """Open a JSON-lines file; yield a function that appends one record and hands it to the system at once."""
    with path.open("a", encoding="utf-8") as file:

        def append(record: dict[str, Any]) -> None:
            file.write(to_json(record) + "\n")
            file.flush()

        yield append


def _jsonable(content: object) -> object:
    if isinstance(content, dict):
        return {str(key): _jsonable(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_jsonable(value) for value in content]
    if hasattr(content, "tolist"):
        return _jsonable(content.tolist())
    if isinstance(content, Path):
        return str(content)
    if isinstance(content, float) and not math.isfinite(content):
        return None
    return content


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
