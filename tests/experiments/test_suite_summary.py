import math

import pytest
from scipy import stats

from fitwell.experiments import suite_summary
from fitwell.experiments.suite import Suite
from fitwell.experiments.suite_summary import describe_summary, summarise

SUITE = Suite.model_validate(
    {"tasks": {"a": "a", "b": "b"}, "recipes": ["old", "new"], "seeds": [0, 1], "metric": "auc"}
)


def ran(task, recipe, seed, auc, seconds, interval=(0.1, 0.9)):
    val = {"auc": {"value": auc, "interval": interval}}
    entry = {"task": task, "recipe": recipe, "seed": seed, "state": "finished", "run": f"{task}{recipe}{seed}"}
    return {**entry, "val": val, "seconds": seconds, "epochs": 3, "selects": "auc"}


RAN = [
    *(ran("a", "old", 0, 0.80, 100), ran("a", "new", 0, 0.85, 10), ran("b", "old", 0, 0.90, 200)),
    *(ran("b", "new", 0, 0.89, 50), ran("a", "old", 1, 0.82, 100), ran("a", "new", 1, 0.88, 20)),
]
FAILED = {"task": "b", "recipe": "new", "seed": 1, "state": "failed", "error": {"found": "b.csv is gone."}}


@pytest.fixture
def summary(monkeypatch, tmp_path):
    monkeypatch.setattr(suite_summary, "_measured", lambda record, home: record)
    return summarise(SUITE, [*RAN, FAILED], tmp_path)


def test_over_seeds_a_recipe_has_the_mean_and_students_interval(summary):
    found = summary["tasks"]["a"]["recipes"]["old"]
    assert (found["n"], found["val"], found["seconds"]) == (2, pytest.approx(0.81), 100)
    expected = stats.t.interval(0.95, 1, loc=0.81, scale=stats.sem([0.80, 0.82]))
    assert found["interval"] == pytest.approx(expected)
    assert found["interval_of"] == "seeds"


def test_with_one_seed_the_interval_is_that_of_the_val_images(summary):
    found = summary["tasks"]["b"]["recipes"]["new"]
    assert (found["interval"], found["interval_of"]) == ((0.1, 0.9), "val images")


def test_the_best_mean_is_chosen_and_of_its_runs_the_best(summary):
    assert summary["tasks"]["a"]["chosen"] == {"recipe": "new", "run": "anew1"}
    assert summary["tasks"]["b"]["chosen"] == {"recipe": "old", "run": "bold0"}


def test_a_recipe_whose_other_seeds_failed_is_not_chosen_for_the_luck_of_one(monkeypatch, tmp_path):
    monkeypatch.setattr(suite_summary, "_measured", lambda record, home: record)
    runs = [ran("a", "old", 0, 0.8, 5), ran("a", "old", 1, 0.8, 5), ran("a", "new", 0, 0.9, 5)]
    assert summarise(SUITE, runs, tmp_path)["tasks"]["a"]["chosen"]["recipe"] == "old"


def test_of_log_loss_the_lowest_is_chosen(monkeypatch, tmp_path):
    monkeypatch.setattr(suite_summary, "_measured", lambda record, home: record)
    runs = [ran("a", "old", 0, 0, 1) | {"val": {"log_loss": {"value": 0.2}}}]
    runs += [ran("a", "new", 0, 0, 1) | {"val": {"log_loss": {"value": 0.4}}}]
    suite = SUITE.model_copy(update={"metric": "log_loss"})
    assert summarise(suite, runs, tmp_path)["tasks"]["a"]["chosen"]["recipe"] == "old"


def test_a_change_is_paired_by_task_and_seed(summary):
    change = summary["changes"]["new"]
    differences = [0.05, -0.01, 0.06]
    assert change["n"] == 3
    assert change["difference"] == pytest.approx(sum(differences) / 3)
    expected = stats.t.interval(0.95, 2, loc=sum(differences) / 3, scale=stats.sem(differences))
    assert change["interval"] == pytest.approx(expected)
    assert change["seconds_ratio"] == pytest.approx(math.prod([1 / 10, 1 / 4, 1 / 5]) ** (1 / 3))


def test_what_is_not_defined_is_never_chosen(monkeypatch, tmp_path):
    monkeypatch.setattr(suite_summary, "_measured", lambda record, home: record)
    summary = summarise(SUITE, [ran("a", "old", 0, None, 5), ran("a", "new", 0, 0.1, 5)], tmp_path)
    assert summary["tasks"]["a"]["chosen"]["recipe"] == "new"
    assert summary["tasks"]["a"]["recipes"]["old"]["val"] is None


def test_the_page_shows_every_recipe_the_choice_and_the_failure(summary):
    for task in summary["tasks"].values():
        task["chosen"] |= {"test": {"value": 0.7, "interval": [0.6, 0.8]}, "opened": 1}
    summary["tasks"]["b"]["chosen"]["opened"] = 2
    page = describe_summary(summary)
    assert "| a | new | 2 | 0.865 (" in page
    assert "| 15 | 3 | chosen |" in page
    assert "failed: b.csv is gone." in page
    assert "- a: new, test auc 0.700 (0.600 to 0.800), run anew1.\n" in page
    assert "run bold0; its test images were opened by 2 runs.\n" in page
    assert "- new against old, n = 3: val auc +0.033 (" in page
    assert "1 of 7 trainings failed." in page
