import io
import json

import pytest
from rich.console import Console
from rich.live import Live

from fitwell.cli import suite as command
from fitwell.cli.app import run
from fitwell.training.observer import EpochDone, PhaseStarted

RECIPE = """\
model: {backbone: test_efficientnet, weights: none}
images: {size: 32}
execution: {batch_size: 8}
phases: [{name: head, train: head, epochs: 1, learning_rate: 1e-3}]
"""
WAITING = {"task": "here", "recipe": "tiny", "seed": 0, "state": "waiting", "run": "run-1"}


@pytest.fixture
def folder(pictures, tmp_path, monkeypatch):
    (tmp_path / "tiny.yaml").write_text(RECIPE)
    (tmp_path / "suite.yaml").write_text(f"tasks: {{here: {pictures}, gone: gone}}\nrecipes: [tiny.yaml]\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_suite_with_a_missing_task_trains_the_other_and_fails(folder, capsys):
    assert run(["suite", "suite.yaml"]) == 1
    shown = capsys.readouterr()
    assert "| here | tiny | 1 | " in shown.out
    assert "gone does not exist" in shown.out
    assert "1 of 2 trainings failed." in shown.out
    assert "2 trainings\n" in shown.err
    assert "here tiny seed 0: finished, " in shown.err
    assert run(["suite", "suite.yaml", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["tasks"]["here"]["chosen"]["recipe"] == "tiny"


def test_a_suite_without_failures_ends_well(folder, capsys):
    text = (folder / "suite.yaml").read_text().replace(", gone: gone", "")
    (folder / "suite.yaml").write_text(text)
    assert run(["suite", "suite.yaml"]) == 0
    assert "failed" not in capsys.readouterr().out


def test_a_mistake_in_the_suite_is_a_usage_error(folder, capsys):
    (folder / "suite.yaml").write_text("tasks: {a: b}\n")
    assert run(["suite", "suite.yaml"]) == 2
    assert "recipes is missing" in capsys.readouterr().err


def test_the_live_table_shows_what_is_going_on():
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=True, width=120)
    record = dict(WAITING)
    with Live(console=console, auto_refresh=False) as live:
        table = command._LiveTable(live)
        table.planned([record, WAITING | {"seed": 1}])
        record["state"] = "running"
        follow = table.begun(record)
        follow(PhaseStarted("head", "the head", 3, 10, 0))
        assert "head: training the head, up to 3 epochs" in shown(live)
        epoch = {"phase": "head", "epoch": 2, "train": {"loss": 0.5}, "val": {"auc": 0.9}, "best": True}
        follow(EpochDone(epoch | {"images_per_second": 100}))
        assert "head   2/3  train loss 0.5000  val auc 0.9000" in shown(live)
        record.update(state="failed", error={"found": "no memory."})
        table.ended(record)
        assert "failed: no memory." in shown(live)
        assert "waiting" in shown(live)


def shown(live):
    console = Console(file=io.StringIO(), width=140)
    console.print(live.renderable)
    return console.file.getvalue()
