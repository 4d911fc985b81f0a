"""Atomic writes, hashes, JSON."""

import hashlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import IO

import numpy as np
import pytest

from fitwell.files import (
    appending,
    read_json,
    read_json_lines,
    sha256_of_file,
    sha256_of_text,
    to_json,
    write_atomically,
    write_bytes,
    write_json,
    write_text,
)


def names_in(folder: Path) -> list[str]:
    return sorted(each.name for each in folder.iterdir())


def run_python(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True)


def test_a_write_replaces_the_file_and_leaves_nothing_beside_it(tmp_path: Path):
    path = tmp_path / "a.txt"
    write_text(path, "old")
    write_text(path, "née\n")
    assert path.read_bytes() == "née\n".encode()
    assert names_in(tmp_path) == ["a.txt"]


def test_an_error_in_the_middle_leaves_the_old_file(tmp_path: Path):
    path = tmp_path / "a.bin"
    write_bytes(path, b"old")

    def fail(file: IO[bytes]) -> None:
        file.write(b"half of the new")
        raise RuntimeError("the writer broke")

    with pytest.raises(RuntimeError, match="the writer broke"):
        write_atomically(path, fail)
    assert path.read_bytes() == b"old"
    assert names_in(tmp_path) == ["a.bin"]


def test_a_kill_in_the_middle_leaves_the_old_file(tmp_path: Path):
    path = tmp_path / "a.bin"
    write_bytes(path, b"old")
    code = (
        "import os, signal, sys, pathlib\n"
        "from fitwell.files import write_atomically\n"
        "def die(file):\n"
        "    file.write(b'half'); file.flush(); os.kill(os.getpid(), signal.SIGKILL)\n"
        "write_atomically(pathlib.Path(sys.argv[1]), die)\n"
    )
    assert run_python(code, str(path)).returncode == -signal.SIGKILL
    assert path.read_bytes() == b"old"


def test_a_full_disk_leaves_the_old_file_and_says_so(tmp_path: Path):
    path = tmp_path / "a.bin"
    write_bytes(path, b"old")
    code = (
        "import resource, signal, sys, pathlib\n"
        "from fitwell.files import write_bytes\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "try:\n"
        "    write_bytes(pathlib.Path(sys.argv[1]), bytes(100_000))\n"
        "except OSError as error:\n"
        "    print(error.strerror)\n"
    )
    assert run_python(code, str(path)).stdout == "File too large\n"
    assert path.read_bytes() == b"old"
    assert names_in(tmp_path) == ["a.bin"]


def test_a_folder_that_is_not_there_is_an_error(tmp_path: Path):
    with pytest.raises(FileNotFoundError):
        write_text(tmp_path / "nowhere" / "a.txt", "x")


def test_json_carries_its_schema_version_and_reads_back(tmp_path: Path):
    path = tmp_path / "a.json"
    write_json(path, {"name": "né", "values": (1, 2.5)})
    assert read_json(path) == {"schema_version": 1, "name": "né", "values": [1, 2.5]}
    assert path.read_text(encoding="utf-8").endswith("}\n")


def test_json_that_is_no_object_is_refused(tmp_path: Path):
    (tmp_path / "a.json").write_text("[1]")
    with pytest.raises(ValueError, match="holds a JSON list, expected an object"):
        read_json(tmp_path / "a.json")


def test_json_is_standard_whatever_goes_in():
    content = {
        "nan": float("nan"),
        "infinity": -np.inf,
        "scalar": np.float32(0.5),
        "array": np.array([[1, 2], [3, 4]]),
        "nan in array": np.array([np.nan, 1.0]),
        "path": Path("a/b"),
        "flag": np.bool_(True),
        3: (None, True),
    }
    assert json.loads(to_json(content)) == {
        "nan": None,
        "infinity": None,
        "scalar": 0.5,
        "array": [[1, 2], [3, 4]],
        "nan in array": [None, 1.0],
        "path": "a/b",
        "flag": True,
        "3": [None, True],
    }


def test_records_are_on_disk_as_soon_as_they_are_appended(tmp_path: Path):
    path = tmp_path / "a.jsonl"
    with appending(path) as append:
        append({"a": 1})
        assert list(read_json_lines(path)) == [{"a": 1}]
    with appending(path) as append:
        append({"a": float("nan")})
    assert list(read_json_lines(path)) == [{"a": 1}, {"a": None}]


def test_a_last_record_cut_by_a_kill_is_left_out(tmp_path: Path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"a": 1}\n{"a": 2}\n{"a": ')
    assert list(read_json_lines(path)) == [{"a": 1}, {"a": 2}]


def test_no_file_has_no_records(tmp_path: Path):
    assert list(read_json_lines(tmp_path / "none.jsonl")) == []


def test_the_hash_of_a_file_is_that_of_its_bytes(tmp_path: Path):
    path = tmp_path / "a.bin"
    path.write_bytes(b"abc" * 100_000)
    assert sha256_of_file(path) == hashlib.sha256(b"abc" * 100_000).hexdigest()


def test_the_hash_of_texts_sees_their_borders():
    assert sha256_of_text("ab", "c") != sha256_of_text("a", "bc")
    assert sha256_of_text("ab", "c") == sha256_of_text("ab", "c")
    assert sha256_of_text("a") == hashlib.sha256(b"\x01\0\0\0\0\0\0\0a").hexdigest()


def test_a_name_that_is_not_unicode_has_a_hash():
    assert sha256_of_text(os.fsdecode(b"caf\xe9")) == hashlib.sha256(b"\x04\0\0\0\0\0\0\0caf\xe9").hexdigest()
