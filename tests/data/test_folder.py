import os
import re
import socket
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fitwell.data.finding import Case
from fitwell.data.folder import _Walk, natural_key, read_folder
from fitwell.errors import DataError


def put(root, *paths):
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).touch()


def paths_of(root):
    """The paths of a folder without any fault."""
    images, findings = read_folder(root)
    assert findings == ()
    return images["path"].tolist()


def faults(root):
    """The paths that are left, and the cases of each code."""
    images, findings = read_folder(root)
    return images["path"].tolist(), {finding.code: list(finding.cases) for finding in findings}


def refused(root):
    with pytest.raises(DataError) as caught:
        read_folder(root)
    return caught.value


def test_class_folders_become_labels(tmp_path):
    put(tmp_path, "dog/b.png", "dog/a.JPG", "cat/x.webp", "cat/y.tiff", "cat/z.gif", "cat/w.bmp", "cat/v.dcm")
    images, findings = read_folder(tmp_path)
    assert findings == ()
    assert images.to_dict("list") == {
        "path": ["cat/v.dcm", "cat/w.bmp", "cat/x.webp", "cat/y.tiff", "cat/z.gif", "dog/a.JPG", "dog/b.png"],
        "label": ["cat"] * 5 + ["dog"] * 2,
    }


def test_numbers_in_names_are_sorted_as_numbers_in_folders_and_files(tmp_path):
    put(tmp_path, "a/img10.png", "a/img2.png", "a/img02.png", "a/day10/1.png", "a/day9/1.png", "b/1.png")
    assert paths_of(tmp_path) == [
        "a/day9/1.png",
        "a/day10/1.png",
        "a/img02.png",
        "a/img2.png",
        "a/img10.png",
        "b/1.png",
    ]


@given(st.lists(st.text(st.sampled_from("ab-019"), max_size=6)))
def test_the_natural_order_compares_numbers_by_value(names):
    def pieces(name):  # text and numbers in turn, as Python compares them
        return [int(piece) if piece.isdigit() else piece for piece in re.split("([0-9]+)", name)]

    same_start = [f"x{name.lstrip('0123456789')}" for name in names]
    numbers = [f"x{int(digits)}" for name in names if (digits := re.sub("[^0-9]", "", name))]
    assert sorted(numbers, key=natural_key) == sorted(numbers, key=pieces)
    assert len({natural_key(name) for name in same_start}) <= len(set(same_start))


@pytest.mark.parametrize("val", ["val", "valid", "validation", "Val"])
def test_split_folders_give_the_split(tmp_path, val):
    put(tmp_path, "train/a/1.png", "train/b/2.png", f"{val}/a/3.png", "test/b/4.png")
    images, findings = read_folder(tmp_path)
    assert findings == ()
    assert sorted(images.itertuples(index=False, name=None)) == sorted(
        [
            ("train/a/1.png", "a", "train"),
            ("train/b/2.png", "b", "train"),
            (f"{val}/a/3.png", "a", "val"),
            ("test/b/4.png", "b", "test"),
        ]
    )


def test_a_class_may_be_called_train_when_it_holds_images_itself(tmp_path):
    put(tmp_path, "train/1.png", "tram/2.png")
    assert list(read_folder(tmp_path)[0]["label"]) == ["train", "tram"]
    assert list(read_folder(tmp_path)[0].columns) == ["path", "label"]


def test_split_folders_beside_other_folders_are_refused(tmp_path):
    put(tmp_path, "train/a/1.png", "train/b/2.png", "extra/3.png")
    error = refused(tmp_path)
    assert error.code == "DATA204"
    assert error.found == f"{tmp_path} holds the split folder(s) train beside extra."
    assert error.expected == "either only split folders, or only class folders."
    assert error.fix.startswith("move the other folders away")


def test_hidden_and_system_names_are_passed_over(tmp_path):
    put(tmp_path, "a/1.png", "b/1.png", ".cache/1.png", "__MACOSX/1.png", "a/._1.png", "a/.hidden/1.png")
    put(tmp_path, "b/__MACOSX/2.png", "Thumbs.db", ".DS_Store", "a/Thumbs.db", "a/desktop.ini")
    assert paths_of(tmp_path) == ["a/1.png", "b/1.png"]


def test_other_files_are_left_out_and_noted(tmp_path):
    put(tmp_path, "a/1.png", "b/1.png", "a/notes.txt", "labels.csv", "b/photo.heic")
    left, found = faults(tmp_path)
    assert left == ["a/1.png", "b/1.png"]
    assert found == {"DATA124": [Case("labels.csv"), Case("a/notes.txt"), Case("b/photo.heic")]}


