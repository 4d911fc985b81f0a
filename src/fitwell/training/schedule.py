"""The learning rate as a pure function of the step; only the plateau scale depends on what was measured."""

from __future__ import annotations

import math
from dataclasses import dataclass

from fitwell.recipe.schema import Phase


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """Linear warmup to a peak, then `kind`. All durations are in optimizer steps.

    Args:
        kind: "constant", "cosine" (to zero at the last step) or "plateau" (constant, scaled from outside).
        peak: learning rate when warmup ends, above 0.
    """

    kind: str
    peak: float
    num_steps: int
    warmup_steps: int

    def learning_rate(self, step: int, plateau_scale: float = 1.0) -> float:
        """Return the rate at `step` in [0, num_steps).

        Source: cosine annealing without restarts, Loshchilov & Hutter 2017, arXiv:1608.03983, eq. 5.
        """
        if step < self.warmup_steps:
            return self.peak * (step + 1) / self.warmup_steps
        if self.kind == "cosine":
            done = (step - self.warmup_steps) / max(1, self.num_steps - self.warmup_steps)
            return self.peak * 0.5 * (1 + math.cos(math.pi * done))
        return self.peak * plateau_scale


def schedule_of(phase: Phase, steps_per_epoch: int) -> Schedule:
    """Return the schedule of a `phase` that names its learning rate."""
    return Schedule(
        kind=phase.schedule,
        peak=float(phase.learning_rate),
        num_steps=int(phase.epochs) * steps_per_epoch,
        warmup_steps=round(phase.warmup_epochs * steps_per_epoch),
    )
