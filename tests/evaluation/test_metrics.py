import numpy as np
import pytest
import sklearn.metrics
from hypothesis import given, settings
from hypothesis import strategies as st

from fitwell.evaluation.metrics import (
    FURTHER_METRICS,
    METRICS,
    ORDERED_METRICS,
    accuracy,
    all_metrics,
    auc,
    auc_per_class,
    balanced_accuracy,
    bounds_of,
    brier_losses,
    brier_score,
    confusion_matrix,
    further_metrics,
    higher_is_better,
    is_of_classes,
    log_loss,
    macro_f1,
    one_against_rest,
    per_class,
    recall_per_class,
    roc_curve,
    softmax,
)
from fitwell.evaluation.ranking import ranking_metrics


def make_case(num_images, num_classes, seed, *, decimals=None):
    rng = np.random.default_rng(seed)
    labels = np.concatenate([np.arange(num_classes), rng.integers(0, num_classes, num_images - num_classes)])
    logits = rng.normal(size=(num_images, num_classes)) * 2
    logits[np.arange(num_images), labels] += 1
    if decimals is not None:
        logits = np.round(logits, decimals)  # many equal scores
    return softmax(logits), labels


def scikit(probs, labels):
    classes = list(range(probs.shape[1]))
    predicted = probs.argmax(axis=1)
    return {
        "accuracy": sklearn.metrics.accuracy_score(labels, predicted),
        "balanced_accuracy": sklearn.metrics.recall_score(
            labels, predicted, average="macro", labels=np.unique(labels), zero_division=0
        ),
        "macro_f1": sklearn.metrics.f1_score(labels, predicted, average="macro", zero_division=0),
        "auc": sklearn.metrics.roc_auc_score(labels, probs[:, 1])
        if len(classes) == 2
        else sklearn.metrics.roc_auc_score(labels, probs, multi_class="ovr", labels=classes),
        "log_loss": sklearn.metrics.log_loss(labels, probs, labels=classes),
    }


@pytest.mark.parametrize("num_classes", [2, 3, 7])
@pytest.mark.parametrize("decimals", [None, 0])
@pytest.mark.parametrize("seed", range(5))
def test_every_metric_equals_scikit_learn(num_classes, decimals, seed):
    probs, labels = make_case(97, num_classes, seed, decimals=decimals)
    expected = scikit(probs, labels)
    found = all_metrics(probs, labels)
    assert list(found) == list(METRICS)
    for name in METRICS:
        assert found[name] == pytest.approx(expected[name], abs=1e-12)


@pytest.mark.parametrize("num_classes", [2, 3, 7])
@pytest.mark.parametrize("seed", range(5))
def test_metrics_of_ordered_classes_equal_scikit_learn(num_classes, seed):
    probs, labels = make_case(97, num_classes, seed)
    found, predicted = all_metrics(probs, labels, ordered=True), probs.argmax(axis=1)
    assert list(found) == [*METRICS, *ORDERED_METRICS]
    kappa = sklearn.metrics.cohen_kappa_score(labels, predicted, weights="quadratic")
    assert found["quadratic_kappa"] == pytest.approx(kappa, abs=1e-12)
    error = sklearn.metrics.mean_absolute_error(labels, predicted)
    assert found["mean_absolute_error"] == pytest.approx(error, abs=1e-12)


@pytest.mark.parametrize("num_classes", [2, 3, 7])
@pytest.mark.parametrize("seed", range(5))
def test_further_metrics_equal_scikit_learn(num_classes, seed):
    probs, labels = make_case(97, num_classes, seed)
    found, predicted = further_metrics(probs, labels), probs.argmax(axis=1)
    assert tuple(found) == FURTHER_METRICS
    shown = probs[:, 1] if num_classes == 2 else probs
    expected = {
        "macro_precision": sklearn.metrics.precision_score(labels, predicted, average="macro", zero_division=0),
        "weighted_precision": sklearn.metrics.precision_score(labels, predicted, average="weighted", zero_division=0),
        "weighted_f1": sklearn.metrics.f1_score(labels, predicted, average="weighted", zero_division=0),
        "matthews_correlation": sklearn.metrics.matthews_corrcoef(labels, predicted),
        "cohen_kappa": sklearn.metrics.cohen_kappa_score(labels, predicted),
        "brier_score": sklearn.metrics.brier_score_loss(labels, shown),
    }
    assert found == pytest.approx(expected, abs=1e-12)


def test_the_brier_score_of_certain_mistakes_is_one_of_two_classes_and_two_of_more():
    assert brier_score(np.eye(2)[[1, 0]], np.array([0, 1])) == 1
    assert brier_score(np.eye(3)[[1, 0]], np.array([0, 1])) == 2
    assert brier_losses(np.array([[0.6, 0.4]]), np.array([0])) == pytest.approx([0.16])
    assert brier_score(np.zeros((0, 2)), np.zeros(0, dtype=int)) is None


