import shutil

import pytest

from fitwell import classifier
from fitwell.errors import RunLockedError, RunStopped
from fitwell.experiments.run_suite import run_suite
from fitwell.files import read_json
from fitwell.run_folder import only_writer

RECIPE = """\
model: {backbone: test_efficientnet, weights: none}
images: {size: 32}
execution: {batch_size: 8}
phases: [{name: head, train: head, epochs: 1, learning_rate: 1e-3}]
"""


class Silent:
    """A watcher that remembers what was begun, and may ask to stop."""

    def __init__(self, stop=()):
        self.begun_runs, self.ends, self.stop = [], [], stop

    def planned(self, records):
        self.num_planned = len(records)

    def begun(self, record):
        if (record["task"], record["recipe"]) in self.stop:
            raise RunStopped(2, found="a stop.", expected="", fix="")
        self.begun_runs.append(record["run"])
        return lambda event: None

    def ended(self, record):
        self.ends.append((record["task"], record["recipe"], record["state"]))


@pytest.fixture
def suite(pictures, tmp_path):
    """A suite of two tasks, of which one is missing, and two recipes."""
    (tmp_path / "tiny.yaml").write_text(RECIPE + "balance: {class_weights: {red: 1, green: 2, blue: 1}}\n")
    (tmp_path / "tinier.yaml").write_text(RECIPE.replace("epochs: 1", "epochs: 2"))
    shutil.copytree(pictures, tmp_path / "here")
    path = tmp_path / "both.yaml"
    path.write_text("tasks: {here: here, gone: gone}\nrecipes: [tiny.yaml, tinier.yaml]\nmetric: auc\n")
    return path


def test_a_missing_task_is_told_first_and_the_others_are_trained(suite, tmp_path):
    watcher = Silent()
    summary = run_suite(suite, tmp_path / "runs", watcher)
    assert watcher.ends == [
        *(("here", "tiny", "finished"), ("here", "tinier", "finished")),
        *(("gone", "tiny", "failed"), ("gone", "tinier", "failed")),
    ]
    assert (summary["num_failed"], summary["num_entries"]) == (2, 4)
    assert "gone does not exist" in summary["tasks"]["gone"]["recipes"]["tiny"]["errors"][0]
    assert summary["tasks"]["gone"]["chosen"] is None


def test_only_the_run_that_val_chose_sees_the_test_images(suite, tmp_path):
    summary = run_suite(suite, tmp_path / "runs", Silent())
    task = summary["tasks"]["here"]
    best = max(task["recipes"], key=lambda name: task["recipes"][name]["val"])
    assert task["chosen"]["recipe"] == best
    home = tmp_path / "runs" / "both"
    opened = {path.parents[2].name for path in home.glob("*/evaluation/test/metrics.json")}
    assert opened == {task["chosen"]["run"]}
    assert task["chosen"]["opened"] == 1
    metrics = read_json(home / task["chosen"]["run"] / "evaluation" / "test" / "metrics.json")["metrics"]
    assert task["chosen"]["test"] == metrics["auc"]
    assert (home / "summary.md").read_text().count("chosen") == 1


def test_the_same_command_trains_only_what_is_missing(suite, tmp_path):
    first = Silent(stop=[("here", "tinier")])
    with pytest.raises(RunStopped, match="go on with the same command"):
        run_suite(suite, tmp_path / "runs", first)
    states = [each["state"] for each in read_json(tmp_path / "runs" / "both" / "suite.json")["entries"]]
    assert states == ["finished", "interrupted", "failed", "failed"]
    again = Silent()
    run_suite(suite, tmp_path / "runs", again)
    assert len(first.begun_runs) == len(again.begun_runs) == 1
    third = Silent()
    run_suite(suite, tmp_path / "runs", third)
    assert third.begun_runs == []


def test_a_run_that_was_begun_is_continued_and_its_seconds_add_up(suite, tmp_path):
    with pytest.raises(RunStopped):
        run_suite(suite, tmp_path / "runs", Silent(stop=[("here", "tiny")]))
    path = tmp_path / "runs" / "both" / "suite.json"
    begun = read_json(path)["entries"][0]
    text = path.read_text().replace(f'"seconds": {begun["seconds"]}', '"seconds": 1000.0', 1)
    path.write_text(text)
    run_suite(suite, tmp_path / "runs", Silent())
    finished = read_json(path)["entries"][0]
    assert finished["run"] == begun["run"]
    assert finished["seconds"] > 1000


def test_another_recipe_or_another_picture_begins_a_new_run(suite, tmp_path):
    run_suite(suite, tmp_path / "runs", Silent())
    (tmp_path / "tiny.yaml").write_text(RECIPE.replace("1e-3", "2e-3"))
    other_recipe = Silent()
    run_suite(suite, tmp_path / "runs", other_recipe)
    assert len(other_recipe.begun_runs) == 1
    record = read_json(tmp_path / "runs" / "both" / "suite.json")["entries"][0]
    assert len(record["earlier"]) == 1
    next((tmp_path / "here").rglob("*.png")).unlink()
    other_pictures = Silent()
    summary = run_suite(suite, tmp_path / "runs", other_pictures)
    assert len(other_pictures.begun_runs) == 2
    seen = list((tmp_path / "runs" / "both").glob("*/evaluation/test/metrics.json"))
    assert summary["tasks"]["here"]["chosen"]["opened"] == len(seen) > 1


def test_a_bug_in_one_training_leaves_the_others_alone_and_its_trace(suite, tmp_path, monkeypatch):
    start = classifier.start

    def faulty(prepared, runs_dir, name):
        if "tiny-" in name:
            raise ZeroDivisionError("a bug")
        return start(prepared, runs_dir, name)

    monkeypatch.setattr(classifier, "start", faulty)
    watcher = Silent()
    run_suite(suite, tmp_path / "runs", watcher)
    assert watcher.ends[:2] == [("here", "tiny", "failed"), ("here", "tinier", "finished")]
    assert "ZeroDivisionError: a bug" in (tmp_path / "runs" / "both" / "suite.log").read_text()


def test_two_processes_do_not_run_one_suite(suite, tmp_path):
    (tmp_path / "runs" / "both").mkdir(parents=True)
    with only_writer(tmp_path / "runs" / "both" / "suite.log"), pytest.raises(RunLockedError, match="another process"):
        run_suite(suite, tmp_path / "runs", Silent())