def test_images_deeper_inside_a_class_folder_belong_to_that_class(tmp_path):
    put(tmp_path, "a/monday/east/1.png", "a/2.png", "b/monday/1.png")
    images, _ = read_folder(tmp_path)
    assert list(zip(images["path"], images["label"], strict=True)) == [
        ("a/2.png", "a"),
        ("a/monday/east/1.png", "a"),
        ("b/monday/1.png", "b"),
    ]


def test_folders_deeper_than_python_calls_itself_are_walked(tmp_path):
    put(tmp_path, "a/1.png", "b/1.png")
    folders = [tmp_path / "a" / "d"]
    folders += [folders[0] / "/".join("d" * depth) for depth in range(1, 1200)]
    for folder in folders:
        folder.mkdir()
    (folders[-1] / "1.png").touch()
    left = paths_of(tmp_path)
    (folders[-1] / "1.png").unlink()
    for folder in reversed(folders):  # pytest would call itself as often to remove them
        folder.rmdir()
    assert left == ["a/1.png", "a/" + "d/" * 1200 + "1.png", "b/1.png"]


def test_labels_of_folders_stay_text(tmp_path):
    put(tmp_path, "007/1.png", "no/1.png", "1.0/1.png", "NA/1.png")
    assert set(read_folder(tmp_path)[0]["label"]) == {"007", "1.0", "NA", "no"}


def test_odd_names_round_trip(tmp_path):
    names = {
        "-x.png",
        "a b.png",
        "new\nline.png",
        "<script>.png",
        "\u202ertl.png",
        "u\u0308.png",
        "\u00fc.png",
        "'q\".png",
    }
    put(tmp_path, *(f"a/{name}" for name in names), "b/1.png")
    assert set(paths_of(tmp_path)) == {f"a/{name}" for name in names} | {"b/1.png"}


def test_names_that_are_not_utf8_are_left_out_and_written_readably(tmp_path):
    put(tmp_path, "a/1.png", "b/1.png", "b/" + os.fsdecode(b"\xff.png"), os.fsdecode(b"c\xfe") + "/1.png")
    put(tmp_path, "b/" + os.fsdecode(b"\xfd.txt"))
    left, found = faults(tmp_path)
    assert left == ["a/1.png", "b/1.png"]
    assert found == {
        "DATA113": [Case(r"c\xfe"), Case(r"b/\xff.png")],
        "DATA124": [Case(r"b/\xfd.txt")],
    }


def test_pipes_and_sockets_are_left_out_without_waiting(tmp_path):
    put(tmp_path, "a/1.png", "b/1.png")
    os.mkfifo(tmp_path / "a" / "pipe.png")
    (tmp_path / "a" / "to-pipe.png").symlink_to("pipe.png")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "b" / "s"))
        left, found = faults(tmp_path)
    assert left == ["a/1.png", "b/1.png"]
    assert found == {"DATA107": [Case("a/pipe.png"), Case("a/to-pipe.png"), Case("b/s")]}


def test_links_to_images_inside_count_and_linked_folders_are_not_followed(tmp_path):
    put(tmp_path, "a/1.png", "b/1.png", ".pool/9.png")
    (tmp_path / "b" / "link.png").symlink_to("../.pool/9.png")
    (tmp_path / "a" / "up").symlink_to("..")
    (tmp_path / "alias").symlink_to("a")
    left, found = faults(tmp_path)
    assert left == ["a/1.png", "b/1.png", "b/link.png"]
    assert found == {"DATA123": [Case("alias"), Case("a/up")]}


def test_links_that_leave_the_root_are_left_out(tmp_path):
    put(tmp_path, "data/a/1.png", "data/b/1.png", "outside/1.png", "notes.txt")
    for name, target in {"link.png": "outside/1.png", "folder": "outside", "notes.txt": "notes.txt"}.items():
        (tmp_path / "data" / "a" / name).symlink_to(tmp_path / target)
    left, found = faults(tmp_path / "data")
    assert left == ["a/1.png", "b/1.png"]
    assert found == {"DATA111": [Case("a/folder"), Case("a/link.png")], "DATA124": [Case("a/notes.txt")]}


