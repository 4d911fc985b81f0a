import numpy as np
import pytest

from fitwell.data.place_label_sets import begin_with_the_rarest, place_label_sets
from fitwell.errors import DataError

SHARES = np.array([0.7, 0.15, 0.15])


def make_targets(num_images, seed, prevalences=(0.5, 0.2, 0.1, 0.05, 0.02)):
    """Classes of very different frequency, the second of which shows the third."""
    targets = np.random.default_rng(seed).random((num_images, len(prevalences))) < prevalences
    targets[:, 1] |= targets[:, 2]
    return targets


def counts_by_part(targets, placed):
    return np.stack([targets[placed == part].sum(axis=0) for part in range(len(SHARES))])  # (P, C)


@pytest.mark.parametrize("seed", range(5))
def test_every_class_comes_near_its_share_of_every_part(seed):
    targets = make_targets(1000, seed)
    placed = place_label_sets(targets, np.arange(1000), SHARES, np.random.default_rng(seed))
    assert np.bincount(placed) == pytest.approx(1000 * SHARES, abs=2)
    wished = SHARES[:, None] * targets.sum(axis=0)
    assert np.abs(counts_by_part(targets, placed) - wished).max() <= 2


def test_pairs_and_images_of_no_class_are_spread_too():
    targets = make_targets(2000, seed=1)
    placed = place_label_sets(targets, np.arange(2000), SHARES, np.random.default_rng(0))
    for together in (targets[:, 0] & targets[:, 1], ~targets.any(axis=1)):
        found = np.bincount(placed[together], minlength=3)
        assert found == pytest.approx(together.sum() * SHARES, abs=3)


@pytest.mark.parametrize("seed", range(5))
def test_groups_stay_whole_and_classes_near_their_shares(seed):
    rng = np.random.default_rng(seed)
    sizes = rng.geometric(1 / 8, size=150)
    groups = np.repeat(np.arange(150), sizes)
    lean = rng.random((150, 3)) * (0.8, 0.4, 0.15)  # the images of a group are alike
    targets = rng.random((len(groups), 3)) < lean[groups]
    placed = place_label_sets(targets, groups, SHARES, rng)
    assert all(len(set(placed[groups == group])) == 1 for group in range(150))
    shares = counts_by_part(targets, placed) / np.bincount(placed)[:, None]
    np.testing.assert_allclose(shares, np.broadcast_to(targets.mean(axis=0), shares.shape), atol=0.03)


def test_a_class_of_three_images_has_one_in_each_part():
    targets = make_targets(400, seed=2)
    targets[:, 4] = False
    targets[[10, 200, 399], 4] = True
    placed = place_label_sets(targets, np.arange(400), SHARES, np.random.default_rng(0))
    assert sorted(placed[targets[:, 4]]) == [0, 1, 2]


def test_a_class_in_too_few_groups_is_refused():
    targets = make_targets(60, seed=3)
    targets[:, 4] = False
    targets[:2, 4] = True
    with pytest.raises(DataError, match="to divide 60 groups"):
        place_label_sets(targets, np.arange(60), SHARES, np.random.default_rng(0))


def test_the_start_gives_the_rarest_class_its_shares_exactly():
    targets = make_targets(500, seed=4)
    rarest = int(targets.sum(axis=0).argmin())
    counts = np.column_stack([targets, np.ones(500)]).astype(np.uint8)
    placed = begin_with_the_rarest(counts, SHARES, np.random.default_rng(0))
    wished = SHARES * targets[:, rarest].sum()
    assert np.abs(np.bincount(placed[targets[:, rarest]], minlength=3) - wished).max() < 1


def test_the_seed_decides_all():
    targets = make_targets(200, seed=5)
    first, again, other = (
        place_label_sets(targets, np.arange(200), SHARES, np.random.default_rng(seed)) for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
