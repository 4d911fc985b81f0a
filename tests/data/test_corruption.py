import io

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from fitwell.data.corruption import CORRUPTIONS, LEVELS, Corruption, corrupt

SIDE = 112  # half of ImageNet-C's, so that what is in pixels is halved
SEVERITIES = (1, 2, 3)


def drawn_picture():
    down, across = np.mgrid[:SIDE, :SIDE]
    red = 127 + 100 * np.sin(across / 9) * np.cos(down / 7)
    return np.stack([red, 127 + 90 * np.cos((across + down) / 11), 60 + down], axis=-1).round().astype(np.uint8)


PICTURE = drawn_picture()


def corrupted(name, severity, picture=PICTURE):
    return corrupt(picture, Corruption(name, severity)).astype(float)


@pytest.mark.parametrize("corruption", CORRUPTIONS, ids=str)
def test_the_same_picture_is_corrupted_alike_whatever_came_before(corruption):
    first = corrupt(PICTURE, corruption)
    corrupt(PICTURE[::-1].copy(), corruption)
    assert corrupt(PICTURE.copy(), corruption).tobytes() == first.tobytes()
    assert (first.shape, first.dtype) == (PICTURE.shape, np.uint8)


@pytest.mark.parametrize("name", LEVELS)
def test_the_more_severe_the_further_from_the_picture(name):
    distances = [abs(corrupted(name, severity) - PICTURE).mean() for severity in SEVERITIES]
    assert 0 < distances[0] < distances[1] < distances[2]


@pytest.mark.parametrize(("severity", "deviation"), [(1, 0.08), (2, 0.18)])
def test_noise_has_the_deviation_of_its_level(severity, deviation):
    grey = np.full((SIDE, SIDE, 3), 127, dtype=np.uint8)
    noise = corrupted("gaussian_noise", severity, grey) - grey
    assert noise.std() / 255 == pytest.approx(deviation, rel=0.02)
    assert abs(noise.mean()) < 0.6


def test_two_pictures_get_different_noise():
    greys = [np.full((SIDE, SIDE, 3), level, dtype=np.uint8) for level in (127, 128)]
    noises = [(corrupted("gaussian_noise", 1, grey) - grey).ravel() for grey in greys]
    assert abs(np.corrcoef(*noises)[0, 1]) < 0.03


@pytest.mark.parametrize(("severity", "sigma"), [(1, 0.5), (2, 1.5), (3, 3.0)])
def test_blur_is_scipys_with_a_deviation_scaled_to_the_side(severity, sigma):
    expected = ndimage.gaussian_filter(PICTURE.astype(float), (sigma, sigma, 0), mode="mirror", truncate=4)
    np.testing.assert_allclose(corrupted("gaussian_blur", severity), expected, atol=0.51)


@pytest.mark.parametrize(("severity", "quality"), [(1, 25), (2, 15), (3, 7)])
def test_compression_has_the_quality_of_its_level(severity, quality):
    file = io.BytesIO()
    Image.fromarray(PICTURE).save(file, "jpeg", quality=quality)
    np.testing.assert_array_equal(corrupted("jpeg_compression", severity), np.array(Image.open(file)))


@pytest.mark.parametrize(("name", "factor"), [("brightness_up", 1.3), ("brightness_down", 0.7)])
def test_brightness_is_a_factor(name, factor):
    np.testing.assert_allclose(corrupted(name, 2), np.clip(factor * PICTURE, 0, 255), atol=1)


def test_contrast_keeps_a_share_of_the_distance_from_the_mean_grey():
    grey = PICTURE @ np.array([0.299, 0.587, 0.114])
    np.testing.assert_allclose(corrupted("contrast_down", 2), grey.mean() + 0.2 * (PICTURE - grey.mean()), atol=1.5)


@pytest.mark.parametrize(("severity", "degrees"), [(1, 2), (2, 5), (3, 10)])
def test_a_rotation_is_scipys_to_one_of_both_sides(severity, degrees):
    found = corrupted("rotation", severity)
    turned = [ndimage.rotate(PICTURE.astype(float), side * degrees, reshape=False, order=1) for side in (1, -1)]
    inside = slice(15, -15)
    assert min(abs(each - found)[inside, inside].max() for each in turned) < 0.51


@pytest.mark.parametrize(("severity", "share"), [(1, 0.02), (2, 0.05), (3, 0.1)])
def test_a_shift_moves_the_picture_by_its_share_of_the_side(severity, share):
    found, inside = corrupted("shift", severity), slice(15, -15)
    moves = [(down, across) for down in range(-12, 13) for across in range(-12, 13)]
    matching = [move for move in moves if (np.roll(PICTURE, move, (0, 1)) == found)[inside, inside].all()]
    assert len(matching) == 1
    assert np.hypot(*matching[0]) == pytest.approx(share * SIDE, abs=0.71)  # half a pixel each way


@pytest.mark.parametrize("name", ["shift", "rotation"])
def test_what_a_movement_uncovers_is_filled_from_the_picture(name):
    white = np.full((SIDE, SIDE, 3), 255, dtype=np.uint8)
    assert (corrupted(name, 3, white) == 255).all()
