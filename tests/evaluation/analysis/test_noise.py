import math

import numpy as np
import pytest
from statsmodels.stats.proportion import proportion_confint

from fitwell.evaluation.analysis.noise import area_error, clearly_differ, share_error, standard_error


@pytest.mark.parametrize(("hits", "count"), [(0, 10), (7, 10), (90, 100), (100, 100)])
def test_the_error_of_a_share_is_that_of_agresti_and_coull(hits, count):
    z = math.sqrt(4)  # so that z^2 / 2 = 2 successes and z^2 = 4 trials are added
    low, high = proportion_confint(hits, count, alpha=2 * (1 - 0.9772498680518208), method="agresti_coull")
    middle, error = (hits + 2) / (count + 4), share_error(hits / count, count)
    reach = z * error
    assert (max(0, middle - reach), min(1, middle + reach)) == pytest.approx((low, high), abs=1e-9)


def test_a_share_without_images_has_no_error():
    assert share_error(0.0, 0) is None


def test_the_error_of_an_area_is_the_spread_of_simulated_areas():
    rng = np.random.default_rng(0)
    # Exponential scores with a ratio of scales: P(positive > negative) = 4 / (1 + 4) = 0.8, as eq. 1 assumes.
    positive, negative = rng.exponential(4, (4000, 30, 1)), rng.exponential(1, (4000, 1, 60))
    areas = (positive > negative).mean(axis=(1, 2))
    assert areas.mean() == pytest.approx(0.8, abs=0.002)
    assert area_error(0.8, 30, 60) == pytest.approx(areas.std(), rel=0.03)


def test_an_area_of_one_image_each_is_a_coin():
    assert area_error(0.8, 1, 1) == pytest.approx(math.sqrt(0.8 * 0.2))


@pytest.mark.parametrize("case", [(1, 5, 5), (0, 5, 5), (0.8, 0, 5), (0.8, 5, 0)])
def test_an_area_at_its_end_or_without_a_class_has_no_error(case):
    assert area_error(*case) is None


def epoch(**val):
    return {"val": val, "val_per_class": {"cat": 0.5, "dog": 0.9}}


def test_the_error_of_an_epoch_follows_from_its_metric_and_its_images():
    counts = {"cat": 20, "dog": 80}
    assert standard_error("accuracy", epoch(accuracy=0.82), counts) == share_error(0.82, 100)
    assert standard_error("auc", epoch(auc=0.8), counts) == area_error(0.8, 80, 20)
    mean_of_two = math.hypot(share_error(0.5, 20), share_error(0.9, 80)) / 2
    assert standard_error("balanced_accuracy", epoch(balanced_accuracy=0.7), counts) == pytest.approx(mean_of_two)


@pytest.mark.parametrize(
    ("metric", "record", "counts"),
    [
        ("macro_f1", epoch(macro_f1=0.7), {"cat": 20, "dog": 80}),
        ("log_loss", epoch(log_loss=0.7), {"cat": 20, "dog": 80}),
        ("auc", epoch(auc=0.8), {"cat": 20, "dog": 80, "owl": 10}),
        ("auc", epoch(auc=None), {"cat": 20, "dog": 80}),
        ("auc", {"val": {"auc": 0.8}, "val_average_precision": {"cat": 0.5}}, {"cat": 20, "dog": 80}),
        ("balanced_accuracy", epoch(balanced_accuracy=0.7) | {"val_per_class": {"cat": None}}, {"cat": 0}),
    ],
)
def test_what_does_not_follow_from_the_records_is_none(metric, record, counts):
    assert standard_error(metric, record, counts) is None


def test_numbers_differ_from_1_96_errors_of_their_difference_on():
    assert not clearly_differ(0.5, 0.5 + 1.95 * 0.05, 0.03, 0.04)  # hypot(0.03, 0.04) = 0.05
    assert clearly_differ(0.5, 0.5 + 1.97 * 0.05, 0.03, 0.04)
    assert clearly_differ(0.5 + 1.97 * 0.05, 0.5, 0.03, 0.04)
    assert not clearly_differ(0.1, 0.9, None, 0.04)
    assert not clearly_differ(0.1, 0.9, 0.04, None)


def test_the_best_of_five_epochs_must_lie_2_58_errors_away():
    assert not clearly_differ(0.5, 0.5 + 2.57 * 0.05, 0.03, 0.04, looks=5)
    assert clearly_differ(0.5, 0.5 + 2.58 * 0.05, 0.03, 0.04, looks=5)
