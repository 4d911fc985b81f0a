"""The store under every cache: never a wrong array, whatever happens to the disk, the files or the writer."""

import errno
import json
import os
import pickle
import resource
import signal
import subprocess
import sys
import time
import tracemalloc
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from fitwell.store import ENTRY, MOST_BYTES, Shelf, Store, default_root, record_key

MIB = 2**20
DESCRIPTION = {"backbone": "tiny", "boundary": 3}


def key(number: int) -> bytes:
    return record_key("image", number)


def array(number: int, shape: tuple[int, ...] = (4, 5), dtype: str = "float32") -> np.ndarray:
    """What every test keeps under key(number)."""
    return np.random.default_rng(number).integers(0, 250, shape).astype(dtype)


def shelf_in(root: Path, cap_bytes: int = 100 * MIB) -> Shelf:
    return Store(root, cap_bytes).shelf(DESCRIPTION)


def put(shelf: Shelf, *numbers: int) -> bool:
    return shelf.append([key(number) for number in numbers], [array(number) for number in numbers])


def held(shelf: Shelf, *numbers: int) -> list[int]:
    """The numbers whose arrays are there; each must be the right one."""
    found = [(number, shelf.get(key(number))) for number in numbers]
    present = [(number, content) for number, content in found if content is not None]
    assert all(np.array_equal(content, array(number, content.shape)) for number, content in present)
    return [number for number, _ in present]


def only_file(root: Path, name: str) -> Path:
    (path,) = root.glob(f"*/{name}")
    return path


def bytes_below(root: Path) -> int:
    return sum(path.stat().st_size for path in root.rglob("*") if path.is_file())


def flip_byte(path: Path, position: int) -> None:
    content = bytearray(path.read_bytes())
    content[position] ^= 0xFF
    path.write_bytes(content)


def start(code: str, root: Path) -> subprocess.Popen[str]:
    """Run `code` in another process, with this file's functions and `root` at hand; it says one line when ready."""
    lines = ["import sys, pathlib", f"sys.path.insert(0, {str(Path(__file__).parent)!r})", "from test_store import *"]
    program = "\n".join([*lines, f"root = pathlib.Path({str(root)!r})", code])
    return subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


# What is kept


def test_what_one_process_appends_every_later_one_reads(tmp_path):
    assert put(shelf_in(tmp_path), 1, 2, 3)
    shelf = shelf_in(tmp_path)
    rows = shelf.rows([key(3), key(9), key(1)])
    assert rows.dtype == np.int64
    assert (rows >= 0).tolist() == [True, False, True]
    read = shelf.read(rows[[0, 2, 0]])
    assert read.dtype == np.float32
    assert np.array_equal(read, np.stack([array(3), array(1), array(3)]))
    read[:] = 0  # a copy
    assert np.array_equal(shelf.read(rows[:1])[0], array(3))


@pytest.mark.parametrize("dtype", ["float16", "float32", "uint8", "uint16", "int64", ">f4", "bool"])
@pytest.mark.parametrize("shape", [(), (7,), (3, 2, 4, 2), (0, 3)])
def test_arrays_come_back_with_their_dtype_and_shape(tmp_path, dtype, shape):
    given = np.asarray(array(1, shape), dtype=dtype)
    assert shelf_in(tmp_path).append([key(1)], [given])
    found = shelf_in(tmp_path).get(key(1))
    assert (found.dtype, found.shape) == (given.dtype, given.shape)
    assert found.tobytes() == given.tobytes()


def test_an_array_that_is_not_contiguous_is_kept_as_it_reads(tmp_path):
    given = array(1, (6, 8)).T[::2]
    shelf_in(tmp_path).append([key(1)], [given])
    assert np.array_equal(shelf_in(tmp_path).get(key(1)), given)


def test_one_shelf_holds_arrays_of_many_shapes_but_reads_only_equal_ones_as_one(tmp_path):
    shelf = shelf_in(tmp_path)
    shelf.append([key(1), key(2), key(3)], [array(1, (2, 3)), array(2, (3, 2)), array(3, (2, 3), "uint8")])
    assert [shelf.get(key(number)).shape for number in (1, 2, 3)] == [(2, 3), (3, 2), (2, 3)]
    for pair in ((1, 2), (1, 3)):
        with pytest.raises(ValueError, match="arrays of different shapes or dtypes cannot become one"):
            shelf.read(shelf.rows([key(number) for number in pair]))
    with pytest.raises(IndexError, match="a row of -1 stands for no array"):
        shelf.read(shelf.rows([key(1), key(9)]))