@pytest.mark.parametrize(
    ("labels", "predicted"),
    [([0, 0, 1, 2], [1, 1, 1, 1]), ([1, 1, 1, 1], [0, 1, 2, 1]), ([1, 1], [0, 0]), ([0, 1, 2], [2, 1, 0]), ([2], [0])],
    ids=["one answer", "one class", "one class taken for another", "turned round", "one image"],
)
def test_degenerate_answers_of_ordered_classes_equal_scikit_learn(labels, predicted):
    labels, certain = np.array(labels), np.eye(3)[predicted]
    found = {**all_metrics(certain, labels, ordered=True), **further_metrics(certain, labels)}
    expected = {
        "quadratic_kappa": sklearn.metrics.cohen_kappa_score(labels, predicted, weights="quadratic"),
        "mean_absolute_error": sklearn.metrics.mean_absolute_error(labels, predicted),
        "brier_score": sklearn.metrics.brier_score_loss(labels, certain, labels=[0, 1, 2]),
    }
    assert {name: found[name] for name in expected} == pytest.approx(expected, abs=1e-12)


def test_a_mistake_between_neighbours_costs_less_than_one_between_the_ends():
    near, far = np.eye(3)[[0, 1, 1, 2]], np.eye(3)[[0, 2, 2, 0]]
    labels = np.array([0, 1, 2, 2])  # near: one step wrong once; far: one step once, none once, two steps once
    assert all_metrics(near, labels, ordered=True)["mean_absolute_error"] == 0.25
    assert all_metrics(far, labels, ordered=True)["mean_absolute_error"] == 0.75
    # near: rows (1,0,0), (0,1,0), (0,1,1) disagree by 1; by chance, (1,1,2) x (1,2,1) / 4, by 20 / 4
    assert all_metrics(near, labels, ordered=True)["quadratic_kappa"] == pytest.approx(1 - 1 / 5)


def test_agreement_on_one_class_alone_is_not_defined():
    probs, labels = np.eye(3)[[1, 1]], np.array([1, 1])
    assert all_metrics(probs, labels, ordered=True)["quadratic_kappa"] is None
    assert higher_is_better("quadratic_kappa")
    assert not higher_is_better("mean_absolute_error")


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 5), st.integers(0, 40), st.integers(0, 10_000))
def test_every_metric_equals_scikit_learn_on_any_small_case(num_classes, extra, seed):
    probs, labels = make_case(num_classes + extra, num_classes, seed, decimals=1)
    expected = scikit(probs, labels)
    for name, value in all_metrics(probs, labels).items():
        assert value == pytest.approx(expected[name], abs=1e-12)


def test_a_class_missing_from_the_labels_leaves_the_auc_undefined_and_the_rest_as_scikit_learn():
    probs, labels = make_case(60, 4, seed=1)
    keep = labels != 2
    probs, labels = probs[keep], labels[keep]
    predicted = probs.argmax(axis=1)
    found = all_metrics(probs, labels)
    assert found["auc"] is None
    expected_f1 = sklearn.metrics.f1_score(labels, predicted, average="macro", zero_division=0)
    assert found["macro_f1"] == pytest.approx(expected_f1, abs=1e-12)
    recalls = sklearn.metrics.recall_score(labels, predicted, average=None, labels=[0, 1, 3])
    assert found["balanced_accuracy"] == pytest.approx(recalls.mean(), abs=1e-12)
    assert found["log_loss"] == pytest.approx(sklearn.metrics.log_loss(labels, probs, labels=range(4)), abs=1e-12)
    assert recall_per_class(probs, labels)[2] is None


def test_one_answer_for_all_images_gives_chance():
    labels = np.array([0, 0, 0, 1])
    probs = np.tile([0.9, 0.1], (4, 1))
    found = all_metrics(probs, labels)
    assert found["accuracy"] == 0.75
    assert found["balanced_accuracy"] == 0.5
    assert found["auc"] == 0.5
    assert found["macro_f1"] == pytest.approx((6 / 7 + 0) / 2, abs=1e-12)


def test_perfect_and_inverted_predictions_reach_the_ends():
    labels = np.array([0, 1, 0, 1])
    right = np.eye(2)[labels]
    assert all_metrics(right, labels) == pytest.approx(
        {"accuracy": 1, "balanced_accuracy": 1, "macro_f1": 1, "auc": 1, "log_loss": 0}, abs=1e-12
    )
    wrong = all_metrics(1 - right, labels)
    assert [wrong[name] for name in METRICS[:4]] == [0, 0, 0, 0]
    assert wrong["log_loss"] == pytest.approx(-np.log(np.finfo(float).eps))


def test_no_images_or_one_class_is_undefined_and_never_nan():
    nothing = np.zeros((0, 2)), np.zeros(0, dtype=int)
    assert all_metrics(*nothing) == dict.fromkeys(METRICS)
    assert auc(np.array([[0.2, 0.8]]), np.array([1])) is None
    assert accuracy(np.array([[0.2, 0.8]]), np.array([1])) == 1.0


