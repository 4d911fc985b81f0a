import math

import numpy as np
import pytest
import scipy.stats

from fitwell.evaluation.conformal import (
    FREE_RANK,
    PENALTY,
    class_scores,
    conformal_quantile,
    describe_promise,
    judge_sets,
    promise_sets,
    thresholds,
)
from fitwell.evaluation.intervals import wilson_interval
from fitwell.evaluation.metrics import softmax

CLASSES = ("a", "b", "c", "d")


def make_case(num_images, seed, num_classes=4):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, num_classes, num_images)
    logits = rng.normal(size=(num_images, num_classes))
    logits[np.arange(num_images), labels] += 1
    return softmax(logits), labels


def naive_score(probs, label, method, share):
    """Word for word as the papers define it, one image and one class at a time."""
    if method == "lac":
        return 1 - probs[label]
    order = sorted(range(len(probs)), key=lambda each: -probs[each])
    rank = order.index(label) + 1
    score = sum(probs[each] for each in order[: rank - 1]) + share * probs[label]
    return score + (PENALTY * max(0, rank - FREE_RANK) if method == "raps" else 0)


@pytest.mark.parametrize("method", ["lac", "aps", "raps"])
def test_scores_are_those_of_a_loop_over_images_and_classes(method):
    probs, _ = make_case(30, seed=1)
    shares = np.random.default_rng(5).random((30, 1))[:, 0]
    expected = [
        [naive_score(row, label, method, share) for label in range(4)] for row, share in zip(probs, shares, strict=True)
    ]
    np.testing.assert_allclose(class_scores(probs, method, seed=5), expected, atol=1e-12)


@pytest.mark.parametrize(
    ("num_scores", "alpha", "place"), [(9, 0.1, 9), (10, 0.1, 10), (19, 0.1, 18), (99, 0.1, 90), (20, 0.5, 11)]
)
def test_the_quantile_is_the_smallest_that_leaves_room_for_one_more_image(num_scores, alpha, place):
    scores = np.random.default_rng(0).permutation(np.arange(1.0, num_scores + 1))
    assert conformal_quantile(scores, alpha) == place


def test_too_few_images_give_the_full_set():
    assert conformal_quantile(np.zeros(8), 0.1) == math.inf
    probs, labels = make_case(8, seed=0)
    found = promise_sets((probs, labels), probs, labels, None, CLASSES)
    lac = found["variants"][0]
    assert lac["thresholds"] == [None] * 4
    assert (lac["mean_size"], lac["coverage"]["value"]) == (4.0, 1.0)


@pytest.mark.parametrize("method", ["lac", "aps", "raps"])
def test_coverage_given_val_follows_the_beta_distribution_of_the_theory(method):
    num_val, alpha, num_draws, num_test = 40, 0.2, 300, 20_000
    place = math.ceil((num_val + 1) * (1 - alpha))
    coverages = []
    test_probs, test_labels = make_case(num_test, seed=10_000)
    test_scores = class_scores(test_probs, method, seed=10_000)
    of_truth = test_scores[np.arange(num_test), test_labels]
    for seed in range(num_draws):
        probs, labels = make_case(num_val, seed)
        limits = thresholds(class_scores(probs, method, seed=seed), labels, alpha)
        coverages.append((of_truth <= limits[test_labels]).mean())
    assert scipy.stats.kstest(coverages, scipy.stats.beta(place, num_val + 1 - place).cdf).pvalue > 0.01


def test_thresholds_per_class_are_those_of_each_class_alone():
    probs, labels = make_case(200, seed=3)
    scores = class_scores(probs, "lac")
    limits = thresholds(scores, labels, 0.1, by_class=True)
    for label in range(4):
        assert limits[label] == conformal_quantile(scores[labels == label, label], 0.1)


def test_coverage_per_class_follows_its_beta_distribution_where_thresholds_are_per_class():
    num_val, alpha = 30, 0.2
    place = math.ceil((num_val + 1) * (1 - alpha))
    test_probs, test_labels = make_case(40_000, seed=10_000)
    of_class = (1 - test_probs[:, 2])[test_labels == 2]
    coverages = []
    for seed in range(200):
        probs, labels = make_case(400, seed)
        chosen = np.concatenate([np.flatnonzero(labels == label)[:num_val] for label in range(4)])
        limits = thresholds(1 - probs[chosen], labels[chosen], alpha, by_class=True)
        coverages.append((of_class <= limits[2]).mean())
    assert scipy.stats.kstest(coverages, scipy.stats.beta(place, num_val + 1 - place).cdf).pvalue > 0.01


def test_sets_are_judged_by_coverage_and_size():
    sets = np.array([[1, 0, 0, 0], [1, 1, 0, 0], [0, 1, 1, 0], [0, 0, 0, 0]], dtype=bool)
    found = judge_sets(sets, np.array([0, 1, 0, 2]), None, CLASSES)
    assert found["coverage"]["value"] == 0.5
    assert found["coverage"]["interval"] == pytest.approx(wilson_interval(2, 4))
    assert found["mean_size"] == 1.25
    assert found["sizes"] == [
        {"size": 0, "num_images": 1, "coverage": 0.0},
        {"size": 1, "num_images": 1, "coverage": 1.0},
        {"size": 2, "num_images": 2, "coverage": 0.5},
    ]
    assert found["per_class"][0] == {"class": "a", "num_images": 2, "coverage": 0.5, "mean_size": 1.5}
    assert found["per_class"][3] == {"class": "d", "num_images": 0, "coverage": None, "mean_size": None}


def test_with_groups_the_interval_of_coverage_is_over_groups():
    probs, labels = make_case(60, seed=4)
    groups = np.array([f"g{index // 6}" for index in range(60)])
    found = promise_sets(make_case(50, seed=5), probs, labels, groups, CLASSES)
    assert found["variants"][0]["coverage"]["method"] == "bootstrap, 2000 resamples of 10 groups"
    assert (found["num_val"], found["alpha"]) == (50, 0.1)
    kinds = [(variant["method"], variant["by_class"]) for variant in found["variants"]]
    assert kinds == [("lac", False), ("aps", False), ("raps", False), ("lac", True)]


def test_the_promise_says_what_groups_do_to_it():
    assert describe_promise(50, None).startswith("On images like the 50 of val, 90 % of the sets hold the true class")
    assert "for a new group the promise holds roughly, as if it rested on 7 images" in describe_promise(50, 7)
