from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from fitwell.data.check.appearance import IMAGENET_MEAN, IMAGENET_SPREAD, find_appearance_problems
from fitwell.data.finding import Case
from fitwell.data.preview import CropPlan

CROP = CropPlan(100, "crop", 1.0)


def rows(sizes, labels=None):
    labels = labels or ["cat", "dog"] * (len(sizes) // 2 + 1)
    return pd.DataFrame(
        {
            "path": [f"{row:03}.png" for row in range(len(sizes))],
            "label": labels[: len(sizes)],
            "width": [width for width, _ in sizes],
            "height": [height for _, height in sizes],
        }
    )


def measures(num, mean=IMAGENET_MEAN, spread=IMAGENET_SPREAD, **changes):
    """What photographs measure; `changes` give the first image other values."""
    found = {
        "means": np.tile(np.float32(mean), (num, 1)),
        "spreads": np.tile(np.float32(spread), (num, 1)),
        "details": np.full(num, 7.0, dtype=np.float32),
        "formats": np.full(num, "PNG", dtype="U8"),
        "modes": np.full(num, "RGB", dtype="U8"),
    }
    for name, value in changes.items():
        found[name][0] = value
    return SimpleNamespace(**found)


def found(sizes=((100, 100),) * 20, plan=CROP, **changes):
    images = rows(list(sizes))
    return {each.code: each for each in find_appearance_problems(images, measures(len(sizes), **changes), plan)}


def test_pictures_like_photographs_are_no_finding():
    assert found() == {}


def test_no_pictures_are_no_finding():
    assert found(sizes=()) == {}


def test_one_colour_is_blank_and_named():
    finding = found(means=[1, 0.5, 0], spreads=0, details=0)["DATA601"]
    assert finding.message == "1 of 20 images show one colour and nothing else."
    assert finding.cases == (Case("000.png", "only the colour #ff8000"),)


def test_a_white_drawing_on_nothing_is_blank_and_told_why():
    (case,) = found(means=1, spreads=0, details=0, modes="LA")["DATA601"].cases
    assert case.detail == "only the colour #ffffff, once transparent parts are white"


def test_a_picture_of_two_colours_of_one_grey_is_not_blank():
    assert found(spreads=[0.3, 0.3, 0], details=0) == {}


def test_a_dark_frame_with_the_noise_of_a_camera_is_nearly_blank():
    finding = found(spreads=3 / 255, details=3.6)["DATA602"]
    assert finding.message == "1 of 20 images show hardly anything."
    assert finding.cases == (Case("000.png", "spread 0.0118, 3.60 bits"),)


def test_a_speck_on_white_is_nearly_blank_and_a_thin_drawing_is_not():
    def measured(share):
        """Spread and entropy of a picture that is black on `share` of white."""
        bits = -share * np.log2(share) - (1 - share) * np.log2(1 - share)
        return {"spreads": np.sqrt(share * (1 - share)), "details": bits}

    assert list(found(**measured(0.001))) == ["DATA602"]
    assert found(**measured(0.01)) == {}


def test_the_darkest_solar_cell_is_not_blank():
    assert found(spreads=0.0186, details=3.61) == {}


def test_the_emptiest_comes_first():
    images, seen = rows([(100, 100)] * 20), measures(20)
    seen.spreads[[4, 7]] = [[0.01], [0.002]]
    (finding,) = find_appearance_problems(images, seen, CROP)
    assert [case.name for case in finding.cases] == ["007.png", "004.png"]


@pytest.mark.parametrize(
    ("mean", "spread", "message"),
    [
        (
            IMAGENET_MEAN + 1.2 * IMAGENET_SPREAD * [0, 1, 0],
            IMAGENET_SPREAD,
            "Over 20 images the mean colour lies 1.2 standard deviations from ImageNet's and the contrast is 1.00 "
            "times as high.",
        ),
        (
            IMAGENET_MEAN,
            IMAGENET_SPREAD / 2,
            "Over 20 images the mean colour lies 0.0 standard deviations from ImageNet's and the contrast is 0.50 "
            "times as high.",
        ),
    ],
)
def test_colours_far_from_imagenets_are_told_with_their_distance(mean, spread, message):
    finding = found(mean=mean, spread=spread)["DATA603"]
    assert (finding.message, finding.cases) == (message, ())
    assert finding.evidence["mean"] == pytest.approx(mean, abs=6e-4)


@pytest.mark.parametrize("distance", [-0.9, 0.9])
@pytest.mark.parametrize("ratio", [0.7, 1.4])
def test_colours_within_reach_of_imagenets_are_no_finding(distance, ratio):
    assert found(mean=IMAGENET_MEAN + distance * IMAGENET_SPREAD, spread=ratio * IMAGENET_SPREAD) == {}


def test_small_images_are_told_from_the_smallest_on():
    finding = found([(100, 100), (60, 80), (81, 200), (50, 40)])["DATA604"]
    assert finding.message == "2 of 4 images are enlarged to 100 x 100 pixels."
    assert finding.cases == (
        Case("003.png", "50 x 40, enlarged 2.5 times"),
        Case("001.png", "60 x 80, enlarged 1.7 times"),
    )
    assert finding.evidence == {"input_size": 100, "median_enlargement": 2.083}


def test_the_planned_crop_decides_what_is_enlarged():
    assert "DATA604" not in found([(100, 100)] * 2)
    assert "DATA604" in found([(100, 100)] * 2, CropPlan(100, "crop", 0.75))
    assert "DATA604" not in found([(100, 20)] * 2, CropPlan(100, "pad", 0.75))
    assert "DATA604" in found([(100, 20)] * 2, CropPlan(100, "squash", 1.0))


def test_cut_pictures_are_told_from_the_most_cut_on():
    finding = found([(600, 400), (500, 300), (500, 299), (150, 600)])["DATA605"]
    assert finding.message == "2 of 4 images lose more than 40 % to the crop."
    assert finding.cases == (Case("003.png", "150 x 600, 25 % is kept"), Case("002.png", "500 x 299, 59.8 % is kept"))
    assert finding.evidence == {"limit": 0.6, "median_kept": 0.424}


@pytest.mark.parametrize("fit", ["pad", "squash"])
def test_what_is_padded_or_squashed_is_not_cut(fit):
    assert "DATA605" not in found([(400, 100)] * 2, CropPlan(100, fit, 0.5))


def test_a_class_of_one_format_is_a_shortcut():
    images, seen = rows([(100, 100)] * 60), measures(60)
    seen.formats[images["label"] == "cat"] = "BMP"
    (finding,) = find_appearance_problems(images, seen, CROP)
    assert finding.code == "DATA606"
