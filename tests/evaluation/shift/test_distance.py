import math

import numpy as np
import pytest
from scipy.stats import kstest
from sklearn.metrics import roc_auc_score

from fitwell.errors import DataError
from fitwell.evaluation.shift.distance import (
    Pictures,
    choose_images,
    compare_pictures,
    difference_of_means,
    mmd2,
    moved_classes,
    permute,
    rbf_kernel,
    squared_distances,
    tell_apart,
)


def pictures(random, count, *, mean=0.0, per_group=1, group_spread=0.0, num_features=6):
    """Normal features; `per_group` pictures share a shift of their own."""
    units = np.repeat(np.arange(count // per_group), per_group)
    shared = random.normal(0, 1, (len(units) // per_group, num_features))[units] * group_spread
    return Pictures(random.normal(mean, 1, (len(units), num_features)) + shared, units)


def p_values(num_studies, **settings):
    found = []
    for study in range(num_studies):
        random = np.random.default_rng(study)
        found.append(compare_pictures(pictures(random, 40, **settings), pictures(random, 40, **settings))["p"])
    return np.array(found)


def test_the_discrepancy_is_that_of_a_double_loop_over_all_pairs():
    random = np.random.default_rng(0)
    own, new = random.normal(0, 1, (5, 3)), random.normal(1, 2, (4, 3))
    both = np.concatenate([own, new])
    distances = [math.dist(both[i], both[j]) for i in range(9) for j in range(i)]
    bandwidth = np.median(distances)

    def kernel(x, y):
        return math.exp(-(math.dist(x, y) ** 2) / (2 * bandwidth**2))

    within_own = sum(kernel(own[i], own[j]) for i in range(5) for j in range(5) if i != j) / (5 * 4)
    within_new = sum(kernel(new[i], new[j]) for i in range(4) for j in range(4) if i != j) / (4 * 3)
    across = sum(kernel(x, y) for x in own for y in new) / (5 * 4)
    found = compare_pictures(Pictures(own, np.arange(5)), Pictures(new, np.arange(4)))
    assert found["bandwidth"] == pytest.approx(bandwidth)
    assert found["mmd2"] == pytest.approx(within_own + within_new - 2 * across)


def test_many_partitions_at_once_give_what_each_gives_alone():
    random = np.random.default_rng(1)
    kernel, _ = rbf_kernel(squared_distances(random.normal(0, 1, (12, 4))))
    sides = random.permuted(np.tile(np.arange(12) < 5, (7, 1)), axis=1).T
    np.testing.assert_allclose(mmd2(kernel, sides), [mmd2(kernel, sides[:, [each]])[0] for each in range(7)])


def test_neighbours_tell_apart_as_often_as_scikit_learn_says():
    random = np.random.default_rng(2)
    nearest = np.array([random.choice(30, 5, replace=False) for _ in range(30)])
    is_new = random.random((30, 4)) < 0.4
    expected = [roc_auc_score(column, column[nearest].mean(axis=1)) for column in is_new.T]
    np.testing.assert_allclose(tell_apart(nearest, is_new), expected)


def test_p_is_uniform_where_there_is_no_shift():
    assert kstest(p_values(200), "uniform").pvalue > 0.01


def test_whole_groups_change_places_so_that_groups_alone_are_no_shift():
    found = p_values(200, per_group=5, group_spread=1.5)
    assert (found < 0.05).mean() <= 0.1  # 95 % of studies at the level of 5 % see at most 17 of 200
    assert kstest(found, "uniform").pvalue > 0.01


def test_pictures_of_groups_taken_for_independent_would_be_called_a_shift():
    random = np.random.default_rng(0)
    own, new = (pictures(random, 40, per_group=5, group_spread=1.5) for _ in range(2))
    alone = compare_pictures(Pictures(own.features, np.arange(40)), Pictures(new.features, np.arange(40)))
    assert alone["p"] < 0.05 < compare_pictures(own, new)["p"]


def test_a_planted_shift_is_found_and_told_apart():
    random = np.random.default_rng(3)
    found = compare_pictures(pictures(random, 60), pictures(random, 60, mean=1.0))
    assert found["p"] == 1 / 1001
    assert found["mmd2"] > found["null"][1]
    assert found["told_apart"]["value"] > 0.9 > 0.65 > found["told_apart"]["null"][1]


def test_the_same_pictures_give_the_same_bits_again():
    random = np.random.default_rng(4)
    own, new = pictures(random, 50, per_group=2), pictures(random, 30)
    assert compare_pictures(own, new) == compare_pictures(own, new)


def test_as_many_units_are_new_in_each_permutation_and_units_stay_whole():
    units, sides = np.repeat(np.arange(6), [1, 2, 3, 1, 2, 3]), np.arange(6) >= 4
    drawn = np.concatenate(list(permute(units, sides, 300, seed=0)), axis=1)
    firsts = drawn[np.unique(units, return_index=True)[1]]
    assert (firsts.sum(axis=0) == 2).all()
    np.testing.assert_array_equal(firsts[units], drawn)
    assert len(np.unique(firsts, axis=1).T) == math.comb(6, 2)


def test_a_group_of_the_same_name_on_both_sides_is_two_groups():
    random = np.random.default_rng(5)
    found = compare_pictures(pictures(random, 20, per_group=2), pictures(random, 20, per_group=2))
    assert (found["num_own_units"], found["num_new_units"]) == (10, 10)


def test_one_group_on_a_side_cannot_be_compared():
    own = pictures(np.random.default_rng(6), 10)
    with pytest.raises(DataError, match=r"10 of the own and 1 of the new"):
        compare_pictures(own, Pictures(own.features, np.zeros(10)))


def test_pictures_that_all_look_the_same_cannot_be_compared():
    same = Pictures(np.ones((10, 3)), np.arange(10))
    with pytest.raises(DataError, match="look exactly the same"):
        compare_pictures(same, same)


def test_at_most_so_many_images_are_chosen_and_groups_stay_together_but_the_last():
    units = np.repeat([f"patient-{number}" for number in range(30)], 7)
    chosen = choose_images(units, 100)
    assert len(chosen) == 100
    counts = np.unique(units[chosen], return_counts=True)[1]
    assert sorted(counts.tolist()) == [2, *[7] * 14]
    np.testing.assert_array_equal(choose_images(units, 100), chosen)
    np.testing.assert_array_equal(choose_images(units[:50], 100), np.arange(50))


def test_a_class_that_moved_two_spreads_is_told_first_and_one_that_stayed_did_not_move():
    random = np.random.default_rng(7)
    labels = np.repeat(["moved", "still", "rare"], [400, 400, 19])
    own, new = (pictures(random, 819, num_features=4) for _ in range(2))
    new.features[:400] += 2.0  # 2 in each of 4 features of variance 1: a length of 4, and a spread of 2
    rows = moved_classes(own, labels, new, labels)
    assert [row["class"] for row in rows] == ["moved", "still"]
    assert rows[0]["distance"] == pytest.approx(2.0, abs=0.1)
    assert rows[1]["distance"] == pytest.approx(0.0, abs=0.1)


def test_the_interval_of_a_difference_of_shares_is_the_normal_one_of_two_samples():
    random = np.random.default_rng(8)
    own, new = ((random.random(count) < share).astype(float) for count, share in ((900, 0.8), (600, 0.6)))
    found = difference_of_means((own, None), (new, None))
    error = math.sqrt(own.var() / 900 + new.var() / 600)
    expected = [new.mean() - own.mean() - 1.96 * error, new.mean() - own.mean() + 1.96 * error]
    np.testing.assert_allclose(found["interval"], expected, atol=0.004)
    assert found["difference"] == found["new"] - found["own"]


def test_groups_widen_the_interval_of_a_difference():
    random = np.random.default_rng(9)
    groups = np.repeat(np.arange(20), 20)
    own, new = (np.repeat(random.random(20), 20) for _ in range(2))
    alone, grouped = (difference_of_means((own, units), (new, units))["interval"] for units in (None, groups))
    assert grouped[1] - grouped[0] > 3 * (alone[1] - alone[0])


def test_a_single_group_gives_a_difference_no_interval():
    assert difference_of_means((np.ones(5), np.zeros(5)), (np.zeros(9), None))["interval"] is None
