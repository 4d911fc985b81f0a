import shlex
import subprocess
import sys

import pytest
from PIL import Image

from fitwell.data.check.measure import scan_images
from fitwell.data.finding import Case, refuse_errors
from fitwell.data.index import index_dataset, rename_classes, suggest_renames
from fitwell.data.labels import Labelling
from fitwell.errors import DataError, UsageError


def put(root, *paths, size=(4, 4), **options):
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", size, "red").save(root / path, **options)


def rows(dataset, *columns):
    return list(dataset.images[list(columns)].itertuples(index=False, name=None))


def refused(action):
    with pytest.raises(DataError) as caught:
        action()
    return caught.value


def cases(dataset):
    return {finding.code: list(finding.cases) for finding in dataset.findings}


def test_a_folder_becomes_a_dataset(tmp_path):
    put(tmp_path, "dog/2.png", "cat/10.png", "cat/9.png")
    dataset = index_dataset(tmp_path)
    assert dataset.classes == ("cat", "dog")
    assert dataset.root == tmp_path.resolve()
    assert dataset.source == str(tmp_path)
    assert (dataset.slices, dataset.findings) == ([], ())
    assert rows(dataset, "path", "label") == [("cat/9.png", "cat"), ("cat/10.png", "cat"), ("dog/2.png", "dog")]


def test_the_root_is_where_the_images_really_lie(tmp_path):
    put(tmp_path, "real/a/1.png", "real/b/1.png")
    (tmp_path / "alias").symlink_to("real")
    dataset = index_dataset(tmp_path / "alias")
    assert (dataset.root, dataset.findings) == (tmp_path.resolve() / "real", ())


def test_a_table_is_read_relative_to_its_folder_or_to_the_given_one(tmp_path):
    put(tmp_path, "pictures/1.png", "pictures/2.png")
    table = tmp_path / "labels.csv"
    table.write_text("path,label,site,id\npictures/2.png,b,north,7\npictures/1.png,a,south,8\n")
    dataset = index_dataset(table)
    assert (dataset.root, dataset.classes, dataset.slices) == (tmp_path, ("a", "b"), ["site"])
    assert rows(dataset, "path", "label", "site") == [
        ("pictures/2.png", "b", "north"),
        ("pictures/1.png", "a", "south"),
    ]
    table.write_text("path,label\n2.png,b\n1.png,a\n")
    assert index_dataset(table, tmp_path / "pictures").root == tmp_path / "pictures"


def test_odd_names_and_faults_are_reported_together(tmp_path):
    put(tmp_path, "a/1.png", "b/<1>.png", "c/1.png")
    (tmp_path / "b" / "gone.png").symlink_to("nowhere.png")
    dataset = index_dataset(tmp_path)
    assert cases(dataset) == {"DATA108": [Case("b/gone.png")], "DATA122": [Case("b/<1>.png")]}
    assert [finding.message for finding in dataset.findings] == [
        "1 of 7 names: missing file.",
        "1 of 3 images, their folders and classes: name with invisible or dangerous characters.",
    ]
    with pytest.raises(DataError, match="DATA108 1 of 7 names: missing file"):
        refuse_errors(dataset.findings, dataset.source)


@pytest.mark.parametrize("name", ["gone", "gone.csv", "x" * 300, "a\0b"])
def test_a_missing_path_is_a_usage_error(tmp_path, name):
    with pytest.raises(UsageError) as caught:
        index_dataset(tmp_path / name)
    assert caught.value.found == f"{tmp_path / name} does not exist."
    assert caught.value.expected.startswith("one folder per class")
    assert caught.value.fix == "correct the path."


def test_a_file_that_is_no_table_is_a_usage_error(tmp_path):
    (tmp_path / "labels.xlsx").touch()
    with pytest.raises(UsageError) as caught:
        index_dataset(tmp_path / "labels.xlsx")
    assert caught.value.found.endswith("labels.xlsx is neither a folder nor a table.")
    assert caught.value.expected == "a folder, or a file that ends in .csv, .tsv, .parquet."
    assert caught.value.fix.startswith("give the folder that holds the class folders")


def test_one_class_is_refused(tmp_path):
    put(tmp_path, "cat/1.png")
    error = refused(lambda: index_dataset(tmp_path))
    assert error.code == "DATA205"
    assert error.found == f"1 class(es) in {tmp_path}: cat."
    assert error.expected == "at least 2, because a classifier chooses between classes."
    assert error.fix.startswith("give each class its own folder")


def test_what_left_too_few_classes_is_named_instead_of_their_number(tmp_path):
    put(tmp_path, "1.png")
    (tmp_path / "labels.csv").write_text("path,label\n1.png,a\n2.png,b\n")
    error = refused(lambda: index_dataset(tmp_path / "labels.csv"))
    assert error.code == "DATA108"
    assert "DATA108 1 of 2 rows: missing file.\n    2.png: row 3" in error.found


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


