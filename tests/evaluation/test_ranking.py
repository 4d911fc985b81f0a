"""Ranking metrics against scikit-learn and against hand-worked numbers; DeLong's variance against its definition."""

import sys

import numpy as np
import pytest
import sklearn.metrics

from fitwell.evaluation.ranking import RANKING_METRICS, area_with_influence, ranking_metrics, resampled_ranking


def make_scores(num_images, seed, *, decimals=None, share=0.3):
    rng = np.random.default_rng(seed)
    positive = np.concatenate([[True, False], rng.random(num_images - 2) < share])
    scores = rng.normal(size=num_images) + positive
    return scores if decimals is None else np.round(scores, decimals), positive


def by_scikit_learn(scores, positive):
    """The challenge's own lines for the last one: the largest realised sensitivity, on every point of the curve."""
    false_rate, sensitivity, _ = sklearn.metrics.roc_curve(positive, scores, drop_intermediate=False)
    enough = 1 - false_rate >= 0.95 - sys.float_info.epsilon
    return {
        "average_precision": sklearn.metrics.average_precision_score(positive, scores),
        "partial_auc": sklearn.metrics.roc_auc_score(positive, scores, max_fpr=1 - 0.9),
        "sensitivity_at_95_specificity": sensitivity[enough].max(),
    }


@pytest.mark.parametrize("num_images", [2, 3, 10, 97, 400])
@pytest.mark.parametrize("decimals", [None, 1, 0])
@pytest.mark.parametrize("seed", range(10))
def test_every_metric_equals_scikit_learn(num_images, decimals, seed):
    scores, positive = make_scores(num_images, seed, decimals=decimals)
    found = ranking_metrics(scores, positive)
    assert tuple(found) == RANKING_METRICS
    assert found == pytest.approx(by_scikit_learn(scores, positive), abs=1e-12)


@pytest.mark.parametrize("scores", [np.zeros(40), np.arange(40.0), -np.arange(40.0)], ids=["same", "right", "wrong"])
def test_degenerate_scores_equal_scikit_learn(scores):
    positive = np.arange(40) >= 20
    assert ranking_metrics(scores, positive) == pytest.approx(by_scikit_learn(scores, positive), abs=1e-12)


def test_a_perfect_a_constant_and_an_inverted_score_have_known_values():
    positive = np.arange(40) >= 20
    names = ("partial_auc", "sensitivity_at_95_specificity")
    perfect, constant, inverted = (
        ranking_metrics(scores, positive) for scores in (np.arange(40.0), np.ones(40), -np.arange(40.0))
    )
    assert [perfect[name] for name in names] == pytest.approx([1, 1])
    assert [constant[name] for name in names] == pytest.approx([0.5, 0])
    assert [inverted[name] for name in names] == pytest.approx([(1 - 0.005 / 0.095) / 2, 0])


@pytest.mark.parametrize("positive", [np.zeros(5, bool), np.ones(5, bool), np.zeros(0, bool)])
def test_one_class_alone_has_no_ranking(positive):
    scores = np.arange(float(len(positive)))
    assert area_with_influence(scores, positive) is None
    assert ranking_metrics(scores, positive) == dict.fromkeys(RANKING_METRICS)


@pytest.mark.parametrize("decimals", [None, 0])
def test_a_resample_is_what_repeating_the_images_gives(decimals):
    scores, positive = make_scores(60, 3, decimals=decimals)
    weights = np.random.default_rng(0).multinomial(60, np.full(60, 1 / 60), size=25).T.astype(float)
    found = resampled_ranking(scores, positive, weights)
    for column, times in enumerate(weights.T.astype(int)):
        expected = ranking_metrics(np.repeat(scores, times), np.repeat(positive, times))
        assert {name: values[column] for name, values in found.items()} == pytest.approx(expected, abs=1e-12)


def test_a_resample_of_one_class_is_not_defined():
    weights = np.array([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
    found = resampled_ranking(np.array([0.2, 0.5, 0.7]), np.array([True, True, False]), weights)
    for values in found.values():
        assert np.isnan(values).tolist() == [True, False]


def delong_by_definition(scores, positive):
    """Variance from all pairs, as DeLong et al. write it."""
    pairs = scores[positive][:, None] - scores[~positive]
    psi = (pairs > 0) + 0.5 * (pairs == 0)
    by_positive, by_negative = psi.mean(axis=1), psi.mean(axis=0)
    return psi.mean(), by_positive.var(ddof=1) / len(by_positive) + by_negative.var(ddof=1) / len(by_negative)


@pytest.mark.parametrize("decimals", [None, 0])
@pytest.mark.parametrize("seed", range(5))
def test_squared_influences_are_delongs_variance(decimals, seed):
    scores, positive = make_scores(120, seed, decimals=decimals)
    area, influence = area_with_influence(scores, positive)
    expected_area, expected_variance = delong_by_definition(scores, positive)
    assert area == pytest.approx(expected_area, abs=1e-12)
    variance = sum(kind.sum() * influence[kind].var(ddof=1) for kind in (positive, ~positive))
    assert variance == pytest.approx(expected_variance, abs=1e-15)


def test_an_area_equals_scikit_learn_and_its_influences_sum_to_nothing():
    scores, positive = make_scores(300, 8, decimals=1)
    area, influence = area_with_influence(scores, positive)
    assert area == pytest.approx(sklearn.metrics.roc_auc_score(positive, scores), abs=1e-12)
    assert influence.sum() == pytest.approx(0, abs=1e-12)
