"""The run's records: history.jsonl, epochs.csv, and TensorBoard event files per phase."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from torch.utils.tensorboard import SummaryWriter

from fitwell.files import appending, read_json_lines, to_json, write_text
from fitwell.run_folder import RunFolder
from fitwell.training.observer import EpochDone, Event, Observer, PhaseStarted, StepDone

STEP_RECORDS_PER_EPOCH = 10


def forget_after(run: RunFolder, step: int) -> None:
    """Drop the records of steps beyond `step`: after a resume these steps are trained, and recorded, again."""
    kept = [record for record in read_json_lines(run.history) if record["step"] <= step]
    write_text(run.history, "".join(to_json(record) + "\n" for record in kept))


@contextmanager
def recording_history(run: RunFolder) -> Iterator[Observer]:
    """Yield an observer that appends every epoch, and some steps of each, to history.jsonl."""
    with appending(run.history) as append:
        yield _History(append)


def recording_csv(run: RunFolder) -> Observer:
    """Return an observer that writes epochs.csv, a line for each epoch so far, anew after every epoch."""
    epochs = [record for record in read_json_lines(run.history) if record["kind"] == "epoch"]

    def observer(event: Event) -> None:
        if isinstance(event, EpochDone):
            epochs.append(event.record)
            write_text(run.epochs_csv, _as_csv([_flat(record) for record in epochs]))

    return observer


@contextmanager
def recording_tensorboard(run: RunFolder) -> Iterator[Observer]:
    """Yield an observer that writes `tensorboard/<phase>/`."""
    observer = _TensorBoard(run)
    try:
        yield observer
    finally:
        observer.close()


class _History:
    def __init__(self, append: Callable[[dict[str, Any]], None]) -> None:
        self._append = append
        self._every = 1

    def __call__(self, event: Event) -> None:
        if isinstance(event, PhaseStarted):
            self._every = max(1, event.steps_per_epoch // STEP_RECORDS_PER_EPOCH)
        elif isinstance(event, StepDone) and event.step % self._every == 0:
            self._append(step_record(event))
        elif isinstance(event, EpochDone):
            self._append(event.record)


class _TensorBoard:
    def __init__(self, run: RunFolder) -> None:
        self._run = run
        self._writer: SummaryWriter | None = None
        self._every = 1

    def __call__(self, event: Event) -> None:
        if isinstance(event, PhaseStarted):
            self.close()
            folder = str(self._run.tensorboard(event.phase))
            # Steps from here on replace those of the killed process in the same folder.
            self._writer = SummaryWriter(folder, purge_step=event.step + 1)
            self._every = max(1, event.steps_per_epoch // STEP_RECORDS_PER_EPOCH)
        elif isinstance(event, StepDone) and event.step % self._every == 0:
            self._write(event.step, {"step/loss": float(event.loss), "step/gradient_norm": float(event.gradient_norm)})
            self._write(event.step, {f"learning_rate/{part}": rate for part, rate in event.learning_rate.items()})
        elif isinstance(event, EpochDone):
            record = event.record
            self._write(record["step"], {f"train/{name}": value for name, value in record["train"].items()})
            self._write(record["step"], {f"val/{name}": value for name, value in record["val"].items()})
            for key, folder in (("val_per_class", "val_recall"), ("val_average_precision", "val_average_precision")):
                self._write(record["step"], {f"{folder}/{name}": v for name, v in record.get(key, {}).items()})

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _write(self, step: int, values: dict[str, float | None]) -> None:
        for name, value in values.items():
            if self._writer is not None and value is not None:
                self._writer.add_scalar(name, value, step)


def _flat(record: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested values under one name each: {"val": {"auc": 1}} becomes {"val_auc": 1}."""
    flat: dict[str, Any] = {}
    for name, value in record.items():
        flat |= _flat(value, f"{prefix}{name}_") if isinstance(value, dict) else {prefix + name: value}
    return flat


def _as_csv(rows: Sequence[dict[str, Any]]) -> str:
    """Return rows with all the columns that any of them has, in order of appearance."""
    columns = list(dict.fromkeys(name for row in rows for name in row if name != "kind"))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def step_record(event: StepDone) -> dict[str, Any]:
    """Return the step record of history.jsonl."""
    return {
        "kind": "step",
        "phase": event.phase,
        "epoch": event.epoch,
        "step": event.step,
        "loss": float(event.loss),
        "learning_rate": event.learning_rate,
        "gradient_norm": float(event.gradient_norm),
    }
