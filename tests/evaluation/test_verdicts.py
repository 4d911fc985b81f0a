import numpy as np
import pytest
from scipy import stats

from fitwell.evaluation.verdicts import Footprint, all_met, judge_targets, median_entry
from fitwell.recipe.goals import Targets

NOTHING = Footprint(latencies=[], weights_bytes=0)


def judged(value, low, high, *, name="accuracy", classes=()):
    entry = {"value": value, "interval": None if low is None else [low, high]}
    per_class = [{"class": each, "recall": recall} for each, recall in classes]
    return {"metrics": {name: entry}, "per_class": per_class}


def recall(value, low, high):
    return {"value": value, "interval": [low, high]}


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [(0.86, 0.94, "met"), (0.85, 0.94, "met"), (0.70, 0.84, "missed"), (0.80, 0.90, "not decidable")],
)
def test_a_bound_is_met_or_missed_by_the_whole_interval_only(low, high, verdict):
    (row,) = judge_targets(Targets(metrics={"accuracy": 0.85}), judged(0.87, low, high), NOTHING)
    assert row["verdict"] == verdict
    assert (row["target"], row["bound"], row["at_least"]) == ("accuracy", 0.85, True)


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [(0.05, 0.09, "met"), (0.05, 0.10, "met"), (0.11, 0.20, "missed"), (0.08, 0.12, "not decidable")],
)
def test_of_a_loss_less_is_asked_for(low, high, verdict):
    metrics = judged(0.1, low, high, name="brier_score")
    (row,) = judge_targets(Targets(metrics={"brier_score": 0.1}), metrics, NOTHING)
    assert (row["verdict"], row["at_least"]) == (verdict, False)


def test_what_is_not_defined_or_has_no_interval_is_not_decidable():
    targets = Targets(metrics={"auc": 0.9})
    (undefined,) = judge_targets(targets, judged(None, None, None, name="auc"), NOTHING)
    (absent,) = judge_targets(targets, judged(0.9, 0.8, 1.0), NOTHING)
    (bare,) = judge_targets(targets, judged(0.99, None, None, name="auc"), NOTHING)
    assert {row["verdict"] for row in (undefined, absent, bare)} == {"not decidable"}
    assert undefined["reason"] == absent["reason"] == "it is not defined on these images."
    assert bare["reason"] == "it has no interval."


def test_every_class_is_as_good_as_its_worst_verdict():
    sure, open_, bad = recall(0.95, 0.9, 0.99), recall(0.85, 0.7, 0.95), recall(0.5, 0.4, 0.6)
    targets = Targets(every_class=0.8)

    def row_of(*classes):
        (row,) = judge_targets(targets, judged(0, 0, 0, classes=classes), NOTHING)
        return row

    assert row_of(("cat", sure), ("dog", sure))["verdict"] == "met"
    undecided = row_of(("cat", sure), ("dog", open_), ("owl", open_))
    assert undecided["verdict"] == "not decidable"
    assert undecided["reason"].startswith("the class dog, and 1 more: the interval holds the bound")
    missed = row_of(("cat", open_), ("dog", bad))
    assert (missed["verdict"], missed["value"], missed["target"]) == ("missed", 0.5, "every_class")
    assert missed["reason"].startswith("the class dog: ")


def test_latency_and_size_are_held_to_their_bounds():
    footprint = Footprint(latencies=[9.0] * 20 + [11.0], weights_bytes=13_500_000)
    targets = Targets.model_validate({"latency_milliseconds": 10, "weights_size": "10MB"})
    latency, size = judge_targets(targets, judged(0, 0, 0), footprint)
    assert (latency["verdict"], latency["value"]) == ("met", 9.0)
    assert (size["verdict"], size["value"], size["interval"]) == ("missed", 13_500_000, [13_500_000, 13_500_000])


def test_memory_is_held_to_its_bound_where_it_was_measured():
    targets = Targets.model_validate({"memory": "500MB"})
    (row,) = judge_targets(targets, judged(0, 0, 0), Footprint([], 0, peak_memory_bytes=600_000_000))
    assert (row["target"], row["verdict"], row["value"]) == ("memory", "missed", 600_000_000)
    assert judge_targets(targets, judged(0, 0, 0), NOTHING) == []


def test_a_gate_opens_only_when_every_target_is_met():
    targets = Targets(metrics={"accuracy": 0.85})
    met, open_ = (judge_targets(targets, judged(0.9, low, 0.95), NOTHING) for low in (0.86, 0.8))
    assert all_met(met)
    assert not all_met([*met, *open_])


def test_the_interval_of_a_median_is_that_of_the_sign_test():
    values = np.random.default_rng(0).exponential(size=51)
    entry = median_entry(values.tolist())
    reference = stats.quantile_test(values, q=0, p=0.5).confidence_interval(0.95)
    assert entry["value"] == np.median(values)
    assert entry["interval"] == [reference.low, reference.high]
    assert entry["method"] == "order of 51 measurements"


def test_a_median_of_five_has_no_interval():
    assert median_entry([3.0, 1.0, 2.0, 5.0, 4.0]) == {"value": 3.0, "interval": None}
    assert median_entry([6.0, 1.0, 2.0, 5.0, 3.0, 4.0])["interval"] == [1.0, 6.0]
