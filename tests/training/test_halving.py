from dataclasses import dataclass, field

import numpy as np
import pytest

from fitwell.evaluation.intervals import Interval, find_units
from fitwell.training.halving import Judged, Lead, Standing, halve, rung_sizes, stratified_order

LABELS = np.array([0, 1] * 50)
UNITS = find_units(LABELS, None)


@dataclass
class Scripted:
    """A candidate whose value on each rung is given; all its resamples lie `noise` around that value."""

    name: str
    images_per_second: float
    values: dict[int, float]
    seed: int
    noise: float = 0.001
    seen: list[int] = field(default_factory=list)

    def judge(self, num_train):
        self.seen.append(num_train)
        value = self.values[num_train]
        noise = np.random.default_rng(self.seed).normal(0, self.noise, 1000)
        return Judged(num_train=num_train, labels=LABELS, units=UNITS, value=value, resampled=value + noise)


def run(*candidates, rungs=(256, 1024, 2000)):
    told = []
    standings = halve(candidates, rungs, lambda name, judged: told.append((judged.num_train, name)))
    return [standing.name for standing in standings], standings, told


def flat(name, value, speed=10.0, noise=0.001):
    return Scripted(name, speed, dict.fromkeys((256, 1024, 2000), value), ord(name[0]), noise)


def test_half_goes_out_after_each_rung_and_one_is_left():
    names, standings, told = run(
        *[flat(name, value) for name, value in zip("abcde", (0.5, 0.6, 0.7, 0.8, 0.9), strict=True)]
    )
    assert names == ["e", "d", "c", "b", "a"]
    assert [len(standing.rungs) for standing in standings] == [3, 3, 2, 1, 1]
    assert [num for num, _ in told] == [256] * 5 + [1024] * 3 + [2000] * 2


def test_it_stops_as_soon_as_one_is_left():
    names, _, told = run(flat("a", 0.5), flat("b", 0.6))
    assert names == ["b", "a"]
    assert told == [(256, "a"), (256, "b")]


def test_a_single_candidate_is_judged_once():
    assert run(flat("a", 0.5))[2] == [(256, "a")]


def test_of_those_that_cannot_be_told_apart_the_fastest_wins():
    names, standings, _ = run(flat("a", 0.80, noise=0.1), flat("b", 0.79, speed=20.0, noise=0.1))
    assert names == ["b", "a"]
    assert [standing.verdict("b") for standing in standings] == ["use this", "not distinguishable from b"]


def test_speed_does_not_save_what_is_surely_worse():
    names, standings, _ = run(flat("a", 0.80), flat("b", 0.70, speed=99.0))
    assert names == ["a", "b"]
    assert standings[1].verdict("a").startswith("worse by 0.100 (0.0")


def test_a_backbone_that_went_out_is_compared_on_the_last_rung_it_shared_with_the_winner():
    late = Scripted("late", 1.0, {256: 0.6, 1024: 0.9, 2000: 0.9}, 1)
    _, standings, _ = run(late, flat("x", 0.55), flat("y", 0.7))
    assert [standing.name for standing in standings] == ["late", "y", "x"]
    assert standings[2].lead.value == pytest.approx(0.55 - 0.6)


def test_a_lead_without_an_interval_is_not_sure():
    assert not Lead(0.5, None).is_sure()
    assert not Lead(0.1, Interval(-0.1, 0.3, "")).is_sure()
    assert Lead(-0.1, Interval(-0.3, -0.05, "")).is_sure()
    standing = Standing("a", 1.0, (), Lead(0.1, Interval(0.05, 0.3, "")))
    assert standing.verdict("b") == "better by 0.100 (0.050 to 0.300)"


def test_rungs_grow_to_all_images_and_hold_eight_of_each_class_in_whole_batches():
    assert rung_sizes(2000, 2) == [256, 1024, 2000]
    assert rung_sizes(200, 2) == [200]
    assert rung_sizes(5000, 41) == [352, 1024, 5000]
    assert rung_sizes(5000, 200) == [1600, 5000]


def test_each_start_of_the_order_is_stratified_and_the_order_a_function_of_the_seed():
    labels = np.array([0] * 900 + [1] * 97 + [2] * 3)
    order = stratified_order(labels, 5)
    assert sorted(order) == list(range(1000))
    assert set(labels[order[:3]]) == {0, 1, 2}
    assert (labels[order[:100]] == 0).sum() == pytest.approx(90, abs=2)
    assert (order == stratified_order(labels, 5)).all()
    assert (order != stratified_order(labels, 6)).any()