def test_slices_leave_out_what_scanning_measured(tmp_path):
    from dataclasses import replace

    put(tmp_path, "a/1.png", "b/1.png")
    dataset = index_dataset(tmp_path)
    assert replace(dataset, images=scan_images(dataset, threads=1).images).slices == []


def test_checking_a_table_loads_neither_torch_nor_a_learning_library():
    code = (
        "import sys, fitwell.data.decode, fitwell.data.index, fitwell.data.split, fitwell.data.demo;"
        "print(sorted({'torch', 'pandas', 'sklearn', 'scipy'} & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout == "[]\n"


SEVERAL = Labelling(several=True)


def table_of(tmp_path, *labels):
    put(tmp_path, *(f"{number}.png" for number in range(len(labels))))
    lines = [f"{number}.png,{label}" for number, label in enumerate(labels)]
    (tmp_path / "labels.csv").write_text("\n".join(["path,label", *lines]))
    return tmp_path / "labels.csv"


def test_images_of_several_classes_have_them_as_one_label(tmp_path):
    dataset = index_dataset(table_of(tmp_path, "dog|cat", "", "owl"), labelling=SEVERAL)
    assert dataset.classes == ("cat", "dog", "owl")
    assert dataset.images["label"].tolist() == ["cat|dog", "", "owl"]
    assert dataset.labelling == SEVERAL
    assert dataset.findings == ()


def test_labels_that_look_like_several_classes_are_told_with_the_key(tmp_path):
    dataset = index_dataset(table_of(tmp_path, "dog|cat", "cat", "dog"))
    assert cases(dataset) == {"DATA218": [Case("dog|cat")]}
    assert "--target.kind multi_label" in dataset.findings[0].kind.fix


def test_a_bar_in_a_name_is_no_news(tmp_path):
    assert index_dataset(table_of(tmp_path, "animal|cat", "animal|dog", "animal")).findings == ()


def test_classes_beyond_the_columns_are_refused(tmp_path):
    asked = Labelling(several=True, columns=("cat", "dog"))
    error = refused(lambda: index_dataset(table_of(tmp_path, "cat|owl", "dog"), labelling=asked))
    assert "names 1 classes that are not in target.columns: owl" in error.found


def test_class_folders_show_one_class_each_also_where_several_are_allowed(tmp_path):
    put(tmp_path, "cat/1.png", "dog/2.png", "cat|dog/3.png")
    dataset = index_dataset(tmp_path, labelling=SEVERAL)
    assert dataset.classes == ("cat", "dog")
    assert sorted(dataset.images["label"]) == ["cat", "cat|dog", "dog"]


def test_names_that_are_alike_are_found_among_several_classes(tmp_path):
    dataset = index_dataset(table_of(tmp_path, "dog|Cat", "cat"), labelling=SEVERAL)
    assert cases(dataset) == {"DATA216": [Case("cat", other="Cat")]}


def test_renamed_classes_may_join_and_keep_their_images(tmp_path):
    put(tmp_path, "blue/1.png", "blue/2.png", "green/1.png", "green/2.png", "red/1.png", "red/2.png")
    dataset = index_dataset(tmp_path)
    renamed = rename_classes(dataset, {"red": "warm", "green": "warm"})
    assert renamed.classes == ("blue", "warm")
    assert renamed.images["label"].value_counts().to_dict() == {"warm": 4, "blue": 2}
    assert renamed.images["path"].tolist() == dataset.images["path"].tolist()


@pytest.mark.parametrize(
    ("unknown", "proposed"),
    [
        ("food", "food-drink"),  # the one class with this word
        ("drink & food", "food-drink"),
        ("Animal", "animal (wild)"),
        ("objets", "objects"),  # spelled most like it
        ("wild", "CLASS"),  # in two of them, and spelled like none
        ("sky", "CLASS"),
    ],
)
def test_a_class_of_another_name_is_given_to_the_nearest(unknown, proposed):
    known = ("food-drink", "animal (wild)", "objects", "wild berries and mushrooms")
    assert suggest_renames([unknown], known) == f"--rename {shlex.quote(f'{unknown}={proposed}')}"


def test_in_several_classes_an_image_each_is_renamed(tmp_path):
    from fitwell.data.index import rename_classes

    (tmp_path / "labels.csv").write_text("path,label\n1.png,cat|dog\n2.png,\n3.png,dog\n")
    for number in (1, 2, 3):
        (tmp_path / f"{number}.png").write_bytes(b"x")
    dataset = index_dataset(tmp_path / "labels.csv", labelling=Labelling(several=True))
    renamed = rename_classes(dataset, {"cat": "zebra"})
    assert renamed.images["label"].tolist() == ["dog|zebra", "", "dog"]
    assert renamed.classes == ("dog", "zebra")
