import numpy as np
import pytest

from fitwell.data.place_groups import MISSING_CLASS, chi_square, fill_in_turn, place_groups
from fitwell.errors import DataError

SHARES = np.array([0.7, 0.15, 0.15])


def test_the_cost_is_chi_square_of_every_class_and_of_the_sum():
    # (8 - 10)^2 / 10 + (7 - 5)^2 / 5, and a sum that is as wished
    assert chi_square(np.array([8.0, 7.0]), np.array([10.0, 5.0])) == pytest.approx(1.2)


def test_a_part_without_a_class_costs_more_than_anything_else():
    assert chi_square(np.array([15.0, 0.0]), np.array([10.0, 5.0])) >= MISSING_CLASS


def test_groups_in_turn_fill_the_parts_to_their_shares():
    counts = np.ones((1000, 1), dtype=np.uint8)
    assert np.bincount(fill_in_turn(counts, SHARES, np.random.default_rng(0))).tolist() == [700, 150, 150]


def test_single_images_are_placed_to_the_nearest():
    counts = np.repeat(np.eye(2, dtype=np.uint8), [100, 20], axis=0)
    placed = place_groups(counts, SHARES, np.random.default_rng(0))
    filled = np.stack([counts[placed == part].sum(axis=0) for part in range(3)])
    assert filled.tolist() == [[70, 14], [15, 3], [15, 3]]


@pytest.mark.parametrize("seed", range(5))
def test_no_move_and_no_exchange_of_two_groups_comes_nearer(seed):
    counts = np.random.default_rng(seed).integers(0, 5, (40, 3))
    placed = place_groups(counts, SHARES, np.random.default_rng(seed))
    cost = whole_cost(placed, counts)
    for one in range(40):
        for part in range(3):
            assert whole_cost(changed(placed, {one: part}), counts) >= cost - 1e-9
        for other in range(one):
            swapped = changed(placed, {one: placed[other], other: placed[one]})
            assert whole_cost(swapped, counts) >= cost - 1e-9


def whole_cost(placed, counts):
    filled = np.stack([counts[placed == part].sum(axis=0) for part in range(3)])
    return chi_square(filled.astype(float), SHARES[:, None] * counts.sum(axis=0)).sum()


def changed(placed, parts):
    return np.array([parts.get(group, part) for group, part in enumerate(placed)])


def test_what_cannot_be_placed_is_refused():
    counts = np.array([[5, 5], [5, 0], [5, 0]], dtype=np.uint8)  # only one group holds the second class
    with pytest.raises(DataError, match="no way, in 10 attempts, to divide 3 groups"):
        place_groups(counts, SHARES, np.random.default_rng(0))
