import math

import numpy as np
import pytest
from PIL import Image
from torchvision.transforms import InterpolationMode, v2

from fitwell.data.preview import CropPlan, enlargements, kept_areas, kept_box, model_view
from fitwell.data.transforms import Preprocessing
from pictures import evaluation_tensor

SIZES = [(50, 40), (40, 53), (33, 200), (20, 20), (300, 17), (1, 1)]


def noise(width, height):
    small = np.random.default_rng(0).integers(0, 256, (height // 4 + 1, width // 4 + 1, 3), dtype=np.uint8)
    return Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)


def coordinates(width, height):
    """Red tells the column, green the row, each from 0 to 255 over the picture."""
    across, down = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    return Image.fromarray(np.stack([across, down, 0 * down], axis=-1).round().astype(np.uint8))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("fit", ["crop", "pad", "squash"])
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
def test_people_see_the_pixels_that_the_network_gets(size, fit, interpolation):
    plain = Preprocessing(32, fit, 0.9, (0.0, 0.5, 1.0), (1.0, 1.0, 1.0), interpolation)
    shown = model_view(noise(*size), CropPlan(32, fit, 0.9, interpolation, background=(0, 128, 255)))
    got = evaluation_tensor(noise(*size), plain).numpy().transpose(1, 2, 0) + np.array([0.0, 0.5, 1.0])
    assert shown.size == (32, 32)
    assert np.array_equal(np.rint(got * 255), np.asarray(shown))


@pytest.mark.parametrize("size", [(50, 40), (40, 53), (33, 200), (20, 20), (33, 32), (500, 375), (375, 500)])
@pytest.mark.parametrize("fraction", [1.0, 0.875])
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
def test_a_crop_has_the_pixels_of_torchvisions_resize_and_centre_crop(size, fraction, interpolation):
    picture, mode = noise(*size), InterpolationMode[interpolation.upper()]
    resized = v2.functional.resize(picture, [math.floor(32 / fraction)], mode)
    expected = v2.functional.center_crop(resized, [32, 32])
    assert np.array_equal(model_view(picture, CropPlan(32, "crop", fraction, interpolation)), expected)


@pytest.mark.parametrize("size", [(320, 160), (160, 240), (200, 200)])
@pytest.mark.parametrize("fraction", [1.0, 0.8])
def test_the_kept_box_is_where_the_seen_pixels_come_from(size, fraction):
    plan = CropPlan(64, "crop", fraction)
    seen = np.asarray(model_view(coordinates(*size), plan)) / 255
    box = kept_box(size, plan)
    corners = (*seen[0, 0, :2], *seen[-1, -1, :2])
    assert corners == pytest.approx(box, abs=0.02)


def test_a_crop_of_four_to_three_keeps_three_quarters():
    assert kept_box((400, 300), CropPlan(150, "crop", 1.0)) == (0.125, 0.0, 0.875, 1.0)
    assert kept_areas([400, 300, 100], [300, 400, 100], CropPlan(150, "crop", 1.0)).tolist() == [0.75, 0.75, 1.0]
    assert kept_areas([100], [100], CropPlan(150, "crop", 0.5)).tolist() == [0.25]


@pytest.mark.parametrize("fit", ["pad", "squash"])
def test_padding_and_squashing_keep_everything(fit):
    assert kept_box((400, 300), CropPlan(150, fit, 0.5)) == (0.0, 0.0, 1.0, 1.0)
    assert kept_areas([400, 10], [300, 90], CropPlan(150, fit, 0.5)).tolist() == [1.0, 1.0]


@pytest.mark.parametrize("size", [(640, 480), (300, 1000), (256, 61)])
def test_kept_areas_are_the_areas_of_kept_boxes(size):
    plan = CropPlan(224, "crop", 0.875)
    left, top, right, bottom = kept_box(size, plan)
    assert kept_areas([size[0]], [size[1]], plan)[0] == pytest.approx((right - left) * (bottom - top), rel=0.01)


def test_enlargement_is_the_scale_of_the_resize():
    widths, heights = np.array([400, 50]), np.array([200, 100])
    assert enlargements(widths, heights, CropPlan(100, "crop", 0.5)).tolist() == [1.0, 4.0]
    assert enlargements(widths, heights, CropPlan(100, "pad", 0.5)).tolist() == [0.25, 1.0]
    assert enlargements(widths, heights, CropPlan(100, "squash", 0.5)).tolist() == [0.5, 2.0]


def test_the_crop_of_a_very_long_picture_is_its_middle_without_scaling_all_of_it():
    long = np.zeros((1, 50_000, 3), dtype=np.uint8)
    long[:, 24_990:25_010] = np.linspace(0, 255, 20)[:, None]
    image = Image.fromarray(long)
    seen = model_view(image, CropPlan(64, "crop", 0.5))  # scaled to 128 rows, all of it would be 6.4 million columns
    expected = image.crop((24_999, 0, 25_001, 1)).resize((128, 128), Image.Resampling.BICUBIC).crop((32, 32, 96, 96))
    assert np.asarray(seen)[:, 0].mean() < np.asarray(seen)[:, -1].mean()
    assert np.abs(np.asarray(seen).mean(axis=(0, 2)) - np.asarray(expected).mean(axis=(0, 2))).mean() < 8


@pytest.mark.parametrize("size", [(1601, 100), (100, 1700), (16 * 37 + 5, 37)])
def test_leaving_out_the_far_ends_changes_nothing_that_is_seen(size):
    image, plan = noise(*size), CropPlan(32, "crop", 0.8)
    scaled = tuple(max(40, 40 * side // min(size)) for side in size)
    left, top = round((scaled[0] - 32) / 2), round((scaled[1] - 32) / 2)
    whole = image.resize(scaled, Image.Resampling.BICUBIC).crop((left, top, left + 32, top + 32))
    difference = np.asarray(whole, dtype=int) - np.asarray(model_view(image, plan), dtype=int)
    assert np.abs(difference).mean() < 2.5
