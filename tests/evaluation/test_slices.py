import numpy as np
import pandas as pd
import pytest
import scipy.stats
from statsmodels.stats.multitest import multipletests

from fitwell.evaluation.intervals import draw, find_units, interval_of
from fitwell.evaluation.slices import Slice, compare_with_rest, find_slices, slice_columns


def make_images(num_images=60, **columns):
    labels = [("cat", "dog")[index % 2] for index in range(num_images)]
    return pd.DataFrame({"path": [f"{index}.png" for index in range(num_images)], "label": labels, **columns})


def found_in(images):
    """(column, value) and number of images of every slice."""
    return {(each.column, each.value): int(each.chosen.sum()) for each in find_slices(images)[0]}


def half(num_images, num_right, num_right_of_rest):
    """`right` (2N,) with a slice of the first N images, labels, and the slice."""
    places = np.arange(num_images)
    right = np.concatenate([places < num_right, places < num_right_of_rest])
    return right, np.arange(2 * num_images) % 2, Slice("site", "A", np.arange(2 * num_images) < num_images)


def test_the_values_of_a_column_are_slices_in_order():
    images = make_images(6, site=["B", "A", "B", None, "A", "B"])
    assert list(found_in(images).items()) == [(("site", ""), 1), (("site", "A"), 2), (("site", "B"), 3)]


def test_a_column_with_many_values_is_left_out_and_told():
    images = make_images(60, serial=[str(index) for index in range(60)])
    assert find_slices(images) == ([], [{"column": "serial", "num_values": 60}])


def test_what_is_known_of_every_image_is_no_slice():
    images = make_images(2, id="x", sha256="y", width="3", height="3", brightness="0.5", site="A")
    assert slice_columns(images) == ["site"]


def test_folders_are_slices_where_they_are_not_the_classes():
    by_class = make_images(4).assign(path=["cat/0.png", "dog/1.png", "cat/2.png", "dog/3.png"])
    assert found_in(by_class) == {}
    by_site = make_images(4).assign(path=["a/0.png", "a/1.png", "b/2.png", "b/3.png"])
    assert found_in(by_site) == {("folder", "a"): 2, ("folder", "b"): 2}


def test_measurements_are_slices_by_thirds_and_equal_ones_stay_together():
    images = make_images(9, width=["30"] * 9, height=[str(10 * n) for n in range(1, 10)], brightness=["0.5"] * 9)
    assert found_in(images) == {
        ("width / height", "0.333 to 0.429"): 3,
        ("width / height", "0.5 to 0.75"): 3,
        ("width / height", "1 to 3"): 3,
    }


def test_pictures_that_were_not_measured_have_no_thirds():
    assert found_in(make_images(9, width="30", height="30")) == {}


def test_a_slice_of_independent_images_is_compared_by_fishers_exact_test():
    right, labels, part = half(40, 20, 34)
    (claim,) = compare_with_rest(right, labels, None, [part])
    assert claim["difference"] == pytest.approx((20 - 34) / 40)
    assert claim["p"] == pytest.approx(scipy.stats.fisher_exact([[20, 20], [34, 6]]).pvalue)
    assert (claim["p_holm"], claim["differs"]) == (claim["p"], True)
    low, high = claim["interval"]
    assert low < (20 - 34) / 40 < high < 0


def test_p_values_are_adjusted_over_all_slices():
    right, labels, part = half(40, 28, 34)
    weak = Slice("site", "B", ~part.chosen)
    odd = Slice("day", "odd", np.arange(80) % 4 < 2)
    claims = compare_with_rest(right, labels, None, [part, weak, odd])
    adjusted = multipletests([claim["p"] for claim in claims], method="holm")[1]
    assert [claim["p_holm"] for claim in claims] == pytest.approx(adjusted)
    assert [claim["differs"] for claim in claims] == [False, False, False]


def test_few_images_in_the_slice_or_in_the_rest_make_no_claim():
    right, labels, _ = half(30, 0, 30)
    few = np.arange(60) < 19
    claims = compare_with_rest(right, labels, None, [Slice("a", "x", few), Slice("a", "y", ~few)])
    assert claims == [None, None]


def test_nothing_to_compare_gives_nothing():
    right, labels, _ = half(30, 10, 10)
    assert compare_with_rest(right, labels, None, []) == []


def test_with_groups_the_difference_is_judged_over_resampled_groups():
    right, labels, part = half(60, 30, 54)
    groups = np.array([f"g{index // 10}" for index in range(120)])
    (claim,) = compare_with_rest(right, labels, groups, [part])
    units = find_units(labels, groups)
    weights = np.concatenate(list(draw(units, num_resamples=2000, seed=0)), axis=1)
    resamples = [
        np.average(right[:60], weights=column[:60]) - np.average(right[60:], weights=column[60:])
        if column[:60].any() and column[60:].any()
        else np.nan
        for column in weights.T
    ]
    interval = interval_of(np.array(resamples), claim["difference"], units, labels=labels, bounds=(-1.0, 1.0))
    assert claim["interval"] == pytest.approx([interval.low, interval.high])
    fisher = scipy.stats.fisher_exact([[30, 30], [54, 6]]).pvalue
    assert claim["p"] > 100 * fisher  # twelve groups say less than 120 images
