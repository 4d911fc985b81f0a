"""How fast each way to compute is: timed in turn on this machine, and kept for its next run."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict
from torch import Tensor
from torch.nn import functional as F

from fitwell.errors import UsageError
from fitwell.files import to_json, write_json

RACE_SECONDS = 2.0  # a slow network gets fewer rounds, not a longer wait
RACE_ROUNDS = 5
KEPT_FOR = timedelta(days=30)
NEEDED_AGREEMENT = 0.999
ALLOWED_ERROR = 0.05

log = logging.getLogger(__name__)


class Figure(BaseModel):
    """One measured way to compute.

    Attributes:
        value: its name, such as "channels_last".
        agreement: cosine of its features with those of the first way, from whose mean over the pictures both are
            counted: what all pictures have in common would hide how badly they are told apart. 1 is best.
        error: largest difference between the two, as a share of the largest feature; 0 is best.
        problem: why it cannot be used at all, else empty.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    value: str
    images_per_second: float = 0.0
    agreement: float = 0.0
    error: float = 1.0
    problem: str = ""

    def objection(self) -> str:
        """Return why it must not be chosen, however fast; empty when it may."""
        if self.problem:
            return self.problem
        if self.agreement < NEEDED_AGREEMENT:
            return f"the features of {self.value} agree only to cosine {self.agreement:.4f}"
        if self.error > ALLOWED_ERROR:
            return f"a feature of {self.value} is wrong by {self.error:.1%} of the largest"
        return ""


def race(
    values: Sequence[str], make_ready: Callable[[str], Callable[[], Tensor]], rounds: int = RACE_ROUNDS
) -> list[Figure]:
    """Time ways to compute in turn, A B A B, and take each one's fastest round.

    Args:
        values: their names; the others are compared with the first.
        make_ready: a name to the work that is timed, which returns features (B, ...) of B images; a UsageError leaves
            the way out.
    """
    problems: dict[str, str] = {}
    seconds: dict[str, list[float]] = {value: [] for value in values}
    features: dict[str, Tensor] = {}
    deadline = time.monotonic() + RACE_SECONDS
    for round_number in range(rounds + 1):
        if round_number > 1 and time.monotonic() > deadline:
            break
        for value in [value for value in values if value not in problems]:
            try:
                work = make_ready(value)
            except UsageError as error:
                problems[value] = error.found
                continue
            started = time.monotonic()
            features[value] = work()
            if round_number > 0:  # the first round pays for allocation and kernel selection
                seconds[value].append(time.monotonic() - started)
    return [
        Figure(value=value, problem=problems[value])
        if value in problems
        else _figure(value, len(features[value]) / min(seconds[value]), features[value], features[values[0]])
        for value in values
    ]


def _figure(value: str, images_per_second: float, features: Tensor, reference: Tensor) -> Figure:
    common = reference.mean(dim=0)
    cosine = F.cosine_similarity((features - common).flatten(), (reference - common).flatten(), dim=0)
    error = (features - reference).abs().max() / reference.abs().max()
    return Figure(
        value=value,
        images_per_second=images_per_second,
        agreement=float(cosine.nan_to_num(nan=0.0)),
        error=float(error.nan_to_num(nan=1.0, posinf=1.0)),
    )


class _Measured(BaseModel):
    when: AwareDatetime
    figures: list[Figure]


class _KeptFile(BaseModel):
    schema_version: Literal[1]
    races: dict[str, _Measured]


class KeptFigures:
    """The figures of earlier races in one JSON file; what it cannot read or is older than a month is measured again.

    Args:
        path: the file; None keeps nothing.
        machine: what the figures hold for: processor, versions, backbone.
    """

    def __init__(self, path: Path | None, machine: Mapping[str, object]) -> None:
        self._path = path
        self._machine = dict(machine)

    def recall(self, question: Mapping[str, object], measure: Callable[[], list[Figure]]) -> tuple[list[Figure], str]:
        """Return the figures that were kept for `question`, or measure and keep them; and how they were come by."""
        key = to_json(self._machine | dict(question))
        races = self._read()
        if key in races:
            return races[key].figures, f"measured on {races[key].when:%Y-%m-%d} on this machine"
        figures = measure()
        self._write({**races, key: _Measured(when=datetime.now(UTC), figures=figures)})
        return figures, "measured"

    def _read(self) -> dict[str, _Measured]:
        if self._path is None:
            return {}
        try:
            races = _KeptFile.model_validate_json(self._path.read_bytes()).races
            now = datetime.now(UTC)
            return {key: kept for key, kept in races.items() if timedelta(0) <= now - kept.when < KEPT_FOR}
        except (OSError, ValueError):
            return {}

    def _write(self, races: Mapping[str, _Measured]) -> None:
        if self._path is None:
            return
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            write_json(self._path, {"races": {key: kept.model_dump(mode="json") for key, kept in races.items()}})
        except OSError as error:
            log.warning("what was measured could not be kept for the next run: %s", error)
