import math
from dataclasses import replace

import numpy as np
import pytest

from fitwell.data.variation import Augmentation, draw_variation

ALL = Augmentation(
    rotate_degrees=20,
    flip="dihedral",
    crop_area=(0.3, 0.6),
    brightness=0.2,
    contrast=0.3,
    saturation=0.4,
    hue=0.1,
    erase_probability=0.5,
    erase_area=(0.1, 0.2),
)
SEEDS = range(300)


def drawn(augmentation=ALL, fit="crop", picture=(200, 160)):
    return [draw_variation(picture, 64, fit, augmentation, seed) for seed in SEEDS]


def test_the_same_seed_draws_the_same_and_another_does_not():
    assert drawn() == drawn()
    assert len({repr(each) for each in drawn()}) == len(SEEDS)


def test_what_is_drawn_stays_within_what_was_asked_and_uses_all_of_it():
    variations = drawn()
    for values, low, high in (
        ([each.window.width * each.window.height / (200 * 160) for each in variations], 0.3, 0.6),
        ([math.degrees(each.window.radians) for each in variations], -20, 20),
        ([each.brightness for each in variations], 0.8, 1.2),
        ([each.contrast for each in variations], 0.7, 1.3),
        ([each.saturation for each in variations], 0.6, 1.4),
        ([each.hue_turn / 255 for each in variations], -0.102, 0.102),
    ):
        assert low <= min(values) < low + 0.05 * (high - low)
        assert high - 0.05 * (high - low) < max(values) <= high + 1e-9


@pytest.mark.parametrize("fit", ["crop", "squash"])
def test_an_upright_window_lies_in_the_picture(fit):
    for window in (each.window for each in drawn(fit=fit)):
        assert window.center_x - window.width / 2 + 1e-9 >= 0
        assert window.center_x + window.width / 2 <= 200 + 1e-9
        assert window.center_y - window.height / 2 + 1e-9 >= 0
        assert window.center_y + window.height / 2 <= 160 + 1e-9


@pytest.mark.parametrize(
    ("flip", "kinds"), [("none", 1), ("horizontal", 2), ("vertical", 2), ("both", 4), ("dihedral", 8)]
)
def test_each_symmetry_is_as_likely(flip, kinds):
    found = [(each.is_mirrored, each.is_inverted, each.is_swapped) for each in drawn(replace(ALL, flip=flip))]
    counts = np.unique(found, axis=0, return_counts=True)[1]
    assert len(counts) == kinds
    assert counts == pytest.approx(300 / kinds, rel=0.5)


def test_erased_rectangles_lie_inside_and_have_the_asked_area():
    boxes = [each.erased for each in drawn() if each.erased is not None]
    assert len(boxes) == pytest.approx(150, abs=35)
    for top, left, height, width in boxes:
        assert 0 <= top <= 64 - height
        assert 0 <= left <= 64 - width
        assert 0.08 < height * width / 64**2 < 0.22


def test_switching_one_variation_off_leaves_the_others_as_they_are():
    for one, other in zip(drawn(), drawn(replace(ALL, hue=0.0, erase_probability=0.0, flip="none")), strict=True):
        assert replace(one, hue_turn=0, erased=None, is_mirrored=False, is_inverted=False, is_swapped=False) == other
