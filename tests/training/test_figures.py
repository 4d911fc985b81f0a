import json
import logging
from datetime import UTC, datetime, timedelta
from itertools import count

import pytest
import torch

from fitwell.errors import UsageError
from fitwell.training.figures import Figure, KeptFigures, race

FEATURES = torch.tensor([[3.0, 4.0]])
FIGURES = [Figure(value="plain", images_per_second=10.0, agreement=1.0, error=0.0), Figure(value="odd", problem="no")]
MACHINE = {"processor": "abacus", "threads": 1}
QUESTION = {"engine": ["plain", "odd"]}


def measured_once():
    """Return a measurement that gives FIGURES, and a list that grows with every call."""
    calls = []
    return lambda: calls.append(1) or FIGURES, calls


def unwanted():
    raise AssertionError("measured again")


@pytest.fixture
def clock(monkeypatch):
    """Time that advances by a quarter of a second whenever somebody looks."""
    ticks = count()
    monkeypatch.setattr("fitwell.training.figures.time.monotonic", lambda: next(ticks) / 4)


def test_ways_take_turns_and_the_first_round_does_not_count(clock):
    order, eight = [], FEATURES.repeat(8, 1)
    figures = race(["a", "b"], lambda name: lambda: order.append(name) or eight, rounds=2)
    assert order == ["a", "b"] * 3
    assert [(each.value, each.images_per_second) for each in figures] == [("a", 32.0), ("b", 32.0)]


def test_a_slow_race_ends_after_one_round_that_counts(clock, monkeypatch):
    monkeypatch.setattr("fitwell.training.figures.RACE_SECONDS", 0.5)
    order = []
    race(["a"], lambda name: lambda: order.append(name) or FEATURES)
    assert order == ["a", "a"]


@pytest.mark.parametrize(
    ("features", "agreement", "error"),
    [
        ([[13.0, 14.0], [7.0, 6.0]], 1.0, 0.0),
        ([[14.0, 13.0], [6.0, 7.0]], 0.96, 1 / 14),  # about (10, 10): (12 + 12) / 25; 1 of 14
        ([[float("nan"), 14.0], [7.0, 6.0]], 0.0, 1.0),
        ([[float("inf"), 14.0], [7.0, 6.0]], 0.0, 1.0),
    ],
)
def test_features_are_compared_with_those_of_the_first_way(features, agreement, error):
    made = {"plain": torch.tensor([[13.0, 14.0], [7.0, 6.0]]), "other": torch.tensor(features)}
    plain, other = race(["plain", "other"], lambda name: lambda: made[name], rounds=1)
    assert (plain.agreement, plain.error) == (pytest.approx(1.0), 0.0)
    assert (other.agreement, other.error) == (pytest.approx(agreement), pytest.approx(error))


def test_a_way_that_cannot_be_made_ready_is_left_out_with_its_problem():
    def make_ready(name):
        if name == "broken":
            raise UsageError(found="it is broken.", expected="", fix="")
        return lambda: FEATURES

    plain, broken = race(["plain", "broken"], make_ready, rounds=1)
    assert plain.problem == ""
    assert broken == Figure(value="broken", problem="it is broken.")


@pytest.mark.parametrize(
    ("agreement", "error", "problem", "objection"),
    [
        (0.9999, 0.01, "", ""),
        (0.99, 0.01, "", "the features of x agree only to cosine 0.9900"),
        (0.9999, 0.07, "", "a feature of x is wrong by 7.0% of the largest"),
        (0.9999, 0.01, "it is broken.", "it is broken."),
    ],
)
def test_a_way_must_run_and_agree_in_direction_and_in_every_feature(agreement, error, problem, objection):
    assert Figure(value="x", agreement=agreement, error=error, problem=problem).objection() == objection


def test_figures_are_kept_for_the_next_run_which_says_so(tmp_path):
    path = tmp_path / "new folder" / "plans.json"
    measure, _ = measured_once()
    assert KeptFigures(path, MACHINE).recall(QUESTION, measure) == (FIGURES, "measured")
    figures, source = KeptFigures(path, MACHINE).recall(QUESTION, unwanted)
    assert figures == FIGURES
    assert source == f"measured on {datetime.now(UTC):%Y-%m-%d} on this machine"


@pytest.mark.parametrize(
    ("machine", "question"), [({**MACHINE, "threads": 2}, QUESTION), (MACHINE, {"engine": ["plain"]})]
)
def test_another_machine_or_question_is_measured_and_forgets_nothing(machine, question, tmp_path):
    path = tmp_path / "plans.json"
    measure, calls = measured_once()
    KeptFigures(path, MACHINE).recall(QUESTION, measure)
    KeptFigures(path, machine).recall(question, measure)
    assert len(calls) == 2
    KeptFigures(path, MACHINE).recall(QUESTION, unwanted)


def test_without_a_file_everything_is_measured():
    measure, calls = measured_once()
    kept = KeptFigures(None, MACHINE)
    for _ in range(2):
        assert kept.recall(QUESTION, measure) == (FIGURES, "measured")
    assert len(calls) == 2


@pytest.mark.parametrize("days", [31, -1])
def test_old_figures_and_those_from_the_future_are_measured_again(days, tmp_path):
    path = tmp_path / "plans.json"
    measure, calls = measured_once()
    KeptFigures(path, MACHINE).recall(QUESTION, measure)
    content = json.loads(path.read_text())
    for kept in content["races"].values():
        kept["when"] = (datetime.now(UTC) - timedelta(days=days)).isoformat()
    path.write_text(json.dumps(content))
    KeptFigures(path, MACHINE).recall(QUESTION, measure)
    assert len(calls) == 2


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text[: len(text) // 2],
        lambda text: text.replace('"schema_version": 1', '"schema_version": 2'),
        lambda text: text.replace('"images_per_second": 10.0', '"images_per_second": "fast"'),
        lambda text: text.replace('+00:00"', '"').replace('Z"', '"'),
        lambda text: "[]",
        lambda text: "\udcff",
    ],
)
def test_a_damaged_or_foreign_file_is_measured_again_and_replaced(change, tmp_path):
    path = tmp_path / "plans.json"
    measure, calls = measured_once()
    KeptFigures(path, MACHINE).recall(QUESTION, measure)
    text = path.read_text(encoding="utf-8")
    damaged = change(text).encode("utf-8", "surrogateescape")
    assert damaged != text.encode()
    path.write_bytes(damaged)
    KeptFigures(path, MACHINE).recall(QUESTION, measure)
    assert len(calls) == 2
    KeptFigures(path, MACHINE).recall(QUESTION, unwanted)


def test_a_place_that_takes_no_file_costs_a_warning_and_nothing_else(tmp_path, caplog):
    (tmp_path / "file").write_text("")
    measure, _ = measured_once()
    with caplog.at_level(logging.WARNING):
        found = KeptFigures(tmp_path / "file" / "plans.json", MACHINE).recall(QUESTION, measure)
    assert found == (FIGURES, "measured")
    assert "what was measured could not be kept for the next run" in caplog.text