def test_a_batch_is_one_array_too_and_known_keys_are_skipped(tmp_path):
    shelf = shelf_in(tmp_path)
    assert shelf.append([key(1), key(2)], np.stack([array(1), array(2)]))
    size = bytes_below(tmp_path)
    assert shelf.append([key(2), key(1)], np.zeros((2, 4, 5), np.float32))
    assert bytes_below(tmp_path) == size
    assert shelf.append([key(3), key(3)], np.stack([array(3), array(3)]))
    assert bytes_below(tmp_path) == size + array(3).nbytes + ENTRY.size
    assert held(shelf, 1, 2, 3) == [1, 2, 3]


def test_shelves_are_told_apart_by_what_their_description_says_in_any_order(tmp_path):
    store = Store(tmp_path, MIB)
    put(store.shelf({"size": 224, "weights": "a"}), 1)
    assert held(store.shelf({"weights": "a", "size": 224}), 1) == [1]
    for other in ({"size": 225, "weights": "a"}, {"size": 224}, {}):
        assert held(store.shelf(other), 1) == []
    assert json.loads(only_file(tmp_path, "description.json").read_text())["weights"] == "a"


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        (b"short", np.zeros(3), "a key has 16 bytes, not 5"),
        (key(1), np.array(["sixteen letters!"]), "an array of 64 bytes, 1 dimensions and <U16 cannot be kept"),
        (key(1), np.array([None]), "and object cannot be kept"),
        (key(1), np.zeros((1,) * 5), "5 dimensions"),
        (key(1), np.broadcast_to(np.uint8(0), (MOST_BYTES + 1,)), "cannot be kept"),
    ],
)
def test_what_cannot_be_kept_is_refused_before_anything_is_written(tmp_path, name, content, words):
    with pytest.raises(ValueError, match=words):
        shelf_in(tmp_path).append([name], [content])
    with pytest.raises(ValueError, match="shorter"):
        shelf_in(tmp_path).append([key(1), key(2)], [array(1)])
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_created_before_the_first_append(tmp_path):
    store = Store(tmp_path / "cache", MIB)
    shelf = store.shelf(DESCRIPTION)
    assert store.size_bytes() == 0
    assert held(shelf, 1) == []
    assert list(tmp_path.iterdir()) == []
    assert put(shelf, 1)
    assert store.size_bytes() == bytes_below(tmp_path) > 0


def test_a_shelf_sees_what_another_one_appends_later(tmp_path):
    reader, writer = shelf_in(tmp_path), shelf_in(tmp_path)
    for number in range(3):
        assert held(reader, number) == []
        put(writer, number)
        assert held(reader, *range(3)) == list(range(number + 1))


def test_a_pickled_shelf_opens_the_files_for_itself(tmp_path):
    shelf = shelf_in(tmp_path)
    put(shelf, 1)
    copy = pickle.loads(pickle.dumps(shelf))  # noqa: S301 - made in this line
    put(copy, 2)
    assert held(copy, 1, 2) == held(shelf, 1, 2) == [1, 2]


def test_keys_are_sixteen_bytes_that_differ_with_every_part():
    parts = [("a", 1), ("a", "1"), ("a1",), ("a", "", 1), ("b", 1), (1, "a"), ()]
    keys = {record_key(*each) for each in parts}
    assert len(keys) == len(parts)
    assert {len(each) for each in keys} == {16}
    assert record_key("a", 1) == record_key("a", np.int64(1))


def test_keys_that_begin_or_end_alike_are_told_apart(tmp_path):
    shelf, alike = shelf_in(tmp_path), [bytes([number]) + bytes(14) + b"x" for number in range(200)]
    alike += [bytes(15) + bytes([number]) for number in range(200) if number != ord("x")]
    assert shelf.append(alike[:300], [array(number) for number in range(300)])
    assert [shelf.get(each)[0, 0] for each in alike[:300]] == [array(number)[0, 0] for number in range(300)]
    assert [shelf.get(each) for each in alike[300:]] == [None] * 99


