import numpy as np
import pytest
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from fitwell.data.check.near_duplicates import MOST_CANDIDATES, MOST_IN_BAND, RADIUS, find_candidates


def codes(num_images, num_views, seed=0):
    return np.random.default_rng(seed).integers(0, 2**64, (num_images, num_views), dtype=np.uint64)


def turn_bits(code, count, random):
    for position in random.choice(64, count, replace=False):
        code ^= np.uint64(1) << np.uint64(position)
    return code


def planted(num_images, num_views, num_pairs, seed=0):
    """Random codes; picture 2i + 1 as a whole lies 0 to 8 bits from some view of picture 2i."""
    random = np.random.default_rng(seed + 1)
    hashes = codes(num_images, num_views, seed)
    for pair in range(num_pairs):
        view = random.integers(num_views)
        hashes[2 * pair + 1, 0] = turn_bits(hashes[2 * pair, view], pair % 9, random)
    return hashes


def compare_all(hashes):
    """The least distance, over views, of every two pictures that are within the radius."""
    apart = np.bitwise_count(hashes[:, None, :1] ^ hashes[None]).min(axis=2)
    apart = np.minimum(apart, apart.T)
    return {(i, j): int(apart[i, j]) for i, j in zip(*np.nonzero(np.triu(apart <= RADIUS, 1)), strict=True)}


@pytest.mark.parametrize(("num_images", "num_views"), [(300, 1), (300, 7), (2000, 3)])
def test_every_pair_within_the_radius_is_found_and_no_other(num_images, num_views):
    hashes = planted(num_images, num_views, num_pairs=100)
    found = find_candidates(hashes)
    pairs = np.sort(np.stack([found.whole, found.part], axis=1), axis=1)
    distances = dict(zip(map(tuple, pairs.tolist()), found.distance.tolist(), strict=True))
    assert distances == compare_all(hashes)
    assert len(distances) == len(found.part) > 70


def test_a_candidate_names_the_view_that_its_part_resembles():
    hashes = planted(500, 7, num_pairs=100)
    found = find_candidates(hashes)
    apart = np.bitwise_count(hashes[found.part, 0] ^ hashes[found.whole, found.view])
    assert np.array_equal(apart, found.distance)
    assert len(set(found.view.tolist())) == 7


def test_a_hundred_thousand_codes_are_not_compared_with_all_others():
    few, many = find_candidates(planted(10_000, 2, 90)), find_candidates(planted(100_000, 2, 90))
    assert len(few.part) == len(many.part) == 70  # 7 of every 9 planted pairs are within the radius
    assert few.num_compared / 10_000 < 50  # of 20,000 codes
    assert many.num_compared / 100_000 < 100  # of 200,000 codes


def test_a_crowd_of_equal_codes_holds_together_without_comparing_all():
    crowd = np.full((5000, 1), codes(1, 1)[0], dtype=np.uint64)
    found = find_candidates(crowd)
    graph = coo_array((np.ones(len(found.part)), (found.whole, found.part)), shape=(5000, 5000))
    assert connected_components(graph, directed=False)[0] == 1
    assert len(found.part) <= 5000 * MOST_CANDIDATES
    assert found.num_compared <= 5000 * MOST_IN_BAND * 5  # in each of at most 5 bands


def test_each_picture_keeps_its_nearest():
    random = np.random.default_rng(4)
    code = codes(1, 1)[0, 0]
    others = [turn_bits(code, 2 + 2 * (number % 3), random) for number in range(60)]
    hashes = np.array([code, turn_bits(code, 1, random), *others], dtype=np.uint64)[:, None]
    found = find_candidates(hashes)
    assert (0, 1) in {tuple(sorted(pair)) for pair in zip(found.whole.tolist(), found.part.tolist(), strict=True)}


def test_other_codes_can_be_looked_up():
    hashes = codes(50, 2)
    queries = codes(50, 1, seed=9)[:, 0]
    queries[7] = hashes[30, 1] ^ np.uint64(0b101)
    found = find_candidates(hashes, queries)
    assert [found.whole.tolist(), found.part.tolist(), found.view.tolist(), found.distance.tolist()] == [
        [30],
        [7],
        [1],
        [2],
    ]


@pytest.mark.parametrize("num_images", [0, 1])
def test_fewer_than_two_pictures_have_no_pairs(num_images):
    found = find_candidates(codes(num_images, 7))
    assert len(found.part) == 0
