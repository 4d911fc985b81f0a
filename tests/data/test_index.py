import os
import subprocess
import sys

import pytest
from PIL import Image

from fitwell.data.index import index_dataset, scan_images
from fitwell.errors import DataError, UsageError
from fitwell.files import sha256_of_file


def put(root, *paths, size=(4, 4), **options):
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", size, "red").save(root / path, **options)


def rows(dataset, *columns):
    return list(dataset.images[list(columns)].itertuples(index=False, name=None))


def faults(action):
    with pytest.raises(DataError) as caught:
        action()
    return caught.value


def test_class_folders_become_labels_in_path_order(tmp_path):
    put(tmp_path, "dog/b.png", "dog/a.JPG", "cat/x.webp", "cat/y.tiff", "cat/z.gif", "cat/w.bmp")
    dataset = index_dataset(tmp_path)
    assert dataset.classes == ("cat", "dog")
    assert dataset.root == tmp_path.resolve()
    assert dataset.source == str(tmp_path)
    assert dataset.slices == []
    assert list(dataset.images.columns) == ["path", "label"]
    assert rows(dataset, "path", "label") == [
        ("cat/w.bmp", "cat"),
        ("cat/x.webp", "cat"),
        ("cat/y.tiff", "cat"),
        ("cat/z.gif", "cat"),
        ("dog/a.JPG", "dog"),
        ("dog/b.png", "dog"),
    ]


@pytest.mark.parametrize("val", ["val", "valid", "validation", "Val"])
def test_split_folders_give_the_split(tmp_path, val):
    put(tmp_path, "train/a/1.png", "train/b/2.png", f"{val}/a/3.png", "test/b/4.png")
    dataset = index_dataset(tmp_path)
    assert dataset.classes == ("a", "b")
    assert sorted(rows(dataset, "path", "label", "split")) == sorted(
        [
            ("train/a/1.png", "a", "train"),
            ("train/b/2.png", "b", "train"),
            (f"{val}/a/3.png", "a", "val"),
            ("test/b/4.png", "b", "test"),
        ]
    )


def test_a_class_may_be_called_train_when_it_holds_images_itself(tmp_path):
    put(tmp_path, "train/1.png", "tram/2.png")
    assert index_dataset(tmp_path).classes == ("train", "tram")
    assert "split" not in index_dataset(tmp_path).images


def test_split_folders_beside_other_folders_are_refused(tmp_path):
    put(tmp_path, "train/a/1.png", "train/b/2.png", "extra/3.png")
    error = faults(lambda: index_dataset(tmp_path))
    assert error.found == f"{tmp_path} holds the split folder(s) train beside extra."
    assert error.expected == "either only split folders, or only class folders."
    assert error.fix.startswith("move the other folders away")


def test_hidden_and_system_names_are_no_classes_and_no_images(tmp_path):
    put(tmp_path, "a/1.png", "b/1.png", ".cache/1.png", "__MACOSX/1.png", "a/._1.png", "a/.hidden/1.png")
    put(tmp_path, "b/__MACOSX/2.png")
    for name in ("Thumbs.db", ".DS_Store", "a/Thumbs.db", "a/notes.txt", "a/desktop.ini"):
        (tmp_path / name).write_bytes(b"x")
    assert rows(index_dataset(tmp_path), "path") == [("a/1.png",), ("b/1.png",)]


def test_images_deeper_inside_a_class_folder_belong_to_that_class(tmp_path):
    put(tmp_path, "a/monday/east/1.png", "a/2.png", "b/monday/1.png")
    assert rows(index_dataset(tmp_path), "path", "label") == [
        ("a/2.png", "a"),
        ("a/monday/east/1.png", "a"),
        ("b/monday/1.png", "b"),
    ]


def test_labels_of_folders_stay_text(tmp_path):
    put(tmp_path, "007/1.png", "no/1.png", "1.0/1.png", "NA/1.png")
    assert index_dataset(tmp_path).classes == ("007", "1.0", "NA", "no")


def test_odd_names_round_trip(tmp_path):
    names = [
        "-x.png",
        "a b.png",
        "new\nline.png",
        "<script>.png",
        "\u202ertl.png",
        "u\u0308.png",
        "\u00fc.png",
        "'q\".png",
    ]
    put(tmp_path, *(f"a/{name}" for name in names), "b/1.png")
    assert {path for (path,) in rows(index_dataset(tmp_path), "path")} == {f"a/{name}" for name in names} | {"b/1.png"}


def test_a_name_that_is_not_utf8_is_refused(tmp_path):
    put(tmp_path, "a/1.png", "b/1.png")
    (tmp_path / "a" / os.fsdecode(b"\xff.png")).touch()
    error = faults(lambda: index_dataset(tmp_path))
    assert r"the name b'\xff.png' in" in error.found
    assert error.expected == "names that can be written into reports."
    assert error.fix == "rename it."


