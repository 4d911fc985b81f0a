import math

import numpy as np
import pandas as pd
import pytest

from fitwell.data.check.shortcut import count_pairs, find_shortcut, tell_apart
from fitwell.data.finding import Case


def images(labels, sizes=None):
    sizes = sizes or [(100, 100)] * len(labels)
    return pd.DataFrame({"label": labels, "width": [w for w, _ in sizes], "height": [h for _, h in sizes]})


def shortcut(labels, *, formats=None, modes=None, sizes=None):
    num = len(labels)
    return find_shortcut(images(labels, sizes), formats or ["PNG"] * num, modes or ["RGB"] * num)


def judge_one_by_one(values, labels, label):
    """Youden's J as its definition says: each image against the counts of all the others, a tie counting half."""
    right = {True: [], False: []}
    for row, is_inside in enumerate(labels == label):
        others = np.arange(len(labels)) != row
        inside = values[others & (labels == label)] == values[row]
        outside = values[others & (labels != label)] == values[row]
        says_inside = 0.5 if math.isclose(inside.mean(), outside.mean()) else float(inside.mean() > outside.mean())
        right[is_inside].append(says_inside if is_inside else 1 - says_inside)
    return np.mean(right[True]) + np.mean(right[False]) - 1


@pytest.mark.parametrize("seed", range(5))
def test_the_effect_is_that_of_judging_each_image_by_all_others(seed):
    random = np.random.default_rng(seed)
    values, labels = random.integers(0, 6, 80), random.integers(0, 3, 80)
    values[labels == 1] = np.where(random.random((labels == 1).sum()) < 0.7, 2, values[labels == 1])
    expected = [judge_one_by_one(values, labels, label) for label in range(3)]
    assert tell_apart(count_pairs(values, labels)) == pytest.approx(expected)


def test_values_that_occur_once_tell_nothing():
    labels = np.repeat([0, 1], 30)
    assert tell_apart(count_pairs(np.arange(60), labels)).tolist() == [0.0, 0.0]


def test_a_class_in_its_own_format_is_told_with_its_counts():
    labels = ["cat"] * 50 + ["dog"] * 50 + ["owl"] * 50
    formats = ["JPEG"] * 48 + ["PNG"] * 2 + ["PNG"] * 99 + ["JPEG"]
    finding = shortcut(labels, formats=formats)
    assert finding.code == "DATA606"
    assert finding.message == (
        "The format alone tells 1 of 3 classes from the others (J up to 0.95, where 0 is chance and 1 certainty)."
    )
    assert finding.cases == (Case("cat", "format JPEG: 48 of its 50, 1 of 100 others"),)
    assert finding.evidence == {
        "effect": {"format": 0.95},
        "p": 0.0005,
        "counts": {"format": {"classes": {"cat": {"JPEG": 48, "PNG": 2}}, "all": {"JPEG": 49, "PNG": 101}}},
    }


def test_every_property_that_gives_classes_away_is_named():
    labels = ["cat"] * 40 + ["dog"] * 40
    finding = shortcut(labels, modes=["L"] * 40 + ["RGB"] * 40, sizes=[(640, 480)] * 40 + [(512, 512)] * 40)
    assert finding.message.startswith("The mode or the size alone tells 2 of 2 classes")
    assert finding.cases[0] == Case("cat", "mode L: 40 of its 40, 0 of 40 others")
    assert finding.cases[2] == Case("cat", "size 640 x 480: 40 of its 40, 0 of 40 others")


def test_photographs_of_two_sources_are_told_by_their_longer_side():
    random = np.random.default_rng(0)
    sides = [*random.integers(300, 600, 200), *random.integers(2000, 4000, 200)]
    sizes = [(int(side), int(side * random.uniform(0.6, 0.8))) for side in sides]
    finding = shortcut(["web"] * 200 + ["camera"] * 200, sizes=sizes)
    assert finding.evidence["effect"]["size"] > 0.98
    assert all(case.detail.partition(":")[0].endswith("at the longer side") for case in finding.cases)


def test_one_camera_against_many_is_told_by_its_size():
    random = np.random.default_rng(0)
    sizes = [(800, 600)] * 100 + [(int(side), 600) for side in random.integers(700, 900, 100)]
    told = {case.name: case.detail for case in shortcut(["one"] * 100 + ["many"] * 100, sizes=sizes).cases}
    assert told["one"] == f"size 800 x 600: 100 of its 100, {sizes[100:].count((800, 600))} of 100 others"


def test_the_aspect_of_what_is_cut_out_tightly_is_no_shortcut():
    random = np.random.default_rng(0)
    sizes = [(256, int(height)) for height in (*random.integers(30, 120, 150), *random.integers(200, 257, 150))]
    assert shortcut(["text"] * 150 + ["sign"] * 150, sizes=sizes) is None


def test_formats_mixed_alike_in_all_classes_are_no_shortcut():
    random = np.random.default_rng(0)
    labels = list(random.choice(["cat", "dog", "owl"], 300))
    assert shortcut(labels, formats=list(random.choice(["JPEG", "PNG"], 300))) is None


def test_a_weak_association_is_no_shortcut():
    labels = ["cat"] * 200 + ["dog"] * 200
    formats = ["JPEG"] * 120 + ["PNG"] * 80 + ["JPEG"] * 80 + ["PNG"] * 120
    assert shortcut(labels, formats=formats) is None


@pytest.mark.parametrize("num_images", [3, 9])
def test_few_images_prove_nothing(num_images):
    labels = ["cat"] * num_images + ["dog"] * 30
    assert shortcut(labels, formats=["JPEG"] * num_images + ["PNG"] * 30) is None


def test_no_images_are_no_shortcut():
    assert shortcut([]) is None


def test_chance_hardly_ever_looks_like_a_shortcut():
    random = np.random.default_rng(1)
    for _ in range(60):
        labels = list(random.choice(["cat", "dog", "owl", "fox"], 40))
        sizes = [(int(side), 90) for side in random.choice([100, 120, 140, 160], 40)]
        assert shortcut(labels, formats=list(random.choice(["JPEG", "PNG"], 40)), sizes=sizes) is None


def test_the_permutations_of_very_many_images_are_of_some_of_them(monkeypatch):
    monkeypatch.setattr("fitwell.data.check.shortcut.MOST_PERMUTED", 50)
    labels = ["cat", "dog"] * 500
    assert shortcut(labels, formats=["JPEG", "PNG"] * 500).evidence["p"] == 0.0005