def test_broken_and_circular_links_are_left_out(tmp_path):
    put(tmp_path, "a/1.png", "b/1.png")
    for name, target in {"gone.png": "nowhere.png", "loop.png": "loop.png", "old.txt": "gone.txt"}.items():
        (tmp_path / "a" / name).symlink_to(target)
    (tmp_path / "c").symlink_to("unmounted")  # may have been a class
    left, found = faults(tmp_path)
    assert left == ["a/1.png", "b/1.png"]
    assert found == {
        "DATA108": [Case("c"), Case("a/gone.png")],
        "DATA112": [Case("a/loop.png")],
        "DATA124": [Case("a/old.txt")],
    }


NAME = st.binary(min_size=1, max_size=8).filter(lambda name: not {0, ord("/")} & {*name} and name not in (b".", b".."))
TREE = st.dictionaries(st.tuples(NAME, NAME), st.sampled_from(["file", "folder", "loop", "up", "out"]), max_size=8)


@settings(max_examples=60, deadline=None)
@given(tree=TREE, suffix=st.sampled_from([b"", b".png"]))
def test_nothing_but_a_data_error_comes_out_of_any_folder(tree, suffix):
    with tempfile.TemporaryDirectory() as root:
        for (folder, name), kind in tree.items():
            path = Path(root, os.fsdecode(folder), os.fsdecode(name + suffix))
            path.parent.mkdir(exist_ok=True)
            if kind == "file":
                path.touch()
            elif kind == "folder":
                path.mkdir()
            else:
                path.symlink_to({"loop": path.name, "up": "..", "out": "/"}[kind])
        try:
            images, findings = read_folder(Path(root))
        except DataError as error:
            assert error.code.startswith(("DATA1", "DATA2"))  # noqa: PT017 - a folder is read or refused
            return
        assert all(Path(root, path).is_file() for path in images["path"])
        assert all(case.name.encode() for finding in findings for case in finding.cases)


def test_an_empty_folder_is_refused(tmp_path):
    error = refused(tmp_path)
    assert error.code == "DATA201"
    assert error.found == f"{tmp_path} holds no class folder."
    assert error.expected.startswith("one folder per class")
    assert error.fix == "give the folder that holds the class folders."


def test_images_without_any_class_folder_are_named(tmp_path):
    put(tmp_path, "1.png", "2.png")
    assert "DATA203 2 of 2 names: image outside any class folder.\n    1.png\n    2.png" in refused(tmp_path).found


def test_a_class_folder_without_images_is_reported(tmp_path):
    put(tmp_path, "a/1.png", "b/1.png", "c/1.heic")
    left, found = faults(tmp_path)
    assert left == ["a/1.png", "b/1.png"]
    assert found == {"DATA124": [Case("c/1.heic")], "DATA202": [Case("c")]}


def test_a_class_may_be_absent_from_one_split_folder(tmp_path):
    put(tmp_path, "train/a/1.png", "train/b/2.png", "test/a/3.png")
    (tmp_path / "test" / "b").mkdir()
    assert paths_of(tmp_path) == ["test/a/3.png", "train/a/1.png", "train/b/2.png"]


@pytest.mark.parametrize("stray", ["stray.png", "train/stray.png"])
def test_images_outside_any_class_folder_are_left_out(tmp_path, stray):
    put(tmp_path, "train/a/1.png", "train/b/2.png", stray)
    left, found = faults(tmp_path)
    assert left == ["train/a/1.png", "train/b/2.png"]
    assert found == {"DATA203": [Case(stray)]}


def test_a_folder_that_cannot_be_read_is_reported(tmp_path):
    walk = _Walk(tmp_path)
    assert walk.list_folder("gone") == ([], [])
    assert walk.cases == {"DATA110": [Case("gone", "No such file or directory")]}


def test_a_disk_that_fails_brings_findings_and_no_other_error(tmp_path, monkeypatch):
    put(tmp_path, "train/1.png", "b/1.png", "c/1.png")
    scan = os.scandir

    def fail(folder):
        if Path(folder).name in ("train", "b"):
            raise OSError(5, "Input/output error")
        return scan(folder)

    monkeypatch.setattr(os, "scandir", fail)
    left, found = faults(tmp_path)
    assert left == ["c/1.png"]
    assert found["DATA110"] == [Case("b", "Input/output error"), Case("train", "Input/output error")]


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is unreadable to root")
def test_an_unreadable_folder_is_reported(tmp_path):
    put(tmp_path, "a/1.png", "b/1.png")
    (tmp_path / "a").chmod(0)
    _, found = faults(tmp_path)
    (tmp_path / "a").chmod(0o700)
    assert found == {"DATA110": [Case("a", "Permission denied")], "DATA202": [Case("a")]}
