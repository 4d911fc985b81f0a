import os

import pytest

from fitwell.data.file_lookup import FileLookup


@pytest.fixture
def folder(tmp_path):
    for path in ("root/a/1.png", "outside/1.png", "root-beside/1.png"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).touch()
    return tmp_path


def test_a_file_below_the_root_has_no_fault(folder):
    assert FileLookup(folder / "root").fault("a/1.png") == ""


@pytest.mark.parametrize("path", ["a/2.png", "b/1.png", "a/1.png/x.png", "a", ".", "x" * 300])
def test_a_file_that_is_not_there_is_missing(folder, path):
    assert FileLookup(folder / "root").fault(path) == "DATA108"


def test_pipes_and_devices_are_no_files(folder):
    os.mkfifo(folder / "root" / "pipe")
    assert FileLookup(folder / "root").fault("pipe") == "DATA107"
    assert FileLookup(folder.parents[-1] / "dev").fault("null") == "DATA107"


@pytest.mark.parametrize("target", ["outside", "root-beside"])
def test_a_link_out_of_the_root_is_seen_in_the_file_and_in_its_folder(folder, target):
    (folder / "root" / "link.png").symlink_to(folder / target / "1.png")
    (folder / "root" / "folder").symlink_to(folder / target)
    lookup = FileLookup(folder / "root")
    assert [lookup.fault(path) for path in ("link.png", "folder/1.png", "folder/gone.png")] == ["DATA111"] * 3


def test_links_inside_the_root_are_fine_and_circles_lead_nowhere(folder):
    root = folder / "root"
    (root / "link.png").symlink_to("a/1.png")
    (root / "alias").symlink_to("a")
    (root / "loop").symlink_to("loop")
    (root / "broken.png").symlink_to("gone.png")
    lookup = FileLookup(root)
    assert [lookup.fault(path) for path in ("link.png", "alias/1.png")] == ["", ""]
    assert [lookup.fault(path) for path in ("loop", "loop/1.png", "broken.png")] == ["DATA108"] * 3


def test_the_root_may_be_a_link_or_the_top_of_the_system(folder):
    (folder / "alias").symlink_to("root")
    assert FileLookup(folder / "alias").fault("a/1.png") == ""
    top = folder.parents[-1]
    assert FileLookup(top).fault(str((folder / "root" / "a" / "1.png").resolve().relative_to(top))) == ""


def test_what_the_system_refuses_is_unreadable(folder, monkeypatch):
    def refuse(path):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "lstat", refuse)
    assert FileLookup(folder / "root").fault("a/1.png") == "DATA109"


def test_a_folder_is_resolved_once_however_many_files_it_holds(folder, monkeypatch):
    lookup, resolved, resolve = FileLookup(folder / "root"), [], os.path.realpath
    monkeypatch.setattr(os.path, "realpath", lambda path: resolved.append(path) or resolve(path))
    assert [lookup.fault("a/1.png") for _ in range(1000)] == [""] * 1000
    assert resolved == [lookup.root + "a"]