def test_a_key_costs_less_than_a_hundred_bytes_of_memory(tmp_path):
    keys = [key(number) for number in range(20_000)]
    assert shelf_in(tmp_path).append(keys, np.zeros((20_000, 1), np.float32))
    tracemalloc.start()
    shelf = shelf_in(tmp_path)
    assert shelf.rows(keys[:1]) == [0]
    num_bytes, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert 20_000 * ENTRY.size < num_bytes < 20_000 * 100


def test_the_cache_lies_where_the_system_says(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_root() == tmp_path / "fitwell"
    for ignored in ("", "relative/folder"):
        monkeypatch.setenv("XDG_CACHE_HOME", ignored)
        assert default_root() == Path.home() / ".cache" / "fitwell"


# Damage


@pytest.mark.parametrize("position", range(0, 80, 7))
def test_a_flipped_byte_of_the_data_costs_one_array_which_can_be_made_again(tmp_path, position):
    put(shelf_in(tmp_path), 1, 2, 3)
    flip_byte(only_file(tmp_path, "data.bin"), array(1).nbytes + position)
    shelf = shelf_in(tmp_path)
    assert held(shelf, 1, 2, 3) == [1, 3]
    assert put(shelf, 2)
    assert held(shelf, 1, 2, 3) == held(shelf_in(tmp_path), 1, 2, 3) == [1, 2, 3]


@pytest.mark.parametrize("position", range(ENTRY.size))
def test_a_flipped_byte_of_the_index_costs_one_array_which_can_be_made_again(tmp_path, position):
    put(shelf_in(tmp_path), 1, 2, 3)
    flip_byte(only_file(tmp_path, "index.bin"), ENTRY.size + position)
    shelf = shelf_in(tmp_path)
    assert held(shelf, 1, 2, 3) == [1, 3]
    assert put(shelf, 2)
    assert held(shelf, 1, 2, 3) == held(shelf_in(tmp_path), 1, 2, 3) == [1, 2, 3]


@pytest.mark.parametrize("name", ["data.bin", "index.bin"])
@pytest.mark.parametrize("lost", [1, 30, 100, 10_000])
def test_a_file_cut_short_costs_what_was_cut_off(tmp_path, name, lost):
    put(shelf_in(tmp_path), 1, 2, 3)
    path = only_file(tmp_path, name)
    os.truncate(path, max(0, path.stat().st_size - lost))
    shelf = shelf_in(tmp_path)
    before = held(shelf, 1, 2, 3)
    assert before == list(range(1, len(before) + 1))
    assert len(before) < 3
    assert put(shelf, 1, 2, 3)
    assert held(shelf, 1, 2, 3) == held(shelf_in(tmp_path), 1, 2, 3) == [1, 2, 3]


def test_an_array_that_ends_too_early_while_it_is_used_is_an_error_and_no_array(tmp_path):
    shelf = shelf_in(tmp_path)
    put(shelf, 1)
    rows = shelf.rows([key(1)])
    os.truncate(only_file(tmp_path, "data.bin"), 3)
    with pytest.raises(OSError, match="the file was cut short while it was used"):
        shelf.read(rows)


def test_a_disk_that_cannot_be_read_holds_nothing(tmp_path, monkeypatch):
    shelf = shelf_in(tmp_path)
    put(shelf, 1)

    def bad_sector(descriptor, num_bytes, offset):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "pread", bad_sector)
    assert held(shelf, 1) == []


# Killed writers, several writers


WRITE_FOR_EVER = """
shelf = shelf_in(root)
for first in range(0, 10**6, 4):
    numbers = range(first, first + 4)
    shelf.append([key(n) for n in numbers], [array(n, (60, 60, 3)) for n in numbers])
    if first == 0:
        print("ready", flush=True)
"""


def test_a_writer_killed_at_any_moment_leaves_a_shelf_that_reads_and_grows(tmp_path):
    for seconds in (0.02, 0.05, 0.083, 0.11):
        with start(WRITE_FOR_EVER, tmp_path) as writer:
            assert writer.stdout.readline() == "ready\n"
            time.sleep(seconds)
            writer.kill()
        assert writer.returncode == -signal.SIGKILL
        found = held(shelf_in(tmp_path), *range(2000))
        assert found == list(range(len(found)))
        assert len(found) >= 4
    shelf = shelf_in(tmp_path)
    assert shelf.append([key(10**6)], [array(10**6)])
    assert held(shelf_in(tmp_path), *found, 10**6) == [*found, 10**6]