def test_probabilities_that_are_not_finite_leave_every_metric_undefined():
    probs = np.array([[0.5, 0.5], [np.nan, np.nan]])
    assert all_metrics(probs, np.array([0, 1])) == dict.fromkeys(METRICS)


def test_float32_probabilities_are_judged_in_float64():
    probs, labels = make_case(50, 3, seed=4)
    half = probs.astype(np.float32)
    assert log_loss(half, labels) == pytest.approx(log_loss(half.astype(np.float64), labels), abs=1e-15)
    assert auc(half, labels) == auc(half.astype(np.float64), labels)


def test_softmax_survives_huge_logits_and_sums_to_one():
    probs = softmax(np.array([[1e4, 0.0, -1e4], [0.0, 0.0, 0.0]], dtype=np.float32))
    assert probs.dtype == np.float64
    np.testing.assert_allclose(probs, [[1, 0, 0], [1 / 3, 1 / 3, 1 / 3]], atol=1e-15)


def test_softmax_of_a_diverged_network_is_nan_without_a_warning():
    assert np.isnan(softmax(np.array([[np.inf, 0.0]]))).all()


def test_confusion_matrix_has_actual_rows_and_predicted_columns():
    probs = np.eye(3)[[1, 1, 2, 0]]
    labels = np.array([0, 1, 2, 2])
    np.testing.assert_array_equal(confusion_matrix(probs, labels), [[0, 1, 0], [0, 1, 0], [1, 0, 1]])


def test_per_class_equals_scikit_learn_and_counts():
    probs, labels = make_case(80, 3, seed=2)
    predicted = probs.argmax(axis=1)
    precision, recall, f1, support = sklearn.metrics.precision_recall_fscore_support(labels, predicted)
    for index, row in enumerate(per_class(probs, labels, ("a", "b", "c"))):
        assert row["class"] == "abc"[index]
        assert row["precision"] == pytest.approx(precision[index], abs=1e-12)
        assert row["recall"] == pytest.approx(recall[index], abs=1e-12)
        assert row["f1"] == pytest.approx(f1[index], abs=1e-12)
        assert row["support"] == support[index]
        assert row["predicted"] == (predicted == index).sum()
        assert row["correct"] == ((predicted == index) & (labels == index)).sum()
        expected = sklearn.metrics.roc_auc_score(labels == index, probs[:, index])
        assert row["auc"] == pytest.approx(expected, abs=1e-12)


def test_per_class_is_undefined_for_a_class_that_neither_occurs_nor_is_predicted():
    rows = per_class(np.eye(3)[[0, 1]], np.array([0, 1]), ("a", "b", "c"))
    assert rows[2] == {
        "class": "c",
        "support": 0,
        "predicted": 0,
        "correct": 0,
        "precision": None,
        "recall": None,
        "f1": None,
        "auc": None,
    }
    assert macro_f1(np.eye(3)[[0, 1]], np.array([0, 1])) == 1.0
    assert balanced_accuracy(np.eye(3)[[0, 1]], np.array([0, 1])) == 1.0


def test_two_classes_have_one_area_and_more_have_one_each():
    probs, labels = make_case(40, 2, seed=3)
    assert auc_per_class(probs, labels) == [one_against_rest(probs, labels)[1]]
    probs, labels = make_case(40, 4, seed=3)
    assert len(auc_per_class(probs, labels)) == 4


def test_roc_curve_equals_scikit_learn_with_ties():
    probs, labels = make_case(70, 2, seed=5, decimals=0)
    points = roc_curve(probs[:, 1], labels == 1)
    false_rate, true_rate, _ = sklearn.metrics.roc_curve(labels, probs[:, 1], drop_intermediate=False)
    np.testing.assert_allclose(points, np.column_stack([false_rate, true_rate]), atol=1e-12)


def test_losses_and_errors_are_better_when_lower():
    assert [higher_is_better(name) for name in METRICS] == [True, True, True, True, False]
    assert not higher_is_better("brier_score")


def test_correlations_go_below_nothing_and_some_errors_above_one():
    assert bounds_of("cohen_kappa", 2) == (-1, 1)
    assert bounds_of("mean_absolute_error", 5) == (0, 4)
    assert [bounds_of("brier_score", num_classes) for num_classes in (2, 3)] == [(0, 1), (0, 2)]
    assert bounds_of("accuracy", 7) == (0, 1)


def test_a_rare_class_counts_alike_in_means_over_classes_and_little_in_means_over_images():
    labels = np.array([0] * 98 + [1, 1])
    probs = np.tile([0.9, 0.1], (100, 1))
    one_more = probs.copy()
    one_more[98] = [0.1, 0.9]
    found = [
        {**all_metrics(each, labels), **further_metrics(each, labels), **ranking_metrics(each[:, 1], labels == 1)}
        for each in (probs, one_more)
    ]
    moved = {name for name in found[0] if found[0][name] is not None and abs(found[1][name] - found[0][name]) > 0.2}
    assert moved - {"cohen_kappa"} == {name for name in found[0] if is_of_classes(name)}
