import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fitwell.data.check.duplicates import Pair
from fitwell.data.check.leaks import find_leaks, join_groups
from fitwell.data.finding import Case


def make_images(split=None, groups=None):
    number = len(split if split is not None else groups)
    images = pd.DataFrame({"path": [f"{name}.png" for name in "abcdefghijklmnopqrstuvwxyz"[:number]]})
    if split is not None:
        images["split"] = split
    if groups is not None:
        images["group"] = groups
    return images


ALONE = np.arange(26)


def test_without_a_given_split_nothing_can_leak():
    assert find_leaks(make_images(groups=["p", "p"]), np.array([0, 0]), [Pair(0, 1, "file")]) == []


def test_what_stays_on_one_side_is_no_leak():
    images = make_images(["train", "train", "test", "test"], ["p", "p", "q", "q"])
    pairs = [Pair(0, 1, "file"), Pair(2, 3, "near")]
    assert find_leaks(images, np.array([0, 0, 2, 2]), pairs) == []


def test_a_group_in_several_parts_is_named_with_its_parts():
    images = make_images(["test", "train", "val", "val", "train"], ["p2", "p2", "p1", "p3", "p1"])
    (finding,) = find_leaks(images, ALONE[:5], [])
    assert (finding.code, finding.severity) == ("DATA401", "error")
    assert finding.message == "2 of 3 groups lie in more than one part."
    assert finding.cases == (Case("p1", "in train and val"), Case("p2", "in train and test"))


@pytest.mark.parametrize("kind", ["file", "pixels"])
def test_copies_in_several_parts_are_told_with_the_one_in_train(kind):
    images = make_images(["test", "val", "train", "val"])
    (finding,) = find_leaks(images, np.array([0, 0, 0, 3]), [Pair(0, 2, kind), Pair(1, 2, kind)])
    assert (finding.code, finding.severity) == ("DATA402", "error")
    assert finding.message == "2 of 4 images lie in another part than the same picture."
    assert finding.cases == (
        Case("a.png", "in test, the same picture in train", "c.png"),
        Case("b.png", "in val, the same picture in train", "c.png"),
    )


def test_near_duplicates_in_several_parts_are_told_apart_from_copies():
    # b is a copy of a; c is only like them; d and e are like each other
    images = make_images(["train", "test", "val", "val", "test"])
    pairs = [Pair(0, 1, "pixels"), Pair(0, 2, "near", 0.1), Pair(3, 4, "near", 0.1)]
    copies, alike = find_leaks(images, np.array([0, 0, 0, 3, 3]), pairs)
    assert (copies.code, [case.name for case in copies.cases]) == ("DATA402", ["b.png"])
    assert (alike.code, alike.severity) == ("DATA403", "error")
    assert alike.message == "2 of 5 images lie in another part than a near-duplicate."
    assert alike.cases == (
        Case("c.png", "in val, one like it in train", "a.png"),
        Case("e.png", "in test, one like it in val", "d.png"),
    )


def test_images_that_belong_with_no_other_need_no_groups():
    assert join_groups(make_images(["train"] * 3), ALONE[:3]) is None
    assert join_groups(make_images(groups=["p", "q", "r"]), ALONE[:3]) is None


def test_duplicates_become_a_group_and_the_others_keep_their_path():
    images = make_images(["train"] * 4).set_index(pd.Index([9, 8, 7, 6]))
    groups = join_groups(images, np.array([0, 1, 0, 3]))
    assert groups.tolist() == ["a.png + c.png", "b.png", "a.png + c.png", "d.png"]
    assert groups.index.tolist() == [9, 8, 7, 6]
    assert groups.name == "group"


def test_groups_stay_as_they_are_without_duplicates():
    assert join_groups(make_images(groups=["p", "q", "p"]), ALONE[:3]).tolist() == ["p", "q", "p"]


def test_duplicates_join_the_groups_they_lie_in():
    # b and c are copies, so patients p and q are one; so are d and e within r, which changes nothing
    groups = join_groups(make_images(groups=["q", "q", "p", "r", "r"]), np.array([0, 1, 1, 3, 3]))
    assert groups.tolist() == ["p + q", "p + q", "p + q", "r", "r"]


def test_a_chain_of_groups_and_duplicates_is_one_group_with_a_short_name():
    groups = join_groups(make_images(groups=list("abbccddee")), np.array([0, 0, 2, 2, 4, 4, 6, 6, 8]))
    assert groups.tolist() == ["a + b + c + 2 more"] * 9


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 9)), min_size=1, max_size=20), st.randoms())
def test_joined_groups_are_the_closure_of_both_whatever_the_order(rows, random):
    images = make_images(groups=[f"g{group}" for group, _ in rows])
    clusters = np.array([cluster for _, cluster in rows])
    groups = join_groups(images, clusters)
    expected = {row: {row} for row in range(len(rows))}  # by brute force
    for first, (group, cluster) in enumerate(rows):
        for second, (other_group, other_cluster) in enumerate(rows):
            if group == other_group or cluster == other_cluster:
                joined = expected[first] | expected[second]
                expected.update(dict.fromkeys(joined, joined))
    if groups is None:
        assert all(len(each) == 1 for each in expected.values())
        return
    for row in range(len(rows)):
        assert set(np.flatnonzero(groups == groups[row])) == expected[row]
    order = random.sample(range(len(rows)), len(rows))
    again = join_groups(images.iloc[order], clusters[order])
    assert again.sort_index().tolist() == groups.tolist()


def test_the_groups_of_a_table_keep_their_own_names():
    images = make_images(groups=["b.png", "x", "x"])  # a group may be called like an image of another
    assert join_groups(images, ALONE[:3]).tolist() == ["b.png", "x", "x"]
