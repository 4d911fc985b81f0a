import numpy as np
import pandas as pd
import pytest

from fitwell.data.check.balance import find_class_problems, find_uneven_parts
from fitwell.data.finding import Case
from fitwell.data.labels import Labelling
from fitwell.data.split import assign_splits
from fitwell.errors import DataError


def make_images(labels, groups=None, split=None):
    images = pd.DataFrame({"path": [f"{number:04}.png" for number in range(len(labels))], "label": list(labels)})
    if groups is not None:
        images["group"] = list(groups)
    if split is not None:
        images["split"] = list(split)
    return images


def find(images, code, **options):
    """Return the finding with this code, or None."""
    found = {finding.code: finding for finding in find_class_problems(images, **options)}
    return found.get(code)


def test_even_classes_with_enough_images_have_no_problem():
    images = make_images("ab" * 20)
    assert find_class_problems(images) == []
    assert find_class_problems(assign_splits(images, val_fraction=0.2, test_fraction=0.2, seed=0)) == []


def test_imbalance_is_told_from_the_ratio_on_from_which_recipes_weigh_classes():
    assert find(make_images("a" * 29 + "b" * 20), "DATA501") is None
    finding = find(make_images("a" * 60 + "b" * 20), "DATA501")
    assert finding.message == (
        "The largest class has 3.0 times the images of the smallest (60 and 20), and always naming it would be right "
        "for 75%."
    )
    assert finding.evidence == {"ratio": 3.0, "effective_classes": 1.75}  # 0.75 ** -0.75 * 0.25 ** -0.25
    assert finding.cases == (Case("b", "20 images"), Case("a", "60 images"))


def test_classes_too_small_for_three_parts_are_told_as_assign_splits_refuses_them():
    images = make_images("a" * 20 + "bbc")
    finding = find(images, "DATA502")
    assert finding.message == "2 of 3 classes have fewer than the 3 images that a division takes."
    assert finding.cases == (Case("b", "2 images"), Case("c", "1 image"))
    with pytest.raises(DataError) as caught:
        assign_splits(images, val_fraction=0.1, test_fraction=0.1, seed=0)
    assert caught.value.code == finding.code


def test_groups_are_what_is_counted_where_there_are_groups():
    images = make_images("a" * 20 + "b" * 20, [f"p{n}" for n in range(20)] + ["q", "r"] * 10)
    assert find(images, "DATA502").message == "1 of 2 classes have fewer than the 3 groups that a division takes."
    assert find(images, "DATA502").cases == (Case("b", "2 groups"),)


def test_folds_take_one_image_of_each_class_each():
    images = make_images("a" * 20 + "b" * 4)
    assert find(images, "DATA502") is None
    finding = find(images, "DATA502", num_folds=5)
    assert finding.message == "1 of 2 classes have fewer than the 5 images that a division takes."
    assert find(images.assign(split=["train", "val"] * 10 + ["train", "val"] * 2), "DATA502", num_folds=5) is None


@pytest.mark.parametrize(("given", "least"), [(["train"], 3), (["train", "test"], 2), (["train", "val"], 2)])
def test_parts_that_are_not_given_are_drawn_from_train(given, least):
    images = make_images("a" * 20 * len(given) + "b" * len(given), split=given * 21)
    finding = find(images, "DATA502")
    assert finding.message == f"1 of 2 classes have fewer than the {least} images that a division takes."
    assert finding.cases == (Case("b", "1 image"),)


def test_a_class_missing_from_the_given_train_or_val_is_an_error_and_from_test_a_warning():
    images = make_images("aaabbbccc", split=["train", "val", "test", "train", "train", "test", "val", "val", "val"])
    needed = find(images, "DATA503")
    assert needed.message == "2 of 3 classes are missing from train or val of the given split."
    assert needed.cases == (Case("c", "none in train"), Case("b", "none in val"))
    assert needed.severity == "error"
    test = find(images, "DATA506")
    assert test.message == "1 of 3 classes are missing from test of the given split."
    assert test.cases == (Case("c"),)
    assert test.severity == "warning"


def test_a_given_split_without_train_lacks_every_class_there():
    images = make_images("abab", split=["val", "val", "test", "test"])
    assert find(images, "DATA503").cases == (Case("a", "none in train"), Case("b", "none in train"))
    with pytest.raises(DataError) as caught:
        assign_splits(images, val_fraction=0.1, test_fraction=0.1, seed=0)
    assert caught.value.code == "DATA503"


def test_few_images_or_groups_of_a_class_are_told_once():
    images = make_images("a" * 20 + "b" * 19 + "cc")
    assert find(images, "DATA505").message == "1 of 3 classes have fewer than 20 images."
    assert find(images, "DATA505").cases == (Case("b", "19 images"),)  # c is too small to divide, which says more
    grouped = make_images("a" * 20 + "b" * 20, [f"p{n % 5}" for n in range(20)] + [f"q{n % 4}" for n in range(20)])
    assert find(grouped, "DATA505").message == "1 of 2 classes have fewer than 20 images or 5 groups."
    assert find(grouped, "DATA505").cases == (Case("b", "20 images in 4 groups"),)


