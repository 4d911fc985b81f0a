import numpy as np
import pytest
import scipy.special
import sklearn.metrics
from hypothesis import given, settings
from hypothesis import strategies as st

from fitwell.evaluation.metrics import higher_is_better
from fitwell.evaluation.multi_label import (
    NAMING_METRICS,
    RANKING_METRICS,
    average_precisions,
    choose_thresholds,
    naming_metrics,
    per_class,
    ranking_metrics,
    sigmoid,
)


def make_case(num_images, num_classes, seed, *, decimals=None):
    """Random targets of which every class has both kinds, and probabilities that know something of them."""
    rng = np.random.default_rng(seed)
    targets = rng.random((num_images, num_classes)) < np.linspace(0.1, 0.7, num_classes)
    targets[0], targets[1] = True, False
    logits = rng.normal(size=targets.shape) * 2 + targets
    return sigmoid(logits if decimals is None else np.round(logits, decimals)), targets


def scikit(probs, targets, named):
    losses = [
        sklearn.metrics.log_loss(truth, scores, labels=[False, True])
        for truth, scores in zip(targets.T, probs.T, strict=True)
    ]
    return {
        "auc": sklearn.metrics.roc_auc_score(targets, probs, average="macro"),
        "average_precision": sklearn.metrics.average_precision_score(targets, probs, average="macro"),
        "log_loss": np.mean(losses),
        "macro_f1": sklearn.metrics.f1_score(targets, named, average="macro", zero_division=np.nan),
        "micro_f1": sklearn.metrics.f1_score(targets, named, average="micro", zero_division=np.nan),
        "exact_match": sklearn.metrics.accuracy_score(targets, named),
        "hamming_loss": sklearn.metrics.hamming_loss(targets, named),
    }


@settings(max_examples=80, deadline=None)
@given(st.integers(2, 6), st.integers(2, 60), st.integers(0, 10_000), st.sampled_from([None, 1, 0]))
def test_every_metric_equals_scikit_learn(num_classes, num_images, seed, decimals):
    probs, targets = make_case(num_images, num_classes, seed, decimals=decimals)
    named = probs >= 0.4
    expected = scikit(probs, targets, named)
    found = ranking_metrics(probs, targets) | naming_metrics(named, targets)
    assert list(found) == [*RANKING_METRICS, *NAMING_METRICS]
    for name, value in found.items():
        assert value == pytest.approx(expected[name], abs=1e-9)


@pytest.mark.parametrize("decimals", [None, 0])
@pytest.mark.parametrize("seed", range(5))
def test_every_number_of_a_class_equals_scikit_learn(seed, decimals):
    probs, targets = make_case(80, 4, seed, decimals=decimals)
    thresholds = np.array([0.3, 0.5, 0.7, 1.1])  # at the last one no image is given the class
    rows = per_class(probs, targets, thresholds, ("a", "b", "c", "d"))
    named = probs >= thresholds
    precision, recall, f1, support = sklearn.metrics.precision_recall_fscore_support(targets, named, zero_division=0)
    assert [row["support"] for row in rows] == support.tolist()
    assert [row["predicted"] for row in rows] == named.sum(axis=0).tolist()
    assert [row["recall"] for row in rows] == pytest.approx(recall.tolist())
    assert [row["f1"] for row in rows] == pytest.approx(f1.tolist())
    assert [row["precision"] for row in rows[:3]] == pytest.approx(precision[:3].tolist())
    assert rows[3]["precision"] is None
    assert [row["auc"] for row in rows] == pytest.approx(
        sklearn.metrics.roc_auc_score(targets, probs, average=None).tolist(), abs=1e-12
    )
    assert [row["average_precision"] for row in rows] == pytest.approx(
        sklearn.metrics.average_precision_score(targets, probs, average=None).tolist(), abs=1e-12
    )


def test_a_class_that_no_image_shows_is_not_defined_and_neither_are_the_means():
    probs, targets = make_case(30, 3, seed=1)
    targets[:, 1] = False
    found = ranking_metrics(probs, targets)
    assert found["auc"] is None
    assert found["average_precision"] is None
    assert average_precisions(probs, targets)[1] is None
    row = per_class(probs, targets, np.full(3, 2.0), ("a", "b", "c"))[1]
    assert [row[name] for name in ("precision", "recall", "f1", "auc")] == [None] * 4
    assert naming_metrics(probs >= 2, targets)["macro_f1"] == 0.0  # of the other two, of which none was found


def test_a_class_that_every_image_shows_has_no_auc_and_a_perfect_average_precision():
    probs, targets = make_case(30, 2, seed=1)
    targets[:, 0] = True
    rows = per_class(probs, targets, np.full(2, 0.5), ("a", "b"))
    assert rows[0]["auc"] is None
    assert rows[0]["average_precision"] == 1.0
    assert ranking_metrics(probs, targets)["auc"] is None


def test_without_anything_shown_or_named_there_is_no_f1():
    nothing = np.zeros((4, 3), dtype=bool)
    assert naming_metrics(nothing, nothing) == {
        "macro_f1": None,
        "micro_f1": None,
        "exact_match": 1.0,
        "hamming_loss": 0.0,
    }


def test_without_images_nothing_is_defined():
    empty = np.zeros((0, 3), dtype=bool)
    found = ranking_metrics(np.zeros((0, 3)), empty) | naming_metrics(empty, empty)
    assert set(found.values()) == {None}


def test_a_probability_that_is_no_number_leaves_no_metric():
    probs, targets = make_case(10, 2, seed=0)
    probs[3, 1] = np.nan
    assert ranking_metrics(probs, targets) == {"auc": None, "average_precision": None, "log_loss": None}


def test_sigmoid_equals_scipy_even_far_out():
    logits = np.array([[-800.0, -40.0, -1.5], [0.0, 2.5, 800.0]])
    np.testing.assert_allclose(sigmoid(logits), scipy.special.expit(logits), rtol=1e-15)


def test_less_of_the_hamming_loss_is_better():
    assert not higher_is_better("hamming_loss")
    assert higher_is_better("exact_match")


@pytest.mark.parametrize("decimals", [None, 0])
@pytest.mark.parametrize("seed", range(8))
def test_a_threshold_has_the_largest_f1_of_all(seed, decimals):
    probs, targets = make_case(60, 3, seed, decimals=decimals)
    for index, threshold in enumerate(choose_thresholds(probs, targets)):
        precision, recall, candidates = sklearn.metrics.precision_recall_curve(targets[:, index], probs[:, index])
        f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
        best = f1[:-1].max()  # the last point has no threshold
        assert threshold == candidates[np.flatnonzero(f1[:-1] >= best - 1e-12)[-1]]


def test_of_equal_thresholds_the_higher_is_chosen():
    # From 0.9 on: 1 of 1 right, 1 of 2 found. From 0.2 on: 2 of 4 right, all found. Both have an F1 of 2/3.
    probs = np.array([[0.9], [0.6], [0.4], [0.2]])
    targets = np.array([[True], [False], [False], [True]])
    assert choose_thresholds(probs, targets).tolist() == [0.9]


def test_a_class_without_positives_gets_one_half():
    probs, targets = make_case(20, 2, seed=3)
    targets[:, 1] = False
    assert choose_thresholds(probs, targets)[1] == 0.5
