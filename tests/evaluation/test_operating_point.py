"""Thresholds against a loop over all of them, and against hand-worked numbers."""

import numpy as np
import pytest
from sklearn.metrics import precision_score, recall_score
from statsmodels.stats.proportion import proportion_confint

from fitwell.evaluation.intervals import draw, find_units
from fitwell.evaluation.operating_point import choose_threshold, judge_threshold, precision_at
from fitwell.recipe.judge import parse_rule

SCORES = np.array([0.1, 0.2, 0.3, 0.4, 0.6, 0.7, 0.8, 0.9])
POSITIVE = np.array([False, False, True, False, False, True, True, True])


def choose(rule, scores=SCORES, positive=POSITIVE):
    return choose_threshold(scores, positive, parse_rule(rule))


def shares_at(threshold, scores=SCORES, positive=POSITIVE):
    called = scores >= threshold
    return {
        "sensitivity": called[positive].mean(),
        "specificity": 1 - called[~positive].mean(),
        "precision": positive[called].mean(),
    }


@pytest.mark.parametrize(
    ("rule", "threshold"),
    [
        ("youden", 0.7),  # 3 of 4 found, no false alarm
        ("specificity >= 0.75", 0.7),  # 0.6 calls one of four others and finds no more
        ("sensitivity >= 0.9", 0.3),
        ("precision >= 0.9", 0.7),
        ("precision >= 0.6", 0.3),  # 4 of 6 calls are right, and all are found
        ("costs(false_negative=5, false_positive=1)", 0.3),  # 2 against 5
        ("costs(false_negative=1, false_positive=1)", 0.7),  # 1 against 2
    ],
)
def test_a_rule_chooses_the_threshold_worked_by_hand(rule, threshold):
    assert choose(rule).threshold == threshold


@pytest.mark.parametrize("demand", ["specificity", "sensitivity", "precision"])
@pytest.mark.parametrize("seed", range(5))
def test_the_best_of_all_thresholds_that_obey_is_chosen(demand, seed):
    rng = np.random.default_rng(seed)
    positive = rng.random(80) < 0.4
    scores = np.round(rng.normal(size=80) + 1.5 * positive, 1)
    other = "specificity" if demand == "sensitivity" else "sensitivity"
    obeying = [shares for each in np.unique(scores) if (shares := shares_at(each, scores, positive))[demand] >= 0.8]
    found = shares_at(choose(f"{demand} >= 0.8", scores, positive).threshold, scores, positive)
    assert found[demand] >= 0.8
    assert found[other] == max(shares[other] for shares in obeying)


@pytest.mark.parametrize("rule", ["youden", "specificity >= 0.9", "sensitivity >= 0.1", "precision >= 0.1"])
def test_a_constant_score_has_no_threshold(rule):
    choice = choose(rule, np.full(8, 0.5))
    assert (choice.threshold, choice.reason) == (None, "no threshold is better than chance.")


def test_a_demand_that_nothing_meets_says_how_far_it_gets():
    choice = choose("precision >= 0.9", np.array([1.0, 2.0, 3.0, 4.0]), np.array([False, True, True, False]))
    assert choice.threshold is None
    assert choice.reason == "no threshold better than chance reaches precision 0.9; most is 0.667."


@pytest.mark.parametrize(("costs", "answer"), [((100, 1), "every image"), ((1, 100), "no image")])
def test_costs_that_make_a_classifier_needless_say_so(costs, answer):
    scores, positive = np.array([0.1, 0.2, 0.3, 0.4]), np.array([True, False, True, False])
    scores, positive = np.append(scores, [0.5, 0.6]), np.append(positive, [True, False])
    rule = "costs(false_negative={}, false_positive={})".format(*costs)
    scores[2], scores[3] = 0.4, 0.3  # a little better than chance
    assert choose(rule, scores, positive).reason == f"calling {answer} positive is as cheap as any threshold."


@pytest.mark.parametrize("positive", [np.ones(8, bool), np.zeros(8, bool)])
def test_one_class_alone_has_no_threshold(positive):
    assert (
        choose("youden", positive=positive).reason
        == "the images hold one class only, so no threshold divides anything."
    )


def test_what_a_threshold_comes_to_has_counts_and_wilson_intervals():
    found = judge_threshold(SCORES, POSITIVE, 0.6, find_units(POSITIVE, None))
    counts = [found[f"{truth}_{call}"] for truth in ("true", "false") for call in ("positive", "negative")]
    assert counts == [3, 3, 1, 1]
    expected = {"sensitivity": (3, 4), "specificity": (3, 4), "precision": (3, 4), "negative_predictive_value": (3, 4)}
    for name, (right, total) in expected.items():
        assert found[name]["value"] == right / total
        assert found[name]["interval"] == pytest.approx(proportion_confint(right, total, method="wilson"), abs=1e-12)
        assert found[name]["method"] == f"Wilson, {right} of {total} images"


@pytest.mark.parametrize("positives", ["some", "none", "all"])
@pytest.mark.parametrize("threshold", [-1.0, 0.0, 0.3, 0.5, 2.0])
def test_the_four_shares_equal_scikit_learn(threshold, positives):
    rng = np.random.default_rng(3)
    scores = rng.random(50).round(1)
    positive = {"some": rng.random(50) < scores, "none": np.zeros(50, bool), "all": np.ones(50, bool)}[positives]
    found = judge_threshold(scores, positive, threshold, find_units(positive, None))
    called = scores >= threshold
    expected = {
        "sensitivity": recall_score(positive, called, zero_division=np.nan),
        "specificity": recall_score(~positive, ~called, zero_division=np.nan),
        "precision": precision_score(positive, called, zero_division=np.nan),
        "negative_predictive_value": precision_score(~positive, ~called, zero_division=np.nan),
    }
    values = {name: np.nan if found[name]["value"] is None else found[name]["value"] for name in expected}
    assert values == pytest.approx(expected, abs=1e-12, nan_ok=True)


def test_groups_are_what_is_drawn():
    rng = np.random.default_rng(1)
    positive, groups = np.arange(60) % 3 == 0, np.arange(60) // 6
    scores = rng.random(60) + 0.3 * positive
    units = find_units(positive.astype(int), groups)
    found = judge_threshold(scores, positive, 0.6, units)
    times = np.concatenate(list(draw(units, num_resamples=2000, seed=0)), axis=1)
    called = scores >= 0.6
    sensitivity = times[called & positive].sum(axis=0) / times[positive].sum(axis=0)
    low, high = found["sensitivity"]["interval"]
    assert ((sensitivity >= low) & (sensitivity <= high)).mean() == pytest.approx(0.975, abs=0.02)  # expanded tails
    assert found["sensitivity"]["method"] == "bootstrap, 2000 resamples of 10 groups"


def test_what_nothing_is_divided_by_is_not_defined():
    found = judge_threshold(SCORES, POSITIVE, 2.0, find_units(POSITIVE, None))
    assert found["precision"] == {"value": None, "interval": None}
    assert found["sensitivity"]["value"] == 0
    assert [row["precision"] for row in found["precision_at_prevalence"]] == [None] * 6


def test_precision_at_another_prevalence_follows_bayes():
    assert precision_at(0.01, 0.9, 0.95) == pytest.approx(0.009 / (0.009 + 0.0495))
    assert precision_at(4 / 8, 3 / 4, 3 / 4) == pytest.approx(3 / 4)  # at the images' own prevalence, their precision
    assert precision_at(0.1, None, 0.9) is None
    assert precision_at(0.1, 0.0, 1.0) is None