def test_pipes_are_skipped_without_waiting(tmp_path):
    put(tmp_path, "a/1.png", "b/1.png")
    os.mkfifo(tmp_path / "a" / "pipe.png")
    (tmp_path / "a" / "to-pipe.png").symlink_to("pipe.png")
    assert len(index_dataset(tmp_path).images) == 2


def test_links_inside_the_root_count_as_images_and_linked_folders_are_not_followed(tmp_path):
    put(tmp_path, "a/1.png", "b/1.png", ".pool/9.png")
    (tmp_path / "b" / "link.png").symlink_to("../.pool/9.png")
    (tmp_path / "a" / "loop").symlink_to("..")
    (tmp_path / "alias").symlink_to("a")
    assert rows(index_dataset(tmp_path), "path") == [("a/1.png",), ("b/1.png",), ("b/link.png",)]


@pytest.mark.parametrize("target", ["outside/1.png", "outside"])
def test_links_that_leave_the_root_are_refused(tmp_path, target):
    put(tmp_path, "data/a/1.png", "data/b/1.png", "outside/1.png")
    link = tmp_path / "data" / "a" / "link.png"
    link.symlink_to(tmp_path / target)
    error = faults(lambda: index_dataset(tmp_path / "data"))
    assert error.found == f"{link} is a link that leaves {tmp_path / 'data'}."
    assert error.expected == "every image to lie below the folder of the dataset."
    assert error.fix == "copy what it points to into the dataset, or remove the link."


def test_other_links_that_leave_the_root_are_none_of_our_business(tmp_path):
    put(tmp_path, "data/a/1.png", "data/b/1.png")
    (tmp_path / "notes.txt").touch()
    (tmp_path / "data" / "notes.txt").symlink_to(tmp_path / "notes.txt")
    assert len(index_dataset(tmp_path / "data").images) == 2


def test_broken_and_circular_links_are_listed_and_then_reported(tmp_path):
    put(tmp_path, "a/1.png", "b/1.png")
    (tmp_path / "a" / "gone.png").symlink_to("nowhere.png")
    (tmp_path / "a" / "loop.png").symlink_to("loop.png")
    error = faults(lambda: scan_images(index_dataset(tmp_path), threads=2))
    assert "2 of 4 images cannot be used" in error.found
    assert "a/gone.png: cannot be read as an image (No such file or directory)" in error.found
    assert "a/loop.png: cannot be read as an image (Too many levels of symbolic links)" in error.found


def test_a_missing_path_is_a_usage_error(tmp_path):
    with pytest.raises(UsageError) as caught:
        index_dataset(tmp_path / "gone")
    assert caught.value.found == f"{tmp_path / 'gone'} does not exist."
    assert caught.value.expected.startswith("one folder per class")
    assert caught.value.fix == "correct the path."


def test_a_file_that_is_no_table_is_a_usage_error(tmp_path):
    (tmp_path / "labels.xlsx").touch()
    with pytest.raises(UsageError) as caught:
        index_dataset(tmp_path / "labels.xlsx")
    assert caught.value.found.endswith("labels.xlsx is neither a folder nor a table.")
    assert caught.value.expected == "a folder, or a file that ends in .csv, .tsv, .parquet."
    assert caught.value.fix.startswith("give the folder that holds the class folders")


def test_an_empty_folder_is_refused(tmp_path):
    error = faults(lambda: index_dataset(tmp_path))
    assert error.found == f"{tmp_path} holds no class folder."
    assert error.expected.startswith("one folder per class")
    assert error.fix == "give the folder that holds the class folders."


def test_one_class_is_refused(tmp_path):
    put(tmp_path, "cat/1.png")
    error = faults(lambda: index_dataset(tmp_path))
    assert error.found == f"1 class(es) in {tmp_path}: cat."
    assert error.expected == "at least 2, because a classifier chooses between classes."
    assert error.fix.startswith("give each class its own folder")


def test_a_class_folder_without_images_is_refused(tmp_path):
    put(tmp_path, "a/1.png", "b/1.png")
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "1.heic").touch()
    error = faults(lambda: index_dataset(tmp_path))
    assert error.found == f"1 class folder(s) of {tmp_path} without an image: c."
    assert ".png" in error.expected
    assert error.fix.startswith("put images into these folders")


def test_a_class_may_be_absent_from_one_split_folder(tmp_path):
    put(tmp_path, "train/a/1.png", "train/b/2.png", "test/a/3.png")
    (tmp_path / "test" / "b").mkdir()
    assert index_dataset(tmp_path).classes == ("a", "b")


