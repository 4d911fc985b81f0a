import numpy as np
import pytest
from scipy.stats import binom
from sklearn.metrics import roc_auc_score
from statsmodels.stats.proportion import proportion_confint

from fitwell.evaluation.intervals import wilson_interval
from fitwell.evaluation.selective import (
    Answers,
    answers,
    areas,
    judge_abstention,
    risk_bound,
    risk_coverage_curve,
    threshold_for_risk,
)


def given(confidence, wrong, groups=None):
    wrong = np.array(wrong, dtype=bool)
    return Answers(np.array(confidence, dtype=float), wrong, np.arange(len(wrong)) % 2, groups)


def random_answers(num_images, seed, places=8):
    """The surer, the more often right; rounded, so that some are equally sure."""
    rng = np.random.default_rng(seed)
    confidence = np.round(rng.uniform(0.5, 1, num_images), places)
    return given(confidence, rng.random(num_images) > confidence)


def plain(case):
    """Each area of the images as they are."""
    return {name: values[0] for name, values in areas(case, np.ones((len(case.wrong), 1))).items()}


def naive(case):
    """A loop over the images, the surest first; no two may be equally sure."""
    wrong = case.wrong[np.argsort(-case.confidence)]
    errors = [int(wrong[:count].sum()) for count in range(1, len(wrong) + 1)]
    count_90 = next(count for count in range(1, len(wrong) + 1) if count / len(wrong) >= 0.9)
    return {
        "aurc": np.mean([error / count for count, error in enumerate(errors, start=1)]),
        "augrc": np.mean([error / len(wrong) for error in errors]),
        "error_at_90": errors[count_90 - 1] / count_90,
    }


def test_areas_of_four_images_worked_by_hand():
    case = given([0.9, 0.8, 0.7, 0.6], [0, 1, 0, 1])
    found = plain(case)
    assert found["aurc"] == pytest.approx((0 / 1 + 1 / 2 + 1 / 3 + 2 / 4) / 4)
    assert found["augrc"] == pytest.approx((0 + 1 + 1 + 2) / 16)
    assert found["error_at_90"] == pytest.approx(2 / 4)  # 90 % of four images are all four
    np.testing.assert_allclose(risk_coverage_curve(case), [[0.25, 0], [0.5, 0.5], [0.75, 1 / 3], [1, 0.5]])


@pytest.mark.parametrize("seed", range(3))
def test_areas_equal_a_loop_over_the_images(seed):
    case = random_answers(83, seed)
    assert plain(case) == pytest.approx(naive(case), abs=1e-12)


def test_areas_of_a_resample_equal_those_of_the_images_repeated():
    case = random_answers(50, 4, places=1)
    times = np.random.default_rng(0).integers(0, 4, (50, 3)).astype(float)
    found = areas(case, times)
    for column in range(3):
        picked = np.repeat(np.arange(50), times[:, column].astype(int))
        repeated = plain(Answers(case.confidence[picked], case.wrong[picked], case.labels[picked], None))
        assert {name: values[column] for name, values in found.items()} == pytest.approx(repeated, abs=1e-12)


@pytest.mark.parametrize("places", [1, 8])
def test_augrc_is_traubs_function_of_accuracy_and_failure_auc(places):
    case = random_answers(200, 9, places)
    error = case.wrong.mean()
    ranks_failures = roc_auc_score(~case.wrong, case.confidence)
    expected = (1 - ranks_failures) * (1 - error) * error + error**2 / 2
    assert plain(case)["augrc"] == pytest.approx(expected + error / (2 * 200), abs=1e-12)  # a sum, not an integral


def test_equally_sure_images_have_the_mean_over_their_orders():
    orders = [[1, 0, 0], [0, 1, 0], [0, 0, 1]]
    means = {name: np.mean([naive(given([0.9, 0.8, 0.7], order))[name] for order in orders]) for name in naive_names()}
    assert plain(given([0.8, 0.8, 0.8], [1, 0, 0])) == pytest.approx(means)


def naive_names():
    return naive(given([0.9], [0])).keys()


