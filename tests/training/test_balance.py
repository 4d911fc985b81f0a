"""Class weights and drawing beside scikit-learn's, Keras' formula and numbers worked by hand."""

import numpy as np
import pytest
from pydantic import ValidationError
from sklearn.utils.class_weight import compute_class_weight

from fitwell.errors import RecipeError
from fitwell.recipe.schema import Balance
from fitwell.training.balance import (
    balanced_weights,
    class_shares,
    class_weights,
    drawing_shares,
    effective_weights,
    positive_weights,
    prior_logits,
    target_weights,
)

LABELS = np.repeat([0, 1, 2], [60, 30, 10])
NAMES = ("a", "b", "c")


def test_balanced_weights_equal_scikit_learns():
    labels = np.random.default_rng(0).choice(4, size=200, p=[0.6, 0.2, 0.15, 0.05])
    expected = compute_class_weight("balanced", classes=np.arange(4), y=labels)
    np.testing.assert_allclose(balanced_weights(np.bincount(labels)), expected, rtol=1e-12)


def test_balanced_weights_have_mean_one_as_they_are_so_that_the_loss_takes_scikit_learns():
    expected = compute_class_weight("balanced", classes=np.arange(3), y=LABELS)
    np.testing.assert_allclose(class_weights(Balance(class_weights="balanced"), LABELS, NAMES), expected)


def test_balanced_weights_equal_the_formula_of_keras_tutorial():
    # "Classification on imbalanced data": weight = (1 / n) * (total / 2) for two classes.
    np.testing.assert_allclose(balanced_weights(np.array([900, 100])), [1000 / 2 / 900, 1000 / 2 / 100])


def test_effective_numbers_are_the_papers():
    # Cui et al., eq. 2, with beta 0.9: E_n = (1 - 0.9^n) / (1 - 0.9) = 1, 1.9, 2.71 for n = 1, 2, 3.
    np.testing.assert_allclose(1 / effective_weights(np.array([1, 2, 3]), 0.9), [1, 1.9, 2.71])


def test_effective_numbers_lie_between_no_correction_and_balance():
    counts = np.array([1000, 10])
    none, some, full = (np.divide(*effective_weights(counts, beta)) for beta in (0.0, 0.99, 0.9999999))
    assert none == 1.0
    assert full == pytest.approx(10 / 1000, rel=1e-3)
    assert full < some < none


@pytest.mark.parametrize("kind", ["none", "balanced", "effective_number", {"a": 1.0, "b": 2.0, "c": 8.0}])
def test_the_weights_have_mean_one_over_the_images(kind):
    weights = class_weights(Balance(class_weights=kind), LABELS, NAMES)
    assert weights[LABELS].mean() == pytest.approx(1.0)


def test_of_given_weights_only_the_ratios_count():
    small, large = ({"a": 0.25 * scale, "b": 0.25 * scale, "c": 2 * scale} for scale in (1.0, 100.0))
    first, second = (class_weights(Balance(class_weights=given), LABELS, NAMES) for given in (small, large))
    np.testing.assert_allclose(first, second)
    assert first[2] / first[0] == pytest.approx(8)


@pytest.mark.parametrize(
    ("given", "message"),
    [({"a": 1.0, "b": 1.0}, "lacks c"), ({"a": 1.0, "b": 1.0, "c": 1.0, "d": 1.0}, "names d")],
)
def test_given_weights_are_for_exactly_the_classes(given: dict[str, float], message: str):
    with pytest.raises(RecipeError, match=message):
        class_weights(Balance(class_weights=given), LABELS, NAMES)


def test_a_balanced_sampler_draws_every_class_as_often():
    shares = drawing_shares(Balance(sampler="balanced"), LABELS)
    assert shares is not None
    np.testing.assert_allclose(np.bincount(LABELS, weights=shares), [1 / 3, 1 / 3, 1 / 3])


def test_without_a_sampler_each_image_is_seen_once():
    assert drawing_shares(Balance(), LABELS) is None


