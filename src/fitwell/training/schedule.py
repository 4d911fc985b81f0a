"""The learning rate as a pure function of the step; only the plateau scale depends on what was measured."""

from __future__ import annotations

import math
from dataclasses import dataclass

from fitwell.recipe.phase import Phase

RISE_FRACTION = 0.3  # of a one-cycle schedule
RISE_START, CYCLE_END = 1 / 25, 1 / 250_000  # shares of the peak where one cycle begins and ends, as torch has them


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """A warmup to a peak, then `kind`. All durations are in ticks: optimizer steps, or epochs of `steps_per_tick`.

    Args:
        kind: "constant"; "cosine" or "polynomial", from the peak to the floor at the last tick; "warm_restarts", one
            cosine after another; "one_cycle", up and down as cosines without a warmup; "plateau", constant and
            scaled from outside.
        peak: learning rate when warmup ends. floor: the lowest afterwards, below the peak.
        warmup: "linear" or "cosine".
        restart_ticks: length of the first cosine of warm restarts. restart_factor: how many times as long the next is.
        power: of the polynomial.
    """

    kind: str
    peak: float
    num_ticks: int
    floor: float = 0.0
    warmup: str = "linear"
    warmup_ticks: int = 0
    restart_ticks: float = 1.0
    restart_factor: int = 1
    power: float = 1.0
    steps_per_tick: int = 1

    def learning_rate(self, step: int, plateau_scale: float = 1.0) -> float:
        """Return the rate at `step` in [0, num_ticks * steps_per_tick)."""
        tick = step // self.steps_per_tick
        if tick < self.warmup_ticks:
            risen = (tick + 1) / self.warmup_ticks
            return self.peak * (risen if self.warmup == "linear" else 1 - _cosine(risen))
        if self.kind == "one_cycle":
            return self._one_cycle(tick)
        if self.kind == "plateau":
            return max(self.floor, self.peak * plateau_scale)
        return self.floor + (self.peak - self.floor) * self._height(tick - self.warmup_ticks)

    def _height(self, tick: int) -> float:
        """Return where between floor and peak the rate is, from 0 to 1, `tick` ticks after warmup.

        Source: cosine annealing and warm restarts, Loshchilov & Hutter 2017, arXiv:1608.03983, eq. 5.
        """
        done = tick / max(1, self.num_ticks - self.warmup_ticks)
        if self.kind == "cosine":
            return _cosine(done)
        if self.kind == "warm_restarts":
            return _cosine(_share_of_cycle(tick / self.restart_ticks, self.restart_factor))
        if self.kind == "polynomial":
            return float((1 - done) ** self.power)
        return 1.0

    def _one_cycle(self, tick: int) -> float:
        """Return the rate of a single rise and fall.

        Source: Smith & Topin 2018, arXiv:1708.07120, with the cosines and the shares of torch's OneCycleLR.
        """
        top, last = RISE_FRACTION * self.num_ticks - 1, self.num_ticks - 1
        if tick <= top:
            start, end, done = RISE_START, 1.0, tick / top
        else:
            start, end, done = 1.0, CYCLE_END, (tick - top) / (last - top) if last > top else 1.0
        return self.peak * (end + (start - end) * _cosine(done))


def schedule_of(phase: Phase, steps_per_epoch: int) -> Schedule:
    """Return the schedule of a `phase` that names its learning rate."""
    ticks_per_epoch = 1 if phase.rate_changes == "epoch" else steps_per_epoch
    return Schedule(
        kind=phase.schedule,
        peak=float(phase.learning_rate),
        num_ticks=int(phase.epochs) * ticks_per_epoch,
        floor=phase.min_learning_rate,
        warmup=phase.warmup,
        warmup_ticks=round(phase.warmup_epochs * ticks_per_epoch),
        restart_ticks=phase.restart_epochs * ticks_per_epoch,
        restart_factor=phase.restart_factor,
        power=phase.power,
        steps_per_tick=steps_per_epoch // ticks_per_epoch,
    )


def planned_rates(phase: Phase, steps_per_epoch: int, count: int) -> list[float]:
    """Return the learning rates of `phase` at `count` steps, evenly spread from the first to the last.

    None are planned where heads are searched, and a plateau is planned as if it never came.
    """
    if phase.learning_rate == "search":
        return []
    schedule, last = schedule_of(phase, steps_per_epoch), int(phase.epochs) * steps_per_epoch - 1
    return [schedule.learning_rate(round(last * place / (count - 1))) for place in range(count)]


def _cosine(done: float) -> float:
    """Return 1 for 0, 0 for 1, and between them half a cosine."""
    return 0.5 * (1 + math.cos(math.pi * done))


def _share_of_cycle(cycles: float, factor: int) -> float:
    """Return how much of its cycle is over after `cycles` times the first; each is `factor` times as long as before."""
    if factor == 1:
        return cycles % 1
    length, begun = 1.0, 0.0
    while begun + length <= cycles:
        begun, length = begun + length, length * factor
    return (cycles - begun) / length
