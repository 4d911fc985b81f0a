"""Progress for people: a live line on a terminal, one plain line per epoch everywhere else; the same in run.log."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from fitwell.run_folder import RunFolder
from fitwell.training.observer import (
    EpochDone,
    Event,
    Extracted,
    Observer,
    PhaseEnded,
    PhaseStarted,
    Searched,
    StepDone,
)

SECONDS_BETWEEN_PLAIN_LINES = 30


@contextmanager
def showing_progress(stream: TextIO | None = None) -> Iterator[Observer]:
    """Yield an observer that shows how the run goes on `stream` (stderr)."""
    console = Console(file=stream or sys.stderr, highlight=False)
    if not console.is_terminal:
        yield plain_lines(console)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bars:
        yield _LiveLine(bars)


def plain_lines(console: Console) -> Observer:
    """Return an observer that prints a line for each epoch."""
    return _PlainLines(console)


@contextmanager
def recording_log(run: RunFolder) -> Iterator[Observer]:
    """Yield an observer that writes the plain lines to run.log; until then fitwell's warnings go there too."""
    handler = logging.FileHandler(run.log, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logger = logging.getLogger("fitwell")
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield _Log(logger)
    finally:
        logger.setLevel(level)
        logger.removeHandler(handler)
        handler.close()


class _Log:
    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger
        self._epochs = 0

    def __call__(self, event: Event) -> None:
        if isinstance(event, PhaseStarted):
            self._epochs = event.epochs
        line = None if isinstance(event, Extracted) and event.done < event.total else describe(event, self._epochs)
        if line:
            self._logger.info(line)


class _PlainLines:
    def __init__(self, console: Console) -> None:
        self._console = console
        self._epochs = 0
        self._last_line = time.monotonic()

    def __call__(self, event: Event) -> None:
        if isinstance(event, PhaseStarted):
            self._epochs = event.epochs
        if isinstance(event, Extracted) and time.monotonic() - self._last_line < SECONDS_BETWEEN_PLAIN_LINES:
            return
        line = describe(event, self._epochs)
        if line:
            self._console.print(line, markup=False, soft_wrap=True)
            self._last_line = time.monotonic()


class _LiveLine:
    def __init__(self, bars: Progress) -> None:
        self._bars = bars
        self._epochs = 0
        self._task: TaskID | None = None
        self._first_step = 0

    def __call__(self, event: Event) -> None:
        if isinstance(event, PhaseStarted):
            self._epochs = event.epochs
            self._show(event.phase, event.epochs * event.steps_per_epoch)
            self._first_step = event.step
        elif isinstance(event, Extracted):
            self._advance(event.done, event.total, f"{event.phase}: frozen layers")
        elif isinstance(event, Searched):
            self._advance(event.epoch, self._epochs, f"{event.phase}: many heads at once")
        elif isinstance(event, StepDone):
            self._advance(event.step - self._first_step, None, f"{event.phase}: epoch {event.epoch}/{self._epochs}")
        line = describe(event, self._epochs)
        if line and not isinstance(event, Extracted):
            self._bars.console.print(line, markup=False)

    def _show(self, description: str, total: int) -> None:
        if self._task is not None:
            self._bars.remove_task(self._task)
        self._task = self._bars.add_task(description, total=total)

    def _advance(self, done: int, total: int | None, description: str) -> None:
        if self._task is None or total is not None:
            self._show(description, total or done)
        if self._task is not None:
            self._bars.update(self._task, completed=done, description=description)


def describe(event: Event, epochs: int) -> str | None:
    """Return the plain line for `event`, or None where it deserves none."""
    if isinstance(event, PhaseStarted):
        return f"{event.phase}: training {event.trains}, up to {event.epochs} epochs of {event.steps_per_epoch} steps"
    if isinstance(event, Extracted):
        return f"{event.phase}: {event.done}/{event.total} image views through the frozen layers"
    if isinstance(event, PhaseEnded):
        return f"{event.phase}: {event.reason}"
    if isinstance(event, EpochDone):
        record = event.record
        val = "  ".join(f"{name} {value:.4f}" for name, value in record["val"].items() if value is not None)
        best = "  *" if record["best"] else ""
        return (
            f"{record['phase']} {record['epoch']:>3}/{epochs}  train loss {record['train']['loss']:.4f}  "
            f"val {val}  {record['images_per_second']:,.0f} images/s{best}"
        )
    return None