def test_what_is_drawn_and_weighed_is_the_share_of_a_class():
    ones = np.ones(len(LABELS))
    np.testing.assert_allclose(class_shares(LABELS, ones, None), [0.6, 0.3, 0.1])
    np.testing.assert_allclose(class_shares(LABELS, balanced_weights(np.bincount(LABELS))[LABELS], None), [1 / 3] * 3)
    drawn = drawing_shares(Balance(sampler="balanced"), LABELS)
    np.testing.assert_allclose(class_shares(LABELS, ones, drawn), [1 / 3] * 3)


def test_correcting_twice_must_be_asked_for():
    with pytest.raises(ValidationError, match="both correct unequal class sizes"):
        Balance(class_weights="balanced", sampler="balanced")
    assert Balance(class_weights="balanced", sampler="balanced", twice=True).twice


TARGETS = np.random.default_rng(0).random((200, 3)) < (0.5, 0.2, 0.05)


def test_balanced_images_that_show_a_class_weigh_as_much_together_as_the_others():
    positive = positive_weights(Balance(class_weights="balanced"), TARGETS, NAMES)
    shown = TARGETS.sum(axis=0)
    np.testing.assert_allclose(positive, (200 - shown) / shown)
    weights = target_weights(positive, TARGETS)
    for column, targets in zip(weights.T, TARGETS.T, strict=True):
        expected = compute_class_weight("balanced", classes=np.array([False, True]), y=targets)
        np.testing.assert_allclose(column, expected[targets.astype(int)])


def test_effective_numbers_of_the_two_sides_of_a_class():
    positive = positive_weights(Balance(class_weights="effective_number", effective_beta=0.9), TARGETS, NAMES)
    shown = TARGETS.sum(axis=0)
    np.testing.assert_allclose(positive, (1 - 0.9 ** (200 - shown)) / (1 - 0.9**shown))


@pytest.mark.parametrize("kind", ["none", "balanced", "effective_number", {"a": 1.0, "b": 2.0, "c": 8.0}])
def test_the_weights_of_each_of_several_classes_have_mean_one(kind):
    weights = target_weights(positive_weights(Balance(class_weights=kind), TARGETS, NAMES), TARGETS)
    np.testing.assert_allclose(weights.mean(axis=0), [1, 1, 1])


def test_given_weights_are_those_of_the_images_that_show_a_class():
    given = {"a": 1.0, "b": 2.0, "c": 8.0}
    assert positive_weights(Balance(class_weights=given), TARGETS, NAMES).tolist() == [1, 2, 8]
    with pytest.raises(RecipeError, match="lacks c"):
        positive_weights(Balance(class_weights={"a": 1.0, "b": 1.0}), TARGETS, NAMES)


def test_a_class_that_every_image_shows_has_weights_all_the_same():
    everywhere = np.ones((10, 1), dtype=bool)
    weights = target_weights(positive_weights(Balance(class_weights="balanced"), everywhere, ("a",)), everywhere)
    assert weights.tolist() == [[1.0]] * 10


def test_the_prior_of_single_classes_is_the_logarithm_of_their_shares():
    logits = prior_logits(LABELS, np.ones(100), None)
    np.testing.assert_allclose(np.exp(logits), [0.6, 0.3, 0.1])


def test_the_prior_of_several_classes_is_their_log_odds_as_weighed():
    plain = prior_logits(TARGETS, np.ones(TARGETS.shape), None)
    np.testing.assert_allclose(1 / (1 + np.exp(-plain)), TARGETS.mean(axis=0))
    balanced = target_weights(positive_weights(Balance(class_weights="balanced"), TARGETS, NAMES), TARGETS)
    np.testing.assert_allclose(prior_logits(TARGETS, balanced, None), [0, 0, 0], atol=1e-12)


def test_what_every_image_shows_is_not_sure_to_be_shown_by_the_next():
    logits = prior_logits(np.ones((10, 1), dtype=bool), np.ones((10, 1)), None)
    assert logits == pytest.approx(np.log(0.95 / 0.05))
