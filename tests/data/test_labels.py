import numpy as np
import pandas as pd
import pytest

from fitwell.data.labels import ONE_EACH, Labelling, find_joined, join_names

SEVERAL = Labelling(several=True)


def test_a_label_of_one_class_is_its_name_as_it_is():
    assert ONE_EACH.names(" a|b ") == (" a|b ",)
    assert ONE_EACH.classes(["b", "a|b", "b"]) == ("a|b", "b")


@pytest.mark.parametrize(
    ("label", "names"),
    [
        ("b|a", ("a", "b")),
        (" a | b ", ("a", "b")),
        ("a|a", ("a",)),
        ("", ()),
        (" ", ()),
        ("|", ()),
        ("a||b", ("a", "b")),
    ],
)
def test_names_are_trimmed_sorted_and_stand_once(label, names):
    assert SEVERAL.names(label) == names


def test_classes_are_all_names_sorted_or_the_columns_in_their_order():
    assert SEVERAL.classes(["c|a", "", "b"]) == ("a", "b", "c")
    assert Labelling(several=True, columns=("z", "a")).classes(["a"]) == ("z", "a")


def test_every_class_counts_its_images_even_if_there_are_none():
    assert SEVERAL.count(["a|b", "a|b", "", "b"], ("a", "b", "c")) == {"a": 2, "b": 3, "c": 0}
    assert ONE_EACH.count(["a", "b", "b"], ("b", "a")) == {"b": 2, "a": 1}


def test_targets_say_which_image_shows_which_class():
    expected = [[True, True], [False, False], [True, False], [True, True]]
    assert SEVERAL.targets(["a|b", "", "a", "b|a"], ("a", "b")).tolist() == expected
    assert SEVERAL.targets([], ("a", "b")).shape == (0, 2)


def test_images_stand_once_for_each_class_that_they_show():
    images = pd.DataFrame({"path": ["1", "2", "3"], "label": ["a|b", "", "b"]})
    rows = SEVERAL.by_class(images)
    assert list(rows.itertuples(index=False, name=None)) == [("1", "a"), ("1", "b"), ("3", "b")]
    assert rows.index.tolist() == [0, 1, 2]
    assert ONE_EACH.by_class(images) is images


def test_a_label_is_its_names_sorted_and_joined():
    assert join_names(["b", "a"]) == "a|b"
    assert join_names([]) == ""
    random = np.random.default_rng(0)
    for _ in range(50):
        names = set(random.choice(list("abcdef"), 3).tolist())
        assert set(SEVERAL.names(join_names(names))) == names


def test_labels_with_a_later_part_that_is_a_label_too_look_like_several_classes():
    assert find_joined(["cat", "dog", "cat|dog"]) == ["cat|dog"]
    assert find_joined(["mono", "poly", "defective|mono", "defective|poly"]) == ["defective|mono", "defective|poly"]


def test_labels_whose_parts_change_their_places_look_like_several_classes():
    assert find_joined(["cat|dog", "dog|owl", "owl"]) == ["cat|dog", "dog|owl"]


@pytest.mark.parametrize(
    "labels",
    [
        ["animal|cat", "animal|dog", "plant|rose"],  # a tree of names
        ["animal|cat", "animal|dog", "animal"],
        ["animal|cat|black", "animal|dog|black", "animal|cat|white"],
        ["cat|felis catus", "dog|canis lupus"],
        ["cat", "dog"],
    ],
)
def test_names_that_hold_a_bar_on_purpose_do_not(labels):
    assert find_joined(labels) == []