@pytest.mark.parametrize("stray", ["stray.png", "train/stray.png"])
def test_images_outside_any_class_folder_are_refused(tmp_path, stray):
    put(tmp_path, "train/a/1.png", "train/b/2.png", stray)
    error = faults(lambda: index_dataset(tmp_path))
    assert error.found == f"1 image(s) outside any class folder of {tmp_path}: {stray}."
    assert error.expected.startswith("one folder per class")
    assert error.fix == "move each of them into the folder of its class, or away."


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is unreadable to root")
def test_an_unreadable_folder_is_refused(tmp_path):
    put(tmp_path, "a/1.png", "b/1.png")
    (tmp_path / "a").chmod(0)
    error = faults(lambda: index_dataset(tmp_path))
    (tmp_path / "a").chmod(0o700)
    assert error.found.endswith("a cannot be read: Permission denied.")


def test_a_folder_that_vanishes_meanwhile_is_reported(tmp_path):
    from fitwell.data.index import _visible

    error = faults(lambda: _visible(tmp_path / "gone", tmp_path))
    assert error.found == f"{tmp_path / 'gone'} cannot be read: No such file or directory."
    assert error.expected == "every folder of the dataset to be readable."
    assert error.fix == "change its permissions, or take it out of the dataset."


def test_a_table_is_read_relative_to_its_folder_or_to_the_given_one(tmp_path):
    put(tmp_path, "pictures/1.png", "pictures/2.png")
    table = tmp_path / "labels.csv"
    table.write_text("path,label,site,id\npictures/2.png,b,north,7\npictures/1.png,a,south,8\n")
    dataset = index_dataset(table)
    assert (dataset.root, dataset.classes, dataset.slices) == (tmp_path, ("a", "b"), ["site"])
    assert rows(dataset, "path", "label", "site") == [
        ("pictures/1.png", "a", "south"),
        ("pictures/2.png", "b", "north"),
    ]
    table.write_text("path,label\n2.png,b\n1.png,a\n")
    assert index_dataset(table, tmp_path / "pictures").root == tmp_path / "pictures"


def test_a_folder_of_images_must_exist_and_belongs_to_a_table(tmp_path):
    put(tmp_path, "a/1.png", "b/1.png")
    (tmp_path / "labels.csv").write_text("path,label\n")
    with pytest.raises(UsageError, match="gone is not a folder"):
        index_dataset(tmp_path / "labels.csv", tmp_path / "gone")
    with pytest.raises(UsageError) as caught:
        index_dataset(tmp_path, tmp_path)
    assert "beside a folder of class folders" in caught.value.found
    assert caught.value.expected == "that folder only beside a table."
    assert caught.value.fix == "leave it out."


@pytest.mark.parametrize("threads", [0, 1, 3])
def test_scanning_measures_every_image(tmp_path, threads):
    put(tmp_path, "a/1.png", size=(5, 7))
    exif = Image.Exif()
    exif[0x0112] = 6
    put(tmp_path, "b/1.jpg", size=(6, 8), exif=exif)
    dataset = index_dataset(tmp_path)
    scanned = scan_images(dataset, threads=threads)
    assert scanned["sha256"].tolist() == [sha256_of_file(tmp_path / path) for path in ("a/1.png", "b/1.jpg")]
    assert scanned[["width", "height"]].to_numpy().tolist() == [[5, 7], [8, 6]]  # upright
    assert "sha256" not in dataset.images


def test_scanning_names_the_number_of_bad_images_and_the_first_ten(tmp_path):
    put(tmp_path, "a/good.png", "b/good.png")
    for number in range(12):
        (tmp_path / "a" / f"bad{number:02}.png").write_bytes(b"")
    error = faults(lambda: scan_images(index_dataset(tmp_path), threads=2))
    assert error.found.startswith("12 of 14 images cannot be used:\n  a/bad00.png: cannot be read as an image (")
    assert "a/bad09.png" in error.found
    assert "a/bad10.png" not in error.found
    assert error.expected.startswith("every image to decode")
    assert error.fix.startswith("replace these files")


def test_slices_leave_out_what_scanning_measured(tmp_path):
    from dataclasses import replace

    put(tmp_path, "a/1.png", "b/1.png")
    dataset = index_dataset(tmp_path)
    assert replace(dataset, images=scan_images(dataset, threads=1)).slices == []


def test_checking_a_table_loads_neither_torch_nor_a_learning_library():
    code = (
        "import sys, fitwell.data.decode, fitwell.data.index, fitwell.data.split, fitwell.data.demo;"
        "print(sorted({'torch', 'pandas', 'sklearn', 'scipy'} & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout == "[]\n"
