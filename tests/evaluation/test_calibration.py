"""Calibration against brute force: loops over bins, the smoothing integral by direct sums, another minimiser."""

import itertools
import math

import numpy as np
import pytest
import scipy.optimize
import scipy.stats
import sklearn.metrics
from statsmodels.stats.proportion import proportion_confint

from fitwell.errors import DataError
from fitwell.evaluation.calibration import (
    NUM_BINS,
    NUM_CELLS,
    calibration_errors,
    fit_temperature,
    judge_calibration,
    perfect_errors,
    reliability,
    smooth_ece,
)
from fitwell.evaluation.metrics import softmax


def make_logits(num_images, num_classes, seed, *, gain=2.0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, num_classes, num_images)
    logits = rng.normal(size=(num_images, num_classes))
    logits[np.arange(num_images), labels] += 1
    return (gain * logits).astype(np.float32), labels


def make_answers(num_images, seed):
    """A confidence that is too sure, some of them the same, and whether each answer is right."""
    rng = np.random.default_rng(seed)
    confidence = np.round(rng.uniform(0.5, 1, num_images), 2)
    return confidence, rng.random(num_images) < 0.4 + 0.5 * confidence


@pytest.mark.parametrize("num_classes", [2, 5])
@pytest.mark.parametrize("gain", [0.3, 3.0])
def test_a_temperature_has_the_smallest_log_loss_and_changes_no_answer(num_classes, gain):
    logits, labels = make_logits(300, num_classes, 1, gain=gain)

    def loss(temperature):
        return sklearn.metrics.log_loss(labels, softmax(logits.astype(np.float64) / temperature))

    expected = scipy.optimize.minimize_scalar(loss, bounds=(0.06, 15), options={"xatol": 1e-9}).x
    found = fit_temperature(logits, labels)
    assert found == pytest.approx(expected, rel=1e-5)
    np.testing.assert_array_equal(softmax(logits / found).argmax(axis=1), logits.argmax(axis=1))


def test_logits_that_were_scaled_get_their_scale_back():
    logits, labels = make_logits(500, 3, 2)
    assert fit_temperature(4 * logits, labels) == pytest.approx(4 * fit_temperature(logits, labels), rel=1e-5)


def test_images_that_are_all_right_end_at_the_coldest_temperature():
    labels = np.arange(20) % 2
    assert fit_temperature(np.eye(2)[labels], labels) == pytest.approx(1 / 20, rel=1e-5)


@pytest.mark.parametrize("labels", [np.ones(6, int), np.zeros(0, int)])
def test_one_class_alone_has_no_temperature(labels):
    with pytest.raises(DataError) as error:
        fit_temperature(np.zeros((len(labels), 2)), labels)
    assert error.value.found.startswith(f"{len(np.unique(labels))} class(es) in the {len(labels)} images")
    assert error.value.expected.startswith("images of at least two classes")
    assert error.value.fix == "give val images of every class."


def ece_by_loop(confidence, correct, edges):
    """Return the binned error with bins [low, high), the last one closed."""
    total = 0.0
    for low, high in itertools.pairwise(edges):
        inside = (confidence >= low) & ((confidence < high) | (high == edges[-1]))
        if inside.any():
            total += inside.mean() * abs(correct[inside].mean() - confidence[inside].mean())
    return total


