import json
import time
from types import SimpleNamespace

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.summary.writer import event_file_writer

from fitwell.files import to_json
from fitwell.run_folder import create_run_folder
from fitwell.training.history import forget_after, recording_csv, recording_history, recording_tensorboard
from fitwell.training.observer import EpochDone, PhaseStarted, StepDone

EPOCH = {
    "kind": "epoch",
    "phase": "head",
    "epoch": 1,
    "step": 20,
    "train": {"loss": 0.5, "accuracy": 0.75},
    "val": {"accuracy": 0.8, "auc": None},
    "val_per_class": {"cat": 0.9, "dog": 0.7},
}


@pytest.fixture
def run(tmp_path):
    return create_run_folder(tmp_path, "test")


def train_twenty_steps(observer):
    observer(PhaseStarted("head", "the head", 1, 20, 0))
    for step in range(1, 21):
        observer(StepDone("head", 1, step, torch.tensor(1 / step), {"head": 0.1}, torch.tensor(2.0)))
    observer(EpochDone(EPOCH))


def test_the_history_holds_ten_steps_of_an_epoch_and_the_epoch(run):
    with recording_history(run) as observer:
        train_twenty_steps(observer)
    records = [json.loads(line) for line in run.history.read_text().splitlines()]
    assert [record["step"] for record in records[:-1]] == list(range(2, 21, 2))
    assert records[0] == {
        "kind": "step",
        "phase": "head",
        "epoch": 1,
        "step": 2,
        "loss": 0.5,
        "learning_rate": {"head": 0.1},
        "gradient_norm": 2.0,
    }
    assert records[-1] == EPOCH


def test_records_after_a_checkpoint_are_forgotten_and_a_torn_line_with_them(run):
    with recording_history(run) as observer:
        train_twenty_steps(observer)
    with run.history.open("a") as file:
        file.write('{"kind": "step", "st')
    forget_after(run, 6)
    assert [json.loads(line)["step"] for line in run.history.read_text().splitlines()] == [2, 4, 6]


def test_tensorboard_reads_what_was_written(run):
    with recording_tensorboard(run) as observer:
        train_twenty_steps(observer)
    events = EventAccumulator(str(run.tensorboard("head"))).Reload()
    assert events.Tags()["scalars"] == [
        "step/loss",
        "step/gradient_norm",
        "learning_rate/head",
        "train/loss",
        "train/accuracy",
        "val/accuracy",
        "val_recall/cat",
        "val_recall/dog",
    ]
    assert [event.step for event in events.Scalars("step/loss")] == list(range(2, 21, 2))
    assert events.Scalars("val/accuracy")[0].value == pytest.approx(0.8)


def test_steps_trained_again_after_a_kill_replace_the_first_ones(run, monkeypatch):
    with recording_tensorboard(run) as observer:
        train_twenty_steps(observer)
    later = SimpleNamespace(time=lambda: time.time() + 1)  # TensorBoard orders files by the second in their names
    monkeypatch.setattr(event_file_writer, "time", later)
    with recording_tensorboard(run) as observer:
        observer(PhaseStarted("head", "the head", 1, 20, 10))
        observer(StepDone("head", 1, 12, torch.tensor(7.0), {"head": 0.1}, torch.tensor(2.0)))
    steps = [event.step for event in EventAccumulator(str(run.tensorboard("head"))).Reload().Scalars("step/loss")]
    assert steps == [2, 4, 6, 8, 10, 12]


def test_epochs_are_a_table_that_goes_on_after_a_resume(run):
    def epoch(number, **val):
        return {
            "kind": "epoch",
            "phase": "head",
            "epoch": number,
            "step": 4 * number,
            "train": {"loss": 0.5},
            "val": val,
            "best": number == 1,
        }

    first = recording_csv(run)
    first(EpochDone(epoch(1, auc=0.75)))
    run.history.write_text(to_json(epoch(1, auc=0.75)) + "\n")
    second = recording_csv(run)
    second(EpochDone(epoch(2, auc=None, log_loss=0.25)))
    assert run.epochs_csv.read_text().splitlines() == [
        "phase,epoch,step,train_loss,val_auc,best,val_log_loss",
        "head,1,4,0.5,0.75,True,",
        "head,2,8,0.5,,False,0.25",
    ]


def test_tensorboard_has_the_average_precision_of_each_of_several_classes(run):
    several = {key: value for key, value in EPOCH.items() if key != "val_per_class"}
    with recording_tensorboard(run) as observer:
        observer(PhaseStarted("head", "the head", 1, 20, 0))
        observer(EpochDone({**several, "val_average_precision": {"cat": 0.9, "dog": None}}))
    events = EventAccumulator(str(run.tensorboard("head")))
    events.Reload()
    assert [scalar.value for scalar in events.Scalars("val_average_precision/cat")] == pytest.approx([0.9])
    assert not [tag for tag in events.Tags()["scalars"] if tag.startswith("val_recall")]
