import pytest
from PIL import Image

from fitwell.data.demo import elpv_dataset, find_package_folder, read_elpv
from fitwell.errors import UsageError


def test_the_solar_cells_are_the_published_ones():
    dataset = elpv_dataset()
    images = dataset.images
    assert len(images) == 2624
    assert dataset.classes == ("defective", "functional")
    assert (images["label"] == "defective").sum() == 821
    assert images["group"].nunique() == 44
    modules = images.groupby("cell")["group"].nunique()
    assert modules.to_dict() == {"mono": 18, "poly": 26}
    assert (images.groupby("group")["cell"].nunique() == 1).all()
    assert dataset.slices == ["cell"]
    assert dataset.source.startswith("elpv-dataset ")
    assert all((dataset.root / path).is_file() for path in images["path"])
    with Image.open(dataset.root / images["path"][0]) as picture:
        assert picture.size == (300, 300)


def test_modules_are_cut_out_of_runs_of_one_cell_type(tmp_path):
    cells = ["mono"] * 120 + ["poly"] * 20 + ["mono"] * 61
    lines = [f"images/{number:03}.png  {0.5 if number else 0.6667}  {cell}" for number, cell in enumerate(cells)]
    (tmp_path / "labels.csv").write_text("\n".join(lines) + "\n\n")
    dataset = read_elpv(tmp_path, source="made here")
    assert dataset.images.groupby("group").size().to_dict() == {
        "module00": 60,
        "module01": 60,
        "module02": 20,
        "module03": 61,
    }
    assert dataset.images["label"].tolist() == ["defective"] + ["functional"] * 200
    assert (dataset.root, dataset.source) == (tmp_path, "made here")


def test_without_the_extra_the_pip_command_is_named():
    with pytest.raises(UsageError) as caught:
        find_package_folder("a_package_nobody_has")
    assert caught.value.found == "the package a_package_nobody_has is not installed."
    assert caught.value.expected == "the images of the demo, which the extra `demo` brings."
    assert caught.value.fix == "pip install 'fitwell[demo]'"
