import hashlib

import numpy as np
import pytest
from PIL import Image

from fitwell.data.check.measure import scan_images
from fitwell.data.index import index_dataset
from fitwell.files import sha256_of_file
from pictures import write_pictures


@pytest.fixture
def folder(tmp_path):
    return write_pictures(tmp_path / "set", per_class=3, classes=("red", "blue"))


def scan(folder, threads=2):
    return scan_images(index_dataset(folder), threads=threads)


def row_of(result, path):
    return list(result.images["path"]).index(path)


def test_every_image_gets_its_hash_and_upright_size(folder):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (30, 20), "red").save(folder / "red" / "turned.jpg", exif=exif)
    result = scan(folder)
    row = row_of(result, "red/turned.jpg")
    assert list(result.images.loc[row, ["width", "height"]]) == [20, 30]
    for path, digest in zip(result.images["path"], result.images["sha256"], strict=True):
        assert digest == sha256_of_file(folder / path)


def test_measures_are_those_of_numpy(folder):
    result = scan(folder)
    row = row_of(result, "blue/01.png")
    pixels = np.asarray(Image.open(folder / "blue" / "01.png"), dtype=np.float64) / 255
    assert result.measures.means[row] == pytest.approx(pixels.mean(axis=(0, 1)), abs=1e-6)
    assert result.measures.spreads[row] == pytest.approx(pixels.std(axis=(0, 1)), abs=1e-6)
    grey = np.asarray(Image.open(folder / "blue" / "01.png").convert("L"))
    shares = np.bincount(grey.ravel()) / grey.size
    entropy = -sum(share * np.log2(share) for share in shares if share)
    assert result.measures.details[row] == pytest.approx(entropy, abs=1e-5)
    assert result.measures.looks[row].mean() == pytest.approx(grey.mean(), abs=1)
    assert (result.measures.formats[row], result.measures.modes[row]) == ("PNG", "RGB")


def test_equal_pixels_have_equal_digests_whatever_the_file(folder):
    Image.open(folder / "red" / "00.png").save(folder / "red" / "same.bmp")
    Image.new("RGB", (4, 9)).save(folder / "red" / "tall.png")
    Image.new("RGB", (9, 4)).save(folder / "red" / "wide.png")
    result = scan(folder)
    digest = {path: result.measures.pixels[row] for row, path in enumerate(result.images["path"])}
    assert digest["red/00.png"] == digest["red/same.bmp"]
    assert len(set(digest.values())) == len(digest) - 1  # also for as many pixels in another shape
    picture = Image.open(folder / "red" / "01.png")
    assert digest["red/01.png"].decode() == hashlib.blake2b(picture.tobytes() + b"40", digest_size=16).hexdigest()


def test_what_cannot_be_decoded_is_found_and_left_out(folder):
    (folder / "red" / "01.png").write_bytes(b"")
    (folder / "blue" / "02.png").write_bytes((folder / "blue" / "02.png").read_bytes()[:200])
    result = scan(folder)
    assert [finding.code for finding in result.findings] == ["DATA101", "DATA103"]
    assert [finding.message for finding in result.findings] == [
        "1 of 6 images: empty file.",
        "1 of 6 images: image cut short.",
    ]
    assert [case.name for finding in result.findings for case in finding.cases] == ["red/01.png", "blue/02.png"]
    assert sorted(result.images["path"]) == ["blue/00.png", "blue/01.png", "red/00.png", "red/02.png"]
    assert list(result.images.index) == [0, 1, 2, 3]
    assert len(result.measures.pixels) == 4


def test_the_number_of_threads_changes_nothing(folder):
    one, four = scan(folder, threads=1), scan(folder, threads=4)
    assert one.images.equals(four.images)
    for name in vars(one.measures):
        assert np.array_equal(getattr(one.measures, name), getattr(four.measures, name)), name
