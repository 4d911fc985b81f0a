import io
import logging

import pytest

from fitwell.run_folder import create_run_folder
from fitwell.training import progress
from fitwell.training.observer import EpochDone, Extracted, PhaseEnded, PhaseStarted, StepDone
from fitwell.training.progress import recording_log, showing_progress

RECORD = {
    "phase": "head",
    "epoch": 2,
    "step": 8,
    "train": {"loss": 0.5},
    "val": {"accuracy": 0.75, "auc": None},
    "images_per_second": 1234.0,
    "best": True,
}
EVENTS = [
    PhaseStarted("head", "5 of 9 parameters", 3, 4, 0),
    Extracted("head", 5, 10),
    StepDone("head", 2, 6, None, {}, None),
    EpochDone(RECORD),
    PhaseEnded("head", "finished its 3 epochs"),
]
EPOCH_LINE = "head   2/3  train loss 0.5000  val accuracy 0.7500  1,234 images/s  *"


class Terminal(io.StringIO):
    def isatty(self):
        return True


def lines(stream):
    with showing_progress(stream) as observer:
        for event in EVENTS:
            observer(event)
    return stream.getvalue().splitlines()


def test_away_from_a_terminal_there_is_one_plain_line_for_every_epoch():
    assert lines(io.StringIO()) == [
        "head: training 5 of 9 parameters, up to 3 epochs of 4 steps",
        EPOCH_LINE,
        "head: finished its 3 epochs",
    ]


def test_a_long_extraction_is_not_silent(monkeypatch):
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_PLAIN_LINES", 0)
    assert "head: 5/10 image views through the frozen layers" in lines(io.StringIO())


def test_a_terminal_gets_a_live_line_and_keeps_the_epochs(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.delenv("NO_COLOR", raising=False)
    shown = "\n".join(lines(Terminal()))
    assert EPOCH_LINE in shown
    assert "head: epoch 2/3" in shown
    assert "head: frozen layers" in shown


@pytest.mark.parametrize("event", [StepDone("head", 1, 1, None, {}, None)])
def test_a_single_step_deserves_no_line(event):
    assert progress.describe(event, 3) is None


def test_the_log_of_the_run_keeps_the_lines_and_the_warnings(tmp_path):
    run = create_run_folder(tmp_path, "test")
    with recording_log(run) as observer:
        for event in EVENTS:
            observer(event)
        logging.getLogger("fitwell.training.checkpoint").warning("a checkpoint is damaged")
    logging.getLogger("fitwell").warning("after the run")
    written = [line.split(maxsplit=2)[2] for line in run.log.read_text().splitlines()]
    assert written == [
        "INFO head: training 5 of 9 parameters, up to 3 epochs of 4 steps",
        f"INFO {EPOCH_LINE}",
        "INFO head: finished its 3 epochs",
        "WARNING a checkpoint is damaged",
    ]
