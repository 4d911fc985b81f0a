"""Pictures decoded once: a cache changes the time that a run takes, and never a bit of what it sees."""

import hashlib
import logging
import pickle
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fitwell.data.decode import decode_image
from fitwell.data.image_cache import ImageCache, prepare_picture, training_side
from fitwell.data.loader import ImageSource, epoch_batches, load_batches
from fitwell.data.preview import model_view
from fitwell.data.transforms import Preprocessing, crop_plan, training_tensor
from fitwell.data.variation import Augmentation
from fitwell.errors import DataError
from fitwell.store import Store
from pictures import evaluation_tensor

PREPROCESSING = Preprocessing(32, "crop", 0.875, (0.4, 0.5, 0.6), (0.2, 0.25, 0.3), "bicubic")
VARIED = Augmentation(rotate_degrees=10, flip="horizontal", crop_area=(0.5, 1.0), brightness=0.2, hue=0.1)
SIZES = ((66, 56), (320, 240), (240, 324), (161, 90), (20, 25), (400, 400))
MIB = 2**20


def photograph(number: int, size: tuple[int, int]) -> Image.Image:
    random = np.random.default_rng(number)
    coarse = Image.fromarray(random.integers(0, 256, (8, 8, 3), dtype=np.uint8)).resize(size, Image.Resampling.BICUBIC)
    grain = random.normal(0, 8, (size[1], size[0], 3))
    return Image.fromarray(np.clip(np.asarray(coarse) + grain, 0, 255).astype(np.uint8))


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    for number, size in enumerate(SIZES):
        photograph(number, size).save(folder / f"{number}.jpg", quality=92)
    return folder


def source(root: Path, cache_root: Path | None, augmentation: Augmentation | None, cap_bytes: int = 50 * MIB):
    paths = tuple(f"{number}.jpg" for number in range(len(SIZES)))
    sha256s = tuple(hashlib.sha256((root / path).read_bytes()).hexdigest() for path in paths)
    cache = None if cache_root is None else ImageCache(Store(cache_root, cap_bytes))
    return ImageSource(root, paths, PREPROCESSING, augmentation, seed=3, sha256s=sha256s, cache=cache)


def tensors(images: ImageSource, epoch: int = 0) -> list:
    return [images.load(number, epoch) for number in range(len(images))]


def all_equal(first: list, second: list) -> bool:
    return len(first) == len(second) and all(a.equal(b) for a, b in zip(first, second, strict=True))


def psnr(image, reference) -> float:
    difference = np.asarray(image, dtype=np.float64) - np.asarray(reference, dtype=np.float64)
    return 10 * np.log10(255**2 / max(np.mean(difference**2), 1e-9))


# Pictures


@pytest.mark.parametrize("fit", ["crop", "pad", "squash"])
def test_evaluation_sees_the_exact_view_of_what_is_decoded(root, fit):
    preprocessing = replace(PREPROCESSING, fit=fit)
    side = 36 if fit == "crop" else 32  # floor(32 / 0.875)
    for number in range(len(SIZES)):
        path = root / f"{number}.jpg"
        view = prepare_picture(path, preprocessing, None)
        assert np.array_equal(view, model_view(decode_image(path, side), crop_plan(preprocessing)))
        assert psnr(view, model_view(decode_image(path), crop_plan(preprocessing))) > 40


@pytest.mark.parametrize(("low", "side"), [(1.0, 37), (0.5, 53), (0.25, 74), (0.0, 370)])
def test_training_keeps_what_its_smallest_crop_needs_and_enlarges_nothing(root, low, side):
    augmentation = replace(VARIED, crop_area=(low, 1.0))
    assert training_side(PREPROCESSING, augmentation) == side  # 32 / sqrt(low * 3 / 4), low at least 0.01, rounded up
    for number, size in enumerate(SIZES):
        picture = prepare_picture(root / f"{number}.jpg", PREPROCESSING, augmentation)
        height, width, _ = picture.shape
        assert min(height, width) == (min(size) if min(size) <= 1.1 * side else side)
        assert width / height == pytest.approx(size[0] / size[1], rel=0.02)


def test_a_training_picture_is_close_to_one_cut_from_the_whole_image(root):
    varied = replace(VARIED, brightness=0, hue=0)  # turned: an upright crop begins between two pixels of either
    for number in (1, 2, 5):
        whole = decode_image(root / f"{number}.jpg")
        kept = prepare_picture(root / f"{number}.jpg", PREPROCESSING, varied)
        for seed in range(5):
            found, expected = (training_tensor(np.array(image), PREPROCESSING, varied, seed) for image in (kept, whole))
            assert psnr(found.numpy() * 255 / 4, expected.numpy() * 255 / 4) > 35  # one level of 255 is about 4 / 255


# The same bits


@pytest.mark.parametrize("augmentation", [None, VARIED])
def test_a_cache_changes_no_bit_whether_it_is_empty_filled_or_from_another_run(root, tmp_path, augmentation):
    for epoch in (0, 1):
        expected = tensors(source(root, None, augmentation), epoch)
        first = source(root, tmp_path / "cache", augmentation)
        for images in (first, first, source(root, tmp_path / "cache", augmentation)):
            assert all_equal(tensors(images, epoch), expected)


def test_an_image_that_is_not_reduced_is_what_the_transforms_make_of_it(root):
    path = root / "4.jpg"
    assert source(root, None, None).load(4, 0).equal(evaluation_tensor(decode_image(path), PREPROCESSING))


