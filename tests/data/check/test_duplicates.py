import shutil

import numpy as np
import pytest
from PIL import Image

from drawings import VARIANTS, drawing
from fitwell.data.check.duplicates import Pair, find_duplicates
from fitwell.data.check.measure import scan_images
from fitwell.data.index import index_dataset


@pytest.fixture
def folder(tmp_path):
    """Two classes of four pictures, no two alike."""
    for number in range(8):
        path = tmp_path / ("cat" if number < 4 else "dog") / f"{number}.png"
        path.parent.mkdir(exist_ok=True)
        drawing(number).save(path)
    return tmp_path


def search(folder, **options):
    scan = scan_images(index_dataset(folder), threads=1)
    return list(scan.images["path"]), find_duplicates(folder, scan.images, scan.measures, **options)


def named(paths, result):
    return [(paths[pair.first], paths[pair.second], pair.kind) for pair in result.pairs]


def test_pictures_that_differ_are_alone(folder):
    _, result = search(folder)
    assert result.clusters.tolist() == list(range(8))
    assert result.pairs == ()
    assert result.findings == ()


def test_a_copied_file_the_same_pixels_and_a_variant_are_told_apart(folder):
    shutil.copy(folder / "cat/0.png", folder / "cat/0 copy.png")
    Image.open(folder / "cat/1.png").save(folder / "cat/1 again.bmp")
    VARIANTS["JPEG at quality 30"](drawing(2)).save(folder / "cat/2 small.png")
    paths, result = search(folder)
    assert sorted(named(paths, result)) == [
        ("cat/0 copy.png", "cat/0.png", "file"),
        ("cat/1 again.bmp", "cat/1.png", "pixels"),
        ("cat/2 small.png", "cat/2.png", "near"),
    ]
    assert [(finding.code, finding.message) for finding in result.findings] == [
        ("DATA301", "1 of 11 images: copies of another, byte for byte."),
        ("DATA302", "1 of 11 images: the pixels of another, in a different file."),
        ("DATA303", "1 of 11 images: nearly the same picture as another."),
    ]
    assert all(pair.first < pair.second for pair in result.pairs)
    assert all((pair.distance > 0) == (pair.kind == "near") for pair in result.pairs)


@pytest.mark.parametrize("name", VARIANTS)
def test_every_variant_is_found(folder, name):
    for number in range(8):
        VARIANTS[name](drawing(number)).save(folder / "cat" / f"{number} variant.png")
    paths, result = search(folder)
    assert len(result.pairs) == 8
    stems = [path.split("/")[1][0] for path in paths]
    for number in range(8):
        (cluster,) = {result.clusters[row] for row in range(16) if stems[row] == str(number)}
        assert (result.clusters == cluster).sum() == 2


def test_pairs_span_a_cluster_and_are_not_all_that_there_are(folder):
    for copy in range(4):
        shutil.copy(folder / "cat/0.png", folder / "cat" / f"0 copy {copy}.png")
    VARIANTS["grey"](drawing(0)).save(folder / "dog/0 grey.png")
    paths, result = search(folder)
    members = [row for row in range(len(paths)) if "/0" in paths[row]]
    assert len(members) == 6
    assert len({result.clusters[row] for row in members}) == 1
    assert len(result.pairs) == 5
    assert sorted(pair.kind for pair in result.pairs) == ["file"] * 4 + ["near"]


def test_clusters_are_numbered_by_first_appearance(folder):
    shutil.copy(folder / "cat/1.png", folder / "dog/5 a.png")
    paths, result = search(folder)
    assert paths[:6] == ["cat/0.png", "cat/1.png", "cat/2.png", "cat/3.png", "dog/4.png", "dog/5 a.png"]
    assert result.clusters.tolist() == [0, 1, 2, 3, 4, 1, 5, 6, 7]
    assert result.pairs == (Pair(1, 5, "file"),)


def test_duplicates_with_two_labels_are_a_finding_of_their_own(folder):
    shutil.copy(folder / "cat/1.png", folder / "dog/same.png")
    _, result = search(folder)
    conflict = result.findings[-1]
    assert (conflict.code, conflict.message) == ("DATA304", "1 of 1 duplicates: another label than their twin.")
    (case,) = conflict.cases
    assert (case.name, case.other, case.detail) == ("dog/same.png", "cat/1.png", "dog, the other cat")


def test_blank_pictures_are_alike_only_if_their_pixels_are(folder):
    for number, colour in enumerate(["white", "black", (250, 250, 250), (254, 255, 255)]):
        Image.new("RGB", (160, 160), colour).save(folder / "cat" / f"blank {number}.png")
    Image.new("RGB", (160, 160), "white").save(folder / "cat" / "blank too.bmp")
    paths, result = search(folder)
    assert named(paths, result) == [("cat/blank 0.png", "cat/blank too.bmp", "pixels")]


@pytest.mark.parametrize("flip", [Image.Transpose.FLIP_LEFT_RIGHT, Image.Transpose.FLIP_TOP_BOTTOM])
def test_flipped_pictures_count_only_when_asked_for(folder, flip):
    drawing(6).transpose(flip).save(folder / "cat/flipped.png")
    assert search(folder)[1].pairs == ()
    paths, result = search(folder, flips=True)
    assert named(paths, result) == [("cat/flipped.png", "dog/6.png", "near")]


def test_a_picture_stretched_to_another_shape_is_another_picture(folder):
    drawing(0).resize((160, 80)).save(folder / "cat/flat.png")
    assert search(folder)[1].pairs == ()


def test_one_image_is_alone(folder):
    scan = scan_images(index_dataset(folder), threads=1)
    measures = type(scan.measures)(**{name: values[:1] for name, values in vars(scan.measures).items()})
    result = find_duplicates(folder, scan.images[:1], measures)
    assert np.array_equal(result.clusters, [0])
