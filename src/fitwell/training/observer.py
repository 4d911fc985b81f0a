"""What the loop tells, and what it can be asked: events out, actions back. The loop knows nothing else of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, Protocol

from torch import Tensor


class StopAsked(Exception):  # noqa: N818 - a request, not an error
    """An observer asked to stop in the middle of a pass over images."""


class Action(Enum):
    """What an observer can ask for."""

    STOP = auto()  # checkpoint at once and leave


@dataclass(frozen=True)
class PhaseStarted:
    """A phase begins, or goes on after a resume from `step`."""

    phase: str
    trains: str
    epochs: int
    steps_per_epoch: int
    step: int


@dataclass(frozen=True)
class Extracted:
    """`done` of `total` image views went through the frozen layers."""

    phase: str
    done: int
    total: int


@dataclass(frozen=True)
class StepDone:
    """One optimizer step. `loss` and `gradient_norm` stay on the device until somebody reads them."""

    phase: str
    epoch: int
    step: int
    loss: Tensor
    learning_rate: dict[str, float]
    gradient_norm: Tensor


@dataclass(frozen=True)
class Searched:
    """The heads of a search were trained for `epoch` epochs; `value` is the best val metric so far, if any has one."""

    phase: str
    epoch: int
    value: float | None


@dataclass(frozen=True)
class Validated:
    """`done` of `total` val images went through the network."""

    phase: str
    done: int
    total: int


@dataclass(frozen=True)
class EpochDone:
    """One epoch with its val numbers: the epoch record of history.jsonl."""

    record: dict[str, Any]


@dataclass(frozen=True)
class PhaseEnded:
    """A phase is over; `reason` is a sentence."""

    phase: str
    reason: str


Event = PhaseStarted | Extracted | StepDone | Searched | Validated | EpochDone | PhaseEnded


class Observer(Protocol):
    """Anything that follows a run."""

    def __call__(self, event: Event) -> Action | None:
        """Take note of `event`; return an action to ask for it."""


def notify(observers: Sequence[Observer], event: Event) -> bool:
    """Tell every observer; return whether one of them asked to stop."""
    actions = [observer(event) for observer in observers]
    return Action.STOP in actions