@pytest.mark.parametrize("num_images", [1, 7, 200, 3000])
def test_binned_errors_equal_a_loop_over_the_bins(num_images):
    confidence, correct = make_answers(num_images, num_images)
    found = calibration_errors(confidence, correct)
    equal_width = np.arange(NUM_BINS + 1) / NUM_BINS
    assert found.ece[0] == pytest.approx(ece_by_loop(confidence, correct, equal_width), abs=1e-12)
    starts = np.sort(confidence)[num_images * np.arange(NUM_BINS) // NUM_BINS]  # images of one confidence stay together
    equal_mass = np.unique([*starts, 2.0])
    assert found.ece_equal_mass[0] == pytest.approx(ece_by_loop(confidence, correct, equal_mass), abs=1e-12)


def test_answers_in_another_order_have_the_same_errors():
    confidence, correct = make_answers(400, 5)
    order = np.random.default_rng(0).permutation(400)
    first, second = calibration_errors(confidence, correct), calibration_errors(confidence[order], correct[order])
    for name, value in vars(first).items():
        assert getattr(second, name) == pytest.approx(value, abs=1e-12)


def smoothed_by_sums(confidence, correct, sigma):
    """Integral over t of |mean of K(t, f) (f - y)|, the Gaussian reflected at 0 and 1, on a fine grid of t."""
    places = (np.arange(800) + 0.5) / 800
    kernel = sum(
        scipy.stats.norm.pdf(places[:, None], sign * confidence + 2 * turn, sigma)
        for turn in (-1, 0, 1)
        for sign in (1, -1)
    )
    return np.abs(kernel @ (confidence - correct) / len(confidence)).mean()


@pytest.mark.parametrize("num_images", [50, 200])
def test_the_smooth_error_is_the_width_that_smooths_to_itself(num_images):
    confidence, correct = make_answers(num_images, 3)
    expected = scipy.optimize.brentq(lambda sigma: smoothed_by_sums(confidence, correct, sigma) - sigma, 1e-3, 1)
    assert calibration_errors(confidence, correct).smooth_ece[0] == pytest.approx(expected, abs=5e-4)


def test_one_confidence_that_is_always_too_high_has_its_gap_as_smooth_error():
    residuals = np.zeros((1, NUM_CELLS))
    residuals[0, NUM_CELLS // 2] = 0.25  # of one sign: smoothing cancels nothing
    assert smooth_ece(residuals)[0] == pytest.approx(0.25, abs=1e-3)


@pytest.mark.parametrize(
    ("num_images", "ece", "ece_equal_mass", "smooth"),
    [(100, 0.088, 0.124, 0.054), (300, 0.053, 0.073, 0.039), (1000, 0.026, 0.037, 0.024), (10000, 0.009, 0.012, 0.011)],
)
def test_a_perfect_model_shows_the_known_errors_on_few_images(num_images, ece, ece_equal_mass, smooth):
    """Against another simulation with confidences even in [0.5, 1], whose figures are rounded and of few sets."""
    confidence = np.random.default_rng(num_images).uniform(0.5, 1, num_images)
    found = perfect_errors(confidence, num_sets=300)
    for values, expected in ((found.ece, ece), (found.ece_equal_mass, ece_equal_mass), (found.smooth_ece, smooth)):
        assert values.mean() == pytest.approx(expected, abs=values.std() / 2 + 5e-4)


def test_perfect_outcomes_are_a_function_of_the_seed():
    confidence = np.linspace(0.5, 1, 60)
    first, again, other = (perfect_errors(confidence, num_sets=20, seed=seed).ece for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_a_model_with_a_fitted_temperature_lies_within_what_a_perfect_one_shows():
    rng = np.random.default_rng(4)
    logits = rng.normal(size=(2000, 3)) * 2
    labels = np.array([rng.choice(3, p=row) for row in softmax(logits)])  # what the logits say is what happens
    too_sure = 3 * logits
    plain, tempered = judge_calibration(too_sure, labels), judge_calibration(too_sure, labels, 3.0)
    for name in ("ece", "ece_equal_mass", "smooth_ece"):
        assert plain[name]["value"] > plain[name]["perfect"]["interval"][1]
        low, high = tempered[name]["perfect"]["interval"]
        assert low < tempered[name]["value"] < high
    assert tempered["log_loss"] < plain["log_loss"]
    assert tempered["log_loss"] == pytest.approx(sklearn.metrics.log_loss(labels, softmax(logits)), abs=1e-9)


def test_bins_of_the_diagram_count_every_image_once_with_wilson_intervals():
    confidence, correct = np.array([0.5, 0.55, 0.99, 1.0, 1.0]), np.array([True, False, True, True, False])
    first, second, last = reliability(confidence, correct)
    assert (first["low"], first["count"], first["accuracy"]) == (pytest.approx(7 / 15), 1, 1.0)
    assert (second["low"], second["count"], second["confidence"]) == (pytest.approx(8 / 15), 1, 0.55)
    assert (last["high"], last["count"]) == (1.0, 3)
    assert last["interval"] == pytest.approx(proportion_confint(2, 3, method="wilson"), abs=1e-12)


def test_probabilities_that_are_certain_lie_in_the_last_bin():
    labels = np.array([0, 1, 1])
    found = judge_calibration(1e4 * np.eye(2)[labels], labels)
    assert [row["count"] for row in found["reliability"]] == [3]
    assert found["ece"]["value"] == 0
    assert found["smooth_ece"]["value"] < 1e-3
    assert math.isclose(found["log_loss"], 0, abs_tol=1e-12)