@pytest.mark.parametrize("torn", ["data", "index"])
def test_what_a_killed_writer_left_half_written_is_never_read(tmp_path, torn):
    put(shelf_in(tmp_path), 1)
    for name, rest in (("data.bin", b"x" * 50), ("index.bin", b"y" * 20 if torn == "index" else b"")):
        with only_file(tmp_path, name).open("ab") as file:
            file.write(rest)
    shelf = shelf_in(tmp_path)
    assert held(shelf, 1, 2) == [1]
    assert put(shelf, 2)
    assert held(shelf, 1, 2) == held(shelf_in(tmp_path), 1, 2) == [1, 2]


def test_a_shelf_whose_deletion_was_interrupted_is_filled_anew(tmp_path):
    put(shelf_in(tmp_path), 1, 2)
    only_file(tmp_path, "index.bin").unlink()
    shelf = shelf_in(tmp_path)
    assert held(shelf, 1, 2) == []
    assert put(shelf, 2)
    assert held(shelf_in(tmp_path), 1, 2) == [2]


WRITE_SHARED = """
shelf = shelf_in(root)
print("ready", flush=True)
sys.stdin.readline()
for number in range({first}, {last}):
    assert put(shelf, number)
    assert held(shelf, number) == [number]
"""


def test_two_writers_at_once_lose_nothing_and_write_nothing_twice(tmp_path):
    writers = [start(WRITE_SHARED.format(first=first, last=first + 200), tmp_path) for first in (0, 100)]
    for writer in writers:
        assert writer.stdout.readline() == "ready\n"
    for writer in writers:
        writer.communicate("go\n")
        assert writer.returncode == 0
    assert held(shelf_in(tmp_path), *range(300)) == list(range(300))
    assert only_file(tmp_path, "index.bin").stat().st_size == 300 * ENTRY.size
    assert only_file(tmp_path, "data.bin").stat().st_size == 300 * array(0).nbytes


# Full disks, caps, eviction


