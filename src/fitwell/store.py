"""Arrays that were costly to make, kept on disk for the next run: the one store under every cache.

A store is a folder with a cap. It holds shelves, and a shelf holds the arrays that one description made, such as
the activations of one backbone at one boundary:

    <root>/lock                       held while something is written or looked for
    <root>/<hash>/description.json    what the arrays are, for people
    <root>/<hash>/data.bin            the arrays, one after the other; who uses the shelf holds a shared lock on it
    <root>/<hash>/index.bin           an entry per array

Nothing read here is trusted. One checksum covers the entry and its array, so whatever a crash, a full disk or a bad
sector left behind is either the array that was given or none. Data is written before its entries: a killed writer
leaves at most bytes that no entry names, which go when the shelf goes. Arrays are read with pread, because a memory
map answers a failing disk by killing the process.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import logging
import os
import struct
import weakref
import zlib
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

FORMAT = 1
LOCK, DESCRIPTION, DATA, INDEX = "lock", "description.json", "data.bin", "index.bin"
ENTRY = struct.Struct("<16sQQ3sB4II")  # key, offset, bytes, dtype, dimensions, their sizes, checksum
KEY_BYTES, CHECKSUM_BYTES = 16, 4
MOST_DIMENSIONS = 4
MOST_BYTES = 2**31 - 4096  # of one array: what Linux reads at once
CLOSED = -1
UNSEEN, SOUND, DAMAGED = range(3)  # what is known of a row's checksum

logger = logging.getLogger(__name__)


def default_root() -> Path:
    """Return the folder for caches: `$XDG_CACHE_HOME/fitwell`, or `~/.cache/fitwell`.

    Source: XDG Base Directory Specification 0.8, which says to ignore a relative path.
    """
    given = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (given if given.is_absolute() else Path.home() / ".cache") / "fitwell"


def record_key(*parts: str | int) -> bytes:
    """Return 16 bytes that stand for `parts`; their types and borders count."""
    text = json.dumps([part if isinstance(part, str) else int(part) for part in parts])
    return hashlib.blake2b(text.encode(), digest_size=KEY_BYTES).digest()


@dataclass(frozen=True)
class Store:
    """Shelves of arrays below one folder, together never above a cap; the one unused for longest goes first.

    Any number of processes may use one store. Making one creates nothing.

    Attributes:
        root: a folder of its own; what else lies in it counts towards the cap, but is never deleted.
        cap_bytes: of all files below `root`.
    """

    root: Path
    cap_bytes: int

    def shelf(self, description: Mapping[str, object]) -> Shelf:
        """Return the shelf of the arrays that `description`, a JSON object, made; equal ones share a shelf."""
        return Shelf(self, json.dumps({"format": FORMAT, **description}, sort_keys=True, allow_nan=False))

    def size_bytes(self) -> int:
        """Return the bytes of all files below the root; 0 before anything was written."""
        try:
            with self._locked():
                return _size_of(self.root)
        except FileNotFoundError:
            return 0

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        with (self.root / LOCK).open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            try:
                yield
            finally:
                fcntl.flock(file, fcntl.LOCK_UN)  # closing is not enough when a fork has inherited the file

    def _make_room(self, num_bytes: int) -> None:
        """Delete shelves that nobody uses, the one unused for longest first, until `num_bytes` more fit."""
        if self._fits(num_bytes):
            return
        for data in sorted(self.root.glob(f"*/{DATA}"), key=lambda data: data.stat().st_mtime_ns):
            _delete_unused(data.parent)
            if self._fits(num_bytes):
                return
        raise OSError(errno.ENOSPC, f"its cap of {self.cap_bytes:,} bytes is reached")

    def _fits(self, num_bytes: int) -> bool:
        return _size_of(self.root) + num_bytes <= self.cap_bytes


class Shelf:
    """Arrays by key, of any shape of up to four dimensions. Made by `Store.shelf`.

    A row is a number by which this object, and no other, finds an array again. While the object lives its arrays
    cannot be evicted. It can be pickled; the copy opens the files for itself.
    """

    def __init__(self, store: Store, description: str) -> None:
        self._store, self._description = store, description
        self._folder = store.root / hashlib.blake2b(description.encode(), digest_size=16).hexdigest()
        self._index_file = self._data_file = CLOSED  # descriptors
        self._entries = bytearray()
        self._state = bytearray()  # by row
        self._slots = array("i", [-1])  # rows where their keys lead; a dict of bytes takes ten times the memory

    def __reduce__(self) -> tuple[Callable[[Store, str], Shelf], tuple[Store, str]]:
        return Shelf, (self._store, self._description)

    def rows(self, keys: Sequence[bytes]) -> NDArray[np.int64]:
        """Return (N,) the row of each key, -1 where there is none or its array is damaged.

        The checksum is computed when a row is first asked for. What is damaged is forgotten and can be appended anew.
        """
        if any(self._row(key) < 0 for key in keys):
            with contextlib.suppress(OSError), self._store._locked():  # no store, or none that can be read
                self._follow()
        return np.array([self._sound_row(key) for key in keys], dtype=np.int64)

    def read(self, rows: NDArray[np.int64]) -> NDArray[Any]:
        """Return a copy of the arrays of N >= 1 rows as one (N, ...).

        Raises:
            IndexError: when a row is -1.
            ValueError: when the arrays differ in shape or dtype.
            OSError: when the disk fails.
        """
        if not (rows >= 0).all():
            raise IndexError("a row of -1 stands for no array.")
        entries = [ENTRY.unpack_from(self._entries, row * ENTRY.size) for row in rows.tolist()]
        if len({entry[2:-1] for entry in entries}) > 1:
            raise ValueError("arrays of different shapes or dtypes cannot become one.")
        _, _, num_bytes, dtype, dimensions, *sizes, _ = entries[0]
        arrays: NDArray[Any] = np.empty((len(rows), *sizes[:dimensions]), dtype.decode())
        content = arrays.reshape(-1).view(np.uint8)
        for number, entry in enumerate(entries):
            part = content[number * num_bytes : (number + 1) * num_bytes]
            if os.preadv(self._data_file, [part.data], entry[1]) != num_bytes:
                raise OSError(errno.EIO, "the file was cut short while it was used", str(self._folder / DATA))
        return arrays

    def get(self, key: bytes) -> NDArray[Any] | None:
        """Return the array of one key, or None when there is none or it is damaged."""
        rows = self.rows([key])
        return None if rows[0] < 0 else self.read(rows)[0, ...]

    def append(self, keys: Sequence[bytes], arrays: NDArray[Any] | Sequence[NDArray[Any]]) -> bool:
        """Add one array per key, but those already there; return whether there was room for all of them.

        A full cap or disk, or a folder that cannot be written, is logged, and nothing of this call is kept.

        Raises:
            ValueError: when a key is not 16 bytes long or an array is none that can be kept.
        """
        batch = {key: _keepable(key, array) for key, array in zip(keys, arrays, strict=True)}
        try:
            self._store.root.mkdir(parents=True, exist_ok=True)
            (self._store.root / LOCK).touch()
            with self._store._locked():
                self._follow()
                new = {key: array for key, array in batch.items() if self._row(key) < 0}
                if new:
                    self._write(new)
                    self._follow()
        except OSError as error:
            logger.warning("The cache in %s takes nothing more: %s.", self._store.root, error.strerror)
            return False
        return True

    def _follow(self) -> None:
        """Take up the entries written since the last look. The caller holds the store's lock."""
        if self._data_file == CLOSED and not self._open():
            return
        start = len(self._entries)
        grown = os.pread(self._index_file, max(0, os.fstat(self._index_file).st_size - start), start)
        whole = len(grown) - len(grown) % ENTRY.size  # a killed writer may have left part of an entry
        self._entries += grown[:whole]
        self._state += bytes([UNSEEN]) * (whole // ENTRY.size)
        self._place(start // ENTRY.size)

    def _place(self, first: int) -> None:
        """Put the rows from `first` on into slots, of which at least half stay empty; the later row of a key counts."""
        while len(self._slots) < 2 * len(self._state):
            self._slots, first = array("i", [-1]) * (2 * len(self._slots)), 0
        for row in range(first, len(self._state)):
            self._slots[self._slot(self._key(row))] = row

    def _slot(self, key: bytes | bytearray) -> int:
        """Return the slot of a key's row, or the empty one where it would stand."""
        last = len(self._slots) - 1
        slot = int.from_bytes(key) & last  # keys are hashes already
        while (row := self._slots[slot]) >= 0 and self._key(row) != key:
            slot = (slot + 1) & last
        return slot

    def _key(self, row: int) -> bytearray:
        return self._entries[row * ENTRY.size : row * ENTRY.size + KEY_BYTES]

    def _row(self, key: bytes) -> int:
        row = self._slots[self._slot(key)]
        return -1 if row >= 0 and self._state[row] == DAMAGED else row

    def _open(self) -> bool:
        """Open the files for reading, which keeps them from being evicted; return whether there are any."""
        if not (self._folder / INDEX).exists():
            return False
        self._index_file, self._data_file = (os.open(self._folder / name, os.O_RDONLY) for name in (INDEX, DATA))
        for descriptor in (self._index_file, self._data_file):
            weakref.finalize(self, os.close, descriptor)
        fcntl.flock(self._data_file, fcntl.LOCK_SH)
        with contextlib.suppress(OSError):  # who may only read cannot note the last use
            os.utime(self._data_file)
        return True

    def _sound_row(self, key: bytes) -> int:
        row = self._row(key)
        if row >= 0 and self._state[row] == UNSEEN:
            self._state[row] = SOUND if self._is_sound(row) else DAMAGED
        return row if row >= 0 and self._state[row] == SOUND else -1

    def _is_sound(self, row: int) -> bool:
        content = self._entries[row * ENTRY.size : (row + 1) * ENTRY.size]
        _, offset, num_bytes, *_, checksum = ENTRY.unpack(content)
        if offset + num_bytes > os.fstat(self._data_file).st_size:
            return False
        try:
            array = os.pread(self._data_file, num_bytes, offset)
        except OSError:  # a bad sector
            return False
        return bool(checksum == zlib.crc32(array, zlib.crc32(content[:-CHECKSUM_BYTES])))

    def _write(self, batch: dict[bytes, NDArray[Any]]) -> None:
        """Write the arrays and then their entries, or nothing at all. The caller holds the store's lock."""
        num_bytes = sum(array.nbytes + ENTRY.size for array in batch.values())
        if self._data_file == CLOSED:
            self._store._make_room(num_bytes + len(self._description))
            self._create()
        elif os.fstat(self._data_file).st_nlink == 0:
            raise FileNotFoundError(errno.ENOENT, "it was deleted while it was used")
        else:
            self._store._make_room(num_bytes)
        with self._opened(DATA) as data, self._opened(INDEX) as index:
            data_end, index_end = data.seek(0, os.SEEK_END), index.seek(0, os.SEEK_END)
            index_end -= index_end % ENTRY.size  # a killed writer may have left part of an entry
            entries = bytearray()
            try:
                for key, array in batch.items():
                    entries += _entry(key, array, data.tell())
                    _write_all(data, array.reshape(-1).view(np.uint8).data)
                index.seek(index_end)
                _write_all(index, entries)
            except OSError:
                index.truncate(index_end)
                data.truncate(data_end)
                raise

    def _create(self) -> None:
        self._folder.mkdir(exist_ok=True)
        (self._folder / DESCRIPTION).write_text(self._description, encoding="utf-8")
        (self._folder / DATA).touch()
        (self._folder / INDEX).touch()  # last: a shelf is one that has an index

    def _opened(self, name: str) -> IO[bytes]:
        return (self._folder / name).open("r+b", buffering=0)


def _size_of(folder: Path) -> int:
    """Return the bytes of all files below `folder`; Path.rglob takes five times as long."""
    with os.scandir(folder) as entries:
        return sum(_size_of(Path(entry)) if entry.is_dir() else entry.stat().st_size for entry in entries)


def _delete_unused(folder: Path) -> None:
    """Delete a shelf unless a process holds its lock."""
    with (folder / DATA).open("rb") as data:
        try:
            fcntl.flock(data, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
        for name in (INDEX, DESCRIPTION, DATA):  # data last: what is left by a kill is deleted the next time
            (folder / name).unlink(missing_ok=True)
    folder.rmdir()


def _entry(key: bytes, array: NDArray[Any], offset: int) -> bytes:
    sizes = (*array.shape, *[0] * (MOST_DIMENSIONS - array.ndim))
    content = ENTRY.pack(key, offset, array.nbytes, array.dtype.str.encode(), array.ndim, *sizes, 0)[:-CHECKSUM_BYTES]
    return content + zlib.crc32(array.data, zlib.crc32(content)).to_bytes(CHECKSUM_BYTES, "little")


def _write_all(file: IO[bytes], content: memoryview | bytearray) -> None:
    """Write to the last byte; an unbuffered file may take a part and say so."""
    rest = memoryview(content)
    while rest:
        rest = rest[file.write(rest) :]


def _keepable(key: bytes, array: NDArray[Any]) -> NDArray[Any]:
    if len(key) != KEY_BYTES:
        raise ValueError(f"a key has {KEY_BYTES} bytes, not {len(key)}.")
    if len(array.dtype.str) != 3 or array.ndim > MOST_DIMENSIONS or array.nbytes > MOST_BYTES:
        raise ValueError(f"an array of {array.nbytes} bytes, {array.ndim} dimensions and {array.dtype} cannot be kept.")
    return np.asarray(array, order="C")