@pytest.mark.parametrize(("errors", "total"), [(0, 20), (3, 40), (40, 40), (39, 40)])
def test_the_bound_of_a_risk_is_clopper_and_pearsons(errors, total):
    _, high = proportion_confint(errors, total, alpha=0.1, method="beta")  # two-sided 90 % has the one-sided 95 % end
    assert risk_bound(errors, total, 0.05) == pytest.approx(high)


def test_the_threshold_keeps_as_many_as_the_bound_allows():
    case = given(np.linspace(0.5, 0.99, 200), np.arange(200) < 60)  # the 60 least sure are wrong
    found = threshold_for_risk(case, 0.1)
    delta = 0.05 / 8  # ceil(log2(201)) thresholds are tried
    bounds = [risk_bound(max(0, kept - 140), kept, delta) for kept in range(1, 201)]
    most = max(kept for kept, bound in enumerate(bounds, start=1) if bound <= 0.1)
    assert found["num_kept"] == most
    assert found["bound"] == pytest.approx(bounds[most - 1])
    assert found["threshold"] == case.confidence[200 - most]


def test_a_risk_that_no_threshold_can_promise_has_none():
    found = threshold_for_risk(given(np.linspace(0.5, 0.9, 20), np.zeros(20)), 0.01)
    assert found == {"threshold": None, "num_kept": 0, "bound": None}


def test_the_promised_risk_is_exceeded_no_more_often_than_delta():
    exceeded = 0
    for seed in range(200):
        case = random_answers(300, seed)
        threshold = threshold_for_risk(case, 0.2)["threshold"]
        true_risk = 0 if threshold is None else (1 - (threshold + 1) / 2)  # the mean of 1 - confidence above it
        exceeded += true_risk > 0.2
    assert exceeded <= binom.ppf(0.999, 200, 0.05)


def test_thresholds_from_val_are_realised_on_other_images():
    val, test = random_answers(2000, 1), random_answers(300, 2)
    found = judge_abstention(test, val)
    row = found["thresholds"][2]
    chosen = threshold_for_risk(val, 0.1)
    assert (row["wanted_risk"], row["threshold"], row["val_bound"]) == (0.1, chosen["threshold"], chosen["bound"])
    assert row["val_coverage"] == chosen["num_kept"] / 2000
    kept = test.confidence >= chosen["threshold"]
    assert row["coverage"] == kept.mean()
    assert row["risk"]["value"] == test.wrong[kept].mean()
    assert row["risk"]["interval"] == pytest.approx(wilson_interval(int(test.wrong[kept].sum()), int(kept.sum())))
    unreachable = found["thresholds"][0]
    assert (unreachable["threshold"], unreachable["coverage"], unreachable["risk"]["value"]) == (None, 0.0, None)


def test_areas_carry_an_interval_around_their_value():
    found = judge_abstention(random_answers(200, 3), None)
    assert found["thresholds"] is None
    for name, value in plain(random_answers(200, 3)).items():
        low, high = found[name]["interval"]
        assert found[name]["value"] == pytest.approx(value)
        assert low < value < high
        assert found[name]["method"] == "bootstrap, 2000 resamples of 200 images"


def test_groups_are_what_is_resampled():
    case = random_answers(60, 3)
    groups = np.array([f"g{index // 10}" for index in range(60)])
    found = judge_abstention(Answers(case.confidence, case.wrong, case.labels, groups), None)
    assert found["augrc"]["method"] == "bootstrap, 2000 resamples of 6 groups"


def test_answers_are_the_most_probable_classes():
    found = answers(np.array([[0.7, 0.3], [0.4, 0.6]]), np.array([0, 0]), None)
    assert found.confidence.tolist() == [0.7, 0.6]
    assert found.wrong.tolist() == [False, True]


def test_without_a_mistake_every_area_is_zero_and_none_has_zero_width():
    found = judge_abstention(given(np.linspace(0.5, 0.9, 40), np.zeros(40)), None)
    for name in ("aurc", "augrc", "error_at_90"):
        assert found[name]["value"] == 0.0
        assert found[name]["interval"] == pytest.approx(proportion_confint(0, 20, method="beta"))
