"""Which of several backbones to train: probes on growing parts of train, after each of which half of them goes out.

The rules alone; training/backbone_probe.py says what one backbone is worth.
Source: successive halving, Jamieson & Talwalkar 2016, arXiv:1502.07943.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from fitwell.evaluation.intervals import Interval, Units, interval_of

FIRST_RUNGS = (256, 1024)  # training images; the last rung is all of them
LEAST_PER_CLASS = 8
WHOLE_BATCHES = 32  # what is kept is kept in batches of so many


@dataclass(frozen=True, kw_only=True)
class Judged:
    """What a linear probe on one backbone reached on one rung.

    Attributes:
        num_train: images that it learnt from. labels: (M,) int64, of the val images that judged it; where they show
            several classes, the rarest.
        value: the val metric, higher is better. resampled: (B,) the same in each resample of `units`.
    """

    num_train: int
    labels: NDArray[np.int64]
    units: Units
    value: float
    resampled: NDArray[np.float64]

    def interval(self) -> Interval | None:
        """Return the interval around `value`."""
        return interval_of(self.resampled, self.value, self.units, labels=self.labels)

    def lead(self, other: Judged) -> Lead:
        """Return how far this is ahead of `other` on the same rung: the same val images in the same resamples."""
        value = self.value - other.value
        differences = self.resampled - other.resampled
        return Lead(value, interval_of(differences, value, self.units, labels=self.labels))


@dataclass(frozen=True)
class Lead:
    """A paired difference of val metrics."""

    value: float
    interval: Interval | None

    def is_sure(self) -> bool:
        """Return whether the interval leaves 0 out."""
        return self.interval is not None and not self.interval.low <= 0 <= self.interval.high


class Candidate(Protocol):
    """A backbone that can be judged."""

    @property
    def name(self) -> str:
        """Its timm name."""

    @property
    def images_per_second(self) -> float:
        """Its speed on this machine."""

    def judge(self, num_train: int) -> Judged:
        """Probe it on the first `num_train` training images."""


@dataclass(frozen=True)
class Standing:
    """Where one candidate ended: how it was judged on each rung it was in, and its lead over the winner.

    Attributes:
        lead: None for the winner; taken on the last rung that it and the winner shared.
    """

    name: str
    images_per_second: float
    rungs: tuple[Judged, ...]
    lead: Lead | None

    def verdict(self, winner: str) -> str:
        """Return in words what the lead says."""
        if self.lead is None:
            return "use this"
        if not self.lead.is_sure() or self.lead.interval is None:
            return f"not distinguishable from {winner}"
        better = "better" if self.lead.value > 0 else "worse"
        ends = sorted(abs(end) for end in (self.lead.interval.low, self.lead.interval.high))
        return f"{better} by {abs(self.lead.value):.3f} ({ends[0]:.3f} to {ends[1]:.3f})"


def rung_sizes(num_train: int, num_classes: int) -> list[int]:
    """Return how many training images each rung has, ascending; the last one has all."""
    least = -(-LEAST_PER_CLASS * num_classes // WHOLE_BATCHES) * WHOLE_BATCHES
    return [*sorted({max(size, least) for size in FIRST_RUNGS if max(size, least) < num_train}), num_train]


def stratified_order(labels: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
    """Return an order (N,) in which every class comes once, then in proportion: each start of it is a sample."""
    order = np.random.default_rng(seed).permutation(len(labels))
    place = np.empty(len(labels))
    for label in np.unique(labels):
        members = order[labels[order] == label]
        place[members] = np.arange(len(members)) / len(members)
    return order[np.argsort(place[order], kind="stable")]


def halve(
    candidates: Sequence[Candidate], rungs: Sequence[int], on_judged: Callable[[str, Judged], None]
) -> list[Standing]:
    """Judge the candidates on rung after rung, and keep the better half, until one or no rung is left; the best first.

    The winner is the fastest of those that the last rung cannot tell from its best. Before, the val metric decides
    alone: a small rung can hardly tell any two apart, and speed would keep the smallest.

    Args:
        rungs: training images of each, ascending.
        on_judged: called with a name and what it reached.
    """
    judged: dict[str, list[Judged]] = {candidate.name: [] for candidate in candidates}
    remaining, order = list(candidates), list[Candidate]()
    for rung in rungs:
        for candidate in remaining:
            judged[candidate.name].append(candidate.judge(rung))
            on_judged(candidate.name, judged[candidate.name][-1])
        remaining.sort(key=lambda each: (-judged[each.name][-1].value, -each.images_per_second))
        kept = remaining[: -(-len(remaining) // 2)]
        if rung == rungs[-1] or len(kept) == 1:
            break
        order, remaining = remaining[len(kept) :] + order, kept
    best = judged[remaining[0].name][-1]
    remaining.sort(key=lambda each: (best.lead(judged[each.name][-1]).is_sure(), -each.images_per_second))
    winner, *others = remaining + order
    return [
        Standing(each.name, each.images_per_second, tuple(judged[each.name]), _lead(judged, each, winner))
        for each in (winner, *others)
    ]


def _lead(judged: dict[str, list[Judged]], candidate: Candidate, winner: Candidate) -> Lead | None:
    if candidate is winner:
        return None
    last = len(judged[candidate.name]) - 1
    return judged[candidate.name][last].lead(judged[winner.name][last])
