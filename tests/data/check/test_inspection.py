import shutil
from pathlib import Path

import pytest

from faults import FAULTS, PER_CLASS, write_clean, write_table
from fitwell.data.check.inspection import SplitPlan, group_images, inspect_dataset, look_at
from fitwell.data.finding import Finding, codes
from fitwell.data.index import index_dataset
from fitwell.data.preview import CropPlan
from fitwell.errors import DataError, UsageError

CROP = CropPlan(size=32, fit="crop", crop_fraction=1.0)
SPLIT = SplitPlan(val_fraction=0.2, test_fraction=0.2)


def inspect(source, split=SPLIT, **options):
    dataset = index_dataset(source)
    return inspect_dataset(dataset, look_at(dataset, threads=2, **options), CROP, split)


def found_codes(source):
    try:
        return {finding.code for finding in inspect(source).findings}
    except DataError as error:  # where nothing can be read at all, the error says so
        return {error.code}


@pytest.fixture(scope="session")
def clean_set(tmp_path_factory):
    return write_clean(tmp_path_factory.mktemp("clean") / "set")


@pytest.fixture
def clean(clean_set, tmp_path):
    return shutil.copytree(clean_set, tmp_path / "set")


def test_nothing_is_found_in_the_clean_set(clean_set):
    assert inspect(clean_set).findings == ()


@pytest.mark.parametrize("name", FAULTS)
def test_every_planted_fault_is_found_by_its_code(name, clean):
    code, plant = FAULTS[name]
    source = plant(clean)
    assert code in found_codes(source)


def test_every_code_is_planted_here_or_tested_elsewhere():
    elsewhere = {
        "DATA109": "data/test_decode.py",
        "DATA110": "data/test_folder.py",
        "DATA217": "data/test_table.py",
        "DATA218": "data/test_index.py",
        "DATA507": "data/check/test_balance.py",
        "DATA701": "data/check/test_suspect_labels.py",
        "DATA803": "data/test_dicom.py",
    }
    for code, test in elsewhere.items():
        assert code in (Path(__file__).parents[2] / test).read_text()
    assert {code for code, _ in FAULTS.values()} == set(codes()) - set(elsewhere)


def grouped(source, rule):
    return group_images(index_dataset(source), rule).images["group"].tolist()


def test_blocks_of_the_file_order_become_groups_within_each_folder(clean):
    groups = grouped(clean, "order:10")
    assert [groups.count(group) for group in dict.fromkeys(groups)] == [12, 12, 12, 12]  # equally long, near 10
    assert groups[11] != groups[12]


def test_a_column_becomes_the_group(clean):
    table = write_table(clean, site=lambda number: f"s{number % 3}")
    assert set(grouped(table, "site")) == {"s0", "s1", "s2"}


@pytest.mark.parametrize("rule", ["order:1", "order:x", "order:", "patient", "label", ""])
def test_a_rule_that_makes_no_groups_is_refused(clean, rule):
    with pytest.raises(UsageError, match="Expected: order:N"):
        grouped(clean, rule)


def test_a_rule_beside_a_column_of_groups_is_refused(clean):
    table = write_table(clean, group=lambda number: str(number // 2))
    with pytest.raises(UsageError, match="have a column group"):
        grouped(table, "order:5")


def test_copies_are_kept_on_one_side_of_the_split(clean):
    for number in range(12):
        shutil.copy(clean / "cat" / f"{number:02}.png", clean / "cat" / f"copy{number:02}.png")
    images = inspect(clean).images.set_index("path")
    for number in range(12):
        one, two = images.loc[f"cat/{number:02}.png"], images.loc[f"cat/copy{number:02}.png"]
        assert one["group"] == two["group"]
        assert one["split"] == two["split"]
    assert images["group"].nunique() == 48


def test_a_clean_set_gets_no_groups_and_a_split_near_the_plan(clean):
    inspection = inspect(clean)
    assert "group" not in inspection.images
    assert inspection.undivided is None
    assert inspection.summary() == {
        "num_images": 2 * PER_CLASS,
        "num_groups": None,
        "class_counts": {"cat": PER_CLASS, "dog": PER_CLASS},
        "split": {"train": 28, "val": 10, "test": 10},
    }


def test_the_folds_are_disjoint_and_cover_everything(clean):
    tests = []
    for fold in (1, 2, 3, 4):
        images = inspect(clean, SplitPlan(val_fraction=0.25, test_fraction=0.2, folds=4, fold=fold)).images
        tests += images.loc[images["split"] == "test", "path"].tolist()
        assert (images["split"] == "val").sum() == 12
    assert sorted(tests) == sorted(images["path"])


def test_what_cannot_be_divided_says_so_once(clean):
    code, plant = FAULTS["class of two images"]
    inspection = inspect(plant(clean))
    assert [finding.code for finding in inspection.findings].count(code) == 1
    assert inspection.undivided is not None
    assert inspection.undivided.code == code
    assert "split" not in inspection.images
    assert inspection.summary()["split"] == {}


def test_findings_are_ordered_by_severity_and_one_more_finds_its_place(clean):
    FAULTS["palette"][1](clean)
    FAULTS["empty file"][1](clean)
    inspection = inspect(clean).adding(Finding("DATA701", "1 label is suspect."))
    assert [finding.code for finding in inspection.findings] == ["DATA101", "DATA701", "DATA119"]
    assert inspection.adding(None) == inspection


def test_nothing_is_changed_on_disk(clean):
    for plant in ("empty file", "copied file", "one picture in two classes"):
        FAULTS[plant][1](clean)
    before = {path: path.read_bytes() for path in clean.rglob("*.*")}
    inspect(clean)
    assert {path: path.read_bytes() for path in clean.rglob("*.*")} == before


@pytest.mark.parametrize("spoiled", [("cat", "dog"), ("dog",)])
def test_where_fewer_than_two_classes_can_be_used_the_files_are_still_told(clean, spoiled):
    for label in spoiled:
        for path in (clean / label).iterdir():
            path.write_bytes(b"")
    inspection = inspect(clean)
    assert [finding.code for finding in inspection.findings] == ["DATA101", "DATA205"]
    assert inspection.undivided is not None
    assert inspection.undivided.code == "DATA205"
    assert inspection.summary()["num_images"] == PER_CLASS * (2 - len(spoiled))
    assert len(inspection.clusters) == len(inspection.images)