def test_even_parts_are_passed_over():
    images = make_images(["abc"[number % 3] for number in range(301)])
    assert find_uneven_parts(assign_splits(images, val_fraction=0.15, test_fraction=0.15, seed=0)) is None


def test_rounding_in_small_parts_is_no_unevenness():
    # 2 of 4 in test against 6 of 20 in all: 20 points, but a single image
    split = ["train"] * 16 + ["test"] * 4
    assert find_uneven_parts(make_images("a" * 12 + "b" * 4 + "aabb", split=split)) is None


def test_uneven_parts_are_told_with_the_largest_deviation():
    # 30 of 100 are b; of the 50 in test 20
    split = ["train"] * 50 + ["test"] * 50
    finding = find_uneven_parts(make_images("a" * 40 + "b" * 10 + "a" * 30 + "b" * 20, split=split))
    assert (finding.code, finding.severity) == ("DATA504", "warning")
    assert finding.message == (
        "2 of 2 classes have other shares of a part than of all images, by up to 10.0 percentage points."
    )
    assert finding.evidence == {"largest_deviation": 0.1, "part_sizes": {"test": 50, "train": 50}}
    assert finding.cases == (
        Case("a", "80.0% of train, 70.0% of all"),
        Case("a", "60.0% of test, 70.0% of all"),
        Case("b", "20.0% of train, 30.0% of all"),
        Case("b", "40.0% of test, 30.0% of all"),
    )


def test_a_rare_class_is_uneven_by_its_ratio():
    # 2 % of all and 4 % of test: 2 points only, but thresholds for it would be off by half
    labels = ["a"] * 200 + ["a"] * 192 + ["b"] * 8
    split = ["train"] * 200 + ["test"] * 200
    finding = find_uneven_parts(make_images(labels, split=split))
    assert {case.name for case in finding.cases} == {"b"}
    assert finding.evidence["largest_deviation"] == 0.02


def test_drawn_groups_of_usual_sizes_come_out_even():
    rng = np.random.default_rng(0)
    groups = np.sort(rng.integers(60, size=900))
    labels = rng.choice(["a", "b", "c"], 900, p=[0.6, 0.3, 0.1])
    images = make_images(labels, [f"g{group}" for group in groups])
    assert find_uneven_parts(assign_splits(images, val_fraction=0.15, test_fraction=0.15, seed=0)) is None


SEVERAL = Labelling(several=True)


def test_of_several_classes_each_is_counted_by_itself():
    images = make_images(["a|b"] * 20 + ["a"] * 20 + ["b|c"] * 2 + [""] * 20)
    finding = find(images, "DATA502", labelling=SEVERAL)
    assert finding.cases == (Case("c", "2 images"),)
    assert find(images, "DATA501", labelling=SEVERAL) is None


def test_a_class_that_hardly_any_image_shows_or_nearly_every_one_is_told():
    images = make_images(["all"] * 57 + ["all|seldom"] * 4 + ["all|half"] * 37 + ["half"] * 2)
    finding = find(images, "DATA507", labelling=SEVERAL)
    assert finding.message == "2 of 3 classes are shown by fewer than 5% of the images, or by more than 95%."
    assert finding.cases == (
        Case("seldom", "shown by 4 of 100 images, 4.0%"),
        Case("all", "shown by 98 of 100 images, 98.0%"),
    )
    assert finding.evidence == {"smallest_share": 0.04, "largest_share": 0.98}


def test_a_column_of_zeros_is_a_class_too_small_to_divide():
    asked = Labelling(several=True, columns=("a", "b", "never"))
    finding = find(make_images(["a|b", "a", "b", ""] * 10), "DATA502", labelling=asked)
    assert finding.cases == (Case("never", "0 images"),)


def test_a_class_that_the_given_val_never_shows_is_told():
    images = make_images(["a|b"] * 5 + ["a"] * 5 + [""] * 5, split=["train"] * 5 + ["val"] * 5 + ["test"] * 5)
    assert find(images, "DATA503", labelling=SEVERAL).cases == (Case("b", "none in val"),)
    assert find(images, "DATA506", labelling=SEVERAL).cases == (Case("a"), Case("b"))


def test_shares_of_several_classes_are_shares_of_images():
    even = make_images(["a|b", "a", "", "b"] * 25, split=(["train"] * 60 + ["val"] * 20 + ["test"] * 20))
    assert find_uneven_parts(even, SEVERAL) is None
    uneven = even.assign(label=["a|b"] * 20 + [""] * 40 + ["a", "b"] * 20)
    finding = find_uneven_parts(uneven, SEVERAL)
    assert Case("a", "33.3% of train, 40.0% of all") in finding.cases