@pytest.mark.parametrize("augmentation", [None, VARIED])
def test_workers_fill_and_read_the_cache_and_change_no_bit(root, tmp_path, augmentation):
    batches = epoch_batches(len(SIZES), 2, seed=0, epoch=0)
    expected = list(load_batches(source(root, None, augmentation), batches, epoch=0, workers=0))
    images = source(root, tmp_path / "cache", augmentation)
    for workers in (2, 1, 0):
        found = list(load_batches(images, batches, epoch=0, workers=workers))
        assert all_equal([tensor for tensor, _ in found], [tensor for tensor, _ in expected])
    shutil.rmtree(root)
    assert len(list(load_batches(images, batches, epoch=0, workers=2))) == 3


FILL = """
import sys, pathlib, pickle
images = pickle.loads(bytes.fromhex(sys.argv[1]))
from fitwell.data.image_cache import ImageCache
from fitwell.store import Store
from dataclasses import replace
images = replace(images, cache=ImageCache(Store(pathlib.Path(sys.argv[2]), 50 * 2**20)))
print("ready", flush=True)
sys.stdin.readline()
for epoch in range(3):
    for number in range(len(images)):
        images.load(number, epoch)
"""


def test_two_processes_fill_one_cache_and_keep_each_picture_once(root, tmp_path):
    images, cache_root = source(root, None, VARIED), tmp_path / "cache"
    command = [sys.executable, "-c", FILL, pickle.dumps(images).hex(), str(cache_root)]
    processes = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        process.communicate("go\n")
        assert process.returncode == 0
    (data,) = cache_root.glob("*/data.bin")
    kept = [prepare_picture(root / path, PREPROCESSING, VARIED) for path in images.paths]
    assert data.stat().st_size == sum(picture.nbytes for picture in kept)
    assert all_equal(tensors(source(root, cache_root, VARIED)), tensors(images))


# By content


@pytest.mark.parametrize("augmentation", [None, VARIED])
def test_the_content_is_found_again_when_the_file_is_gone_or_renamed(root, tmp_path, augmentation):
    images = source(root, tmp_path / "cache", augmentation)
    expected = tensors(images)
    shutil.rmtree(root)
    renamed = replace(images, root=tmp_path / "elsewhere", paths=tuple(f"new/{path}" for path in images.paths))
    assert all_equal(tensors(images), expected)
    assert all_equal(tensors(renamed), expected)


def test_a_file_changed_since_the_check_is_an_error_and_never_enters_the_cache(root, tmp_path):
    images = source(root, tmp_path / "cache", None)
    photograph(77, (50, 50)).save(root / "1.jpg")
    for _ in range(2):
        with pytest.raises(DataError) as caught:
            images.load(1, 0)
        assert caught.value.found == f"{root / '1.jpg'} was changed since the images were checked."
        assert caught.value.fix.startswith("start the run anew")
    (root / "1.jpg").unlink()
    with pytest.raises(DataError, match="cannot be opened"):
        images.load(1, 0)


def test_only_what_decides_the_pixels_separates_two_caches(root, tmp_path):
    def shelves() -> int:
        return len(list((tmp_path / "cache").glob("*/index.bin")))

    cache = ImageCache(Store(tmp_path / "cache", 50 * MIB))
    sha256 = source(root, None, None).sha256s[1]
    for number, (preprocessing, augmentation) in enumerate(
        [
            (PREPROCESSING, VARIED),
            (replace(PREPROCESSING, size=48), VARIED),
            (PREPROCESSING, None),
            (replace(PREPROCESSING, crop_fraction=1.0), None),
            (replace(PREPROCESSING, fit="squash"), None),
            (replace(PREPROCESSING, interpolation="bilinear"), None),
            (replace(PREPROCESSING, interpolation="bilinear"), VARIED),
        ]
    ):
        cache.picture(root / "1.jpg", sha256, preprocessing, augmentation)
        assert shelves() == number + 1
    (root / "1.jpg").unlink()
    for augmentation in (replace(VARIED, hue=0.3), replace(VARIED, rotate_degrees=90)):
        cache.picture(root / "1.jpg", sha256, PREPROCESSING, augmentation)
    assert shelves() == 7


# Full


@pytest.mark.parametrize("workers", [0, 2])
def test_a_full_cache_means_decoding_again_with_one_warning(root, tmp_path, workers, caplog):
    cap_bytes = 15_000  # room for the first picture, of 11,088 bytes
    images = source(root, tmp_path / "cache", VARIED, cap_bytes)
    batches = [np.array([number]) for number in range(len(SIZES))]
    expected = list(load_batches(source(root, None, VARIED), batches, epoch=0, workers=0))
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            found = list(load_batches(images, batches, epoch=0, workers=workers))
            assert all_equal([tensor for tensor, _ in found], [tensor for tensor, _ in expected])
    if workers == 0:
        assert [record.getMessage().split(": ")[1] for record in caplog.records] == [
            "its cap of 15,000 bytes is reached."
        ]
    assert images.cache._is_full.value  # what a worker met, all of them know
    files = [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]
    assert 0 < sum(path.stat().st_size for path in files) <= cap_bytes


def test_a_damaged_picture_is_decoded_again(root, tmp_path):
    expected = tensors(source(root, tmp_path / "cache", None))
    (data,) = (tmp_path / "cache").glob("*/data.bin")
    content = bytearray(data.read_bytes())
    content[100] ^= 1
    data.write_bytes(content)
    for _ in range(2):
        assert all_equal(tensors(source(root, tmp_path / "cache", None)), expected)
