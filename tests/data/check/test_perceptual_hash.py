import imagehash
import numpy as np
import pytest
from PIL import Image, ImageDraw

from drawings import VARIANTS, compressed, cropped, drawing
from fitwell.data.check.perceptual_hash import NUM_HASHES, VIEWS, frequency_signs, hash_views, perceptual_hashes


def bits_apart(first, second):
    return int(np.bitwise_count(np.uint64(first) ^ np.uint64(second)))


def grid(image):
    """A (1, 32, 32) view, made as the library imagehash makes it."""
    return np.asarray(image.convert("L").resize((32, 32), Image.Resampling.LANCZOS), dtype=np.float32)[None]


@pytest.mark.parametrize("seed", range(5))
def test_the_signs_of_frequencies_are_those_of_imagehash(seed):
    image = drawing(seed)
    expected = np.packbits(imagehash.phash(image).hash.ravel()).view(">u8")[0]
    assert bits_apart(frequency_signs(grid(image))[0], expected) == 0


def test_there_is_one_code_for_the_whole_and_one_for_each_smaller_view():
    hashes = perceptual_hashes(drawing(0))
    assert hashes.shape == (NUM_HASHES,) == (7,)
    assert hashes.dtype == np.uint64
    assert VIEWS[0].tolist() == [0, 0, 1, 1]


@pytest.mark.parametrize("name", VARIANTS)
def test_a_variant_is_within_6_bits_of_some_view(name):
    for seed in range(10):
        first, second = perceptual_hashes(drawing(seed)), perceptual_hashes(VARIANTS[name](drawing(seed)))
        assert min(bits_apart(code, second[0]) for code in first) <= 6


def test_different_pictures_are_about_half_of_all_bits_apart():
    codes = [perceptual_hashes(drawing(seed))[0] for seed in range(30)]
    apart = [bits_apart(codes[i], codes[j]) for i in range(30) for j in range(i)]
    assert 28 < np.mean(apart) < 36
    assert min(apart) > 6


@pytest.mark.parametrize("view", range(NUM_HASHES))
def test_a_crop_meets_the_view_that_it_came_from(view):
    image = drawing(3, (300, 300))
    assert bits_apart(perceptual_hashes(cropped(image, *VIEWS[view]))[0], perceptual_hashes(image)[view]) <= 2


def test_a_symmetric_picture_keeps_its_code_through_jpeg():
    image = Image.new("RGB", (160, 160), "white")
    ImageDraw.Draw(image).ellipse((30, 30, 129, 129), fill=(250, 200, 40), outline="black", width=5)
    copy = compressed(image)
    assert bits_apart(perceptual_hashes(image)[0], perceptual_hashes(copy)[0]) <= 2
    assert bits_apart(frequency_signs(grid(image))[0], frequency_signs(grid(copy))[0]) > 6  # without the weights


def test_a_large_picture_has_the_code_of_its_reduction():
    image = drawing(1, (1500, 1200))
    assert bits_apart(perceptual_hashes(image)[0], perceptual_hashes(image.resize((150, 120)))[0]) <= 4


def test_turning_a_picture_changes_its_code():
    image = drawing(2)
    turned = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    assert bits_apart(perceptual_hashes(image)[0], perceptual_hashes(turned)[0]) > 6


def test_a_blank_picture_has_no_bits():
    assert perceptual_hashes(Image.new("RGB", (40, 30), (9, 99, 199))).tolist() == [0] * NUM_HASHES
    assert hash_views(np.full((2, 32, 32), 77, dtype=np.float32)).tolist() == [0, 0]
