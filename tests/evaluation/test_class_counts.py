"""Metrics of counts against scikit-learn; resamples are covered by the naive loop of test_intervals.py."""

import warnings

import numpy as np
import pytest
import sklearn.metrics

from fitwell.evaluation.class_counts import COUNTED, ClassCounts, divide


def count(labels, predicted, num_classes):
    matrix = np.zeros((1, num_classes, num_classes))
    np.add.at(matrix[0], (labels, predicted), 1)
    return ClassCounts(matrix.sum(axis=2), matrix.sum(axis=1), matrix.diagonal(axis1=1, axis2=2))


def by_scikit_learn(labels, predicted):
    macro, weighted = {"average": "macro", "zero_division": 0}, {"average": "weighted", "zero_division": 0}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of classes that are predicted and do not occur
        return {
            "accuracy": sklearn.metrics.accuracy_score(labels, predicted),
            "balanced_accuracy": sklearn.metrics.balanced_accuracy_score(labels, predicted),
            "macro_f1": sklearn.metrics.f1_score(labels, predicted, **macro),
            "weighted_f1": sklearn.metrics.f1_score(labels, predicted, **weighted),
            "macro_precision": sklearn.metrics.precision_score(labels, predicted, **macro),
            "weighted_precision": sklearn.metrics.precision_score(labels, predicted, **weighted),
            "matthews_correlation": sklearn.metrics.matthews_corrcoef(labels, predicted),
            "cohen_kappa": sklearn.metrics.cohen_kappa_score(labels, predicted),
        }


@pytest.mark.parametrize("num_classes", [2, 3, 10])
@pytest.mark.parametrize("num_images", [5, 40, 500])
@pytest.mark.parametrize("seed", range(4))
def test_every_metric_equals_scikit_learn(num_classes, num_images, seed):
    rng = np.random.default_rng(seed)  # few images of many classes: some do not occur, some are never predicted
    labels, guess = rng.integers(0, num_classes, (2, num_images))
    predicted = np.where(rng.random(num_images) < 0.6, labels, guess)
    counts = count(labels, predicted, num_classes)
    found = {name: metric(counts)[0] for name, metric in COUNTED.items()}
    assert found == pytest.approx(by_scikit_learn(labels, predicted), abs=1e-12)


@pytest.mark.parametrize(
    ("labels", "predicted"),
    [([0, 0, 1, 2], [1, 1, 1, 1]), ([1, 1, 1, 1], [0, 1, 2, 1]), ([1, 1], [0, 0])],
    ids=["one answer", "one class", "one class taken for another"],
)
def test_degenerate_answers_equal_scikit_learn(labels, predicted):
    found = {name: metric(count(labels, predicted, 3))[0] for name, metric in COUNTED.items()}
    assert found == pytest.approx(by_scikit_learn(labels, predicted), abs=1e-12)


def test_weighted_recall_is_the_accuracy_and_macro_recall_the_balanced_accuracy():
    labels, predicted = np.array([0, 0, 0, 1, 2, 2]), np.array([0, 0, 1, 1, 0, 2])
    counts = count(labels, predicted, 3)
    for name, average in (("accuracy", "weighted"), ("balanced_accuracy", "macro")):
        expected = sklearn.metrics.recall_score(labels, predicted, average=average)
        assert COUNTED[name](counts)[0] == pytest.approx(expected, abs=1e-12)


def test_agreement_on_one_class_alone_is_not_defined():
    counts = count([2, 2, 2], [2, 2, 2], 3)
    assert np.isnan(COUNTED["matthews_correlation"](counts)[0])
    assert np.isnan(COUNTED["cohen_kappa"](counts)[0])
    assert COUNTED["macro_precision"](counts)[0] == 1


def test_no_images_leave_everything_undefined():
    nothing = ClassCounts(*(np.zeros((1, 2)) for _ in range(3)))
    assert all(np.isnan(metric(nothing)[0]) for metric in COUNTED.values())


def test_nothing_divided_is_not_a_number():
    np.testing.assert_array_equal(divide(np.array([1.0, 0.0]), np.array([2.0, 0.0])), [0.5, np.nan])