@contextmanager
def largest_file(num_bytes: int):
    """Let the system refuse to write any file beyond `num_bytes`, after writing the part that fits."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize(("limit", "expected"), [(10 * 80 + 30, 10), (10 * 80 + 79, 10), (300, 3)])
def test_a_full_disk_keeps_whole_arrays_only(tmp_path, limit, expected, caplog):
    shelf = shelf_in(tmp_path)
    with largest_file(limit):
        assert [number for number in range(20) if put(shelf, number)] == list(range(expected))
    assert "takes nothing more: File too large." in caplog.text
    assert only_file(tmp_path, "data.bin").stat().st_size == expected * array(0).nbytes
    assert only_file(tmp_path, "index.bin").stat().st_size == expected * ENTRY.size
    assert held(shelf, *range(20)) == held(shelf_in(tmp_path), *range(20)) == list(range(expected))


def test_a_disk_that_fills_up_within_the_index_keeps_nothing_of_the_batch(tmp_path):
    shelf, keys = shelf_in(tmp_path), [key(number) for number in range(15)]
    with largest_file(10 * ENTRY.size + 30):
        kept = [shelf.append(keys[first : first + 3], np.ones((3, 2), np.uint8)) for first in range(0, 15, 3)]
    assert kept == [True, True, True, False, False]
    assert only_file(tmp_path, "index.bin").stat().st_size == 9 * ENTRY.size
    assert only_file(tmp_path, "data.bin").stat().st_size == 9 * 2
    assert (shelf_in(tmp_path).rows(keys) >= 0).tolist() == [True] * 9 + [False] * 6


def test_the_cap_is_never_exceeded_and_the_refusal_says_why(tmp_path, caplog):
    cap = 1000
    shelf = shelf_in(tmp_path, cap)
    kept = []
    for number in range(20):
        if put(shelf, number):
            kept.append(number)
        assert bytes_below(tmp_path) <= cap
    assert cap - bytes_below(tmp_path) < array(0).nbytes + ENTRY.size
    assert held(shelf, *range(20)) == kept == list(range(len(kept)))
    assert len(kept) > 3
    assert f"The cache in {tmp_path} takes nothing more: its cap of 1,000 bytes is reached." in caplog.messages


def test_what_is_exactly_as_large_as_the_cap_fits(tmp_path):
    put(shelf_in(tmp_path / "measured"), 1)
    size = bytes_below(tmp_path / "measured")
    assert not put(shelf_in(tmp_path / "a", size - 1), 1)
    assert put(shelf_in(tmp_path / "b", size), 1)


def test_the_shelf_unused_for_longest_makes_room(tmp_path):
    store = Store(tmp_path, 3500)
    descriptions = [{"run": number} for number in range(4)]
    block = np.zeros(900, np.uint8)
    for number in range(3):
        assert store.shelf(descriptions[number]).append([key(0)], [block])
    for number, data in enumerate(sorted(tmp_path.glob("*/data.bin"), key=lambda path: path.stat().st_mtime_ns)):
        os.utime(data, (1000 + number, 1000 + number))
    assert store.shelf(descriptions[0]).get(key(0)) is not None  # used now, so shelf 1 is the oldest
    assert store.shelf(descriptions[3]).append([key(0)], [block])
    assert bytes_below(tmp_path) <= 3500
    found = [store.shelf(description).get(key(0)) is not None for description in descriptions]
    assert found == [True, False, True, True]


READ_FOR_EVER = """
shelf = Store(root, 4000).shelf({"run": "in use"})
rows = shelf.rows([key(0)])
print("ready", flush=True)
sys.stdin.readline()
assert np.array_equal(shelf.read(rows)[0], np.full(900, 7, np.uint8))
print("read", flush=True)
"""


def test_a_shelf_that_another_process_reads_is_not_evicted_until_it_ends(tmp_path):
    store = Store(tmp_path, 4000)
    store.shelf({"run": "in use"}).append([key(0)], [np.full(900, 7, np.uint8)])
    store.shelf({"run": "not in use"}).append([key(0)], [np.zeros(900, np.uint8)])
    large = np.zeros(2500, np.uint8)
    with start(READ_FOR_EVER, tmp_path) as reader:
        assert reader.stdout.readline() == "ready\n"
        assert store.shelf({"run": "new"}).append([key(0)], [large])
        assert not store.shelf({"run": "newest"}).append([key(0)], [np.zeros(3500, np.uint8)])
        assert reader.communicate("go\n")[0] == "read\n"
    assert store.shelf({"run": "in use"}).get(key(0)) is not None
    assert store.shelf({"run": "not in use"}).get(key(0)) is None
    assert store.shelf({"run": "newest"}).append([key(0)], [np.zeros(3500, np.uint8)])
    assert store.shelf({"run": "in use"}).get(key(0)) is None


def test_a_shelf_deleted_by_hand_is_read_to_the_end_and_takes_nothing_more(tmp_path, caplog):
    shelf = shelf_in(tmp_path)
    put(shelf, 1)
    rows = shelf.rows([key(1)])
    for path in [*tmp_path.glob("*/*"), *tmp_path.glob("*")]:
        path.rmdir() if path.is_dir() else path.unlink()
    assert np.array_equal(shelf.read(rows)[0], array(1))
    assert not put(shelf, 2)
    assert "it was deleted while it was used" in caplog.text
    assert put(shelf_in(tmp_path), 2)
    assert held(shelf, 1, 2) == [1]


def test_what_is_not_the_stores_own_counts_but_is_never_deleted(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_bytes(b"x" * 500)
    shelf = shelf_in(tmp_path, 1000)
    assert [put(shelf, number) for number in range(5)] == [True, True, True, False, False]
    assert bytes_below(tmp_path) <= 1000
    assert (tmp_path / "mine" / "notes.txt").read_bytes() == b"x" * 500


def test_a_folder_that_cannot_be_written_is_a_refusal_and_no_crash(tmp_path, caplog):
    (tmp_path / "file").touch()
    shelf = shelf_in(tmp_path / "file" / "cache")
    assert not put(shelf, 1)
    assert held(shelf, 1) == []
    assert "takes nothing more: Not a directory." in caplog.text


def test_a_store_that_may_only_be_read_is_read(tmp_path, monkeypatch):
    put(shelf_in(tmp_path), 1)

    def refuse(descriptor):
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "utime", refuse)
    assert held(shelf_in(tmp_path), 1) == [1]


def test_an_array_is_found_behind_a_million_others(tmp_path):
    put(shelf_in(tmp_path), 1)
    index = only_file(tmp_path, "index.bin")
    index.write_bytes(np.random.default_rng(0).bytes(2**20 * ENTRY.size) + index.read_bytes())
    assert shelf_in(tmp_path).rows([key(1), key(2)]).tolist() == [2**20, -1]
