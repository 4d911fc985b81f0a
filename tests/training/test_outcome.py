"""What run.json says of the end of a run."""

import pytest

from fitwell.errors import ResourceError, RunError, RunStopped
from fitwell.run_folder import create_run_folder
from fitwell.training.outcome import recording_outcome


@pytest.fixture
def run(tmp_path):
    return create_run_folder(tmp_path, "run")


def ended_with(run, error):
    with recording_outcome(run):
        assert run.read()["state"] == "running"
        if error is not None:
            raise error


def test_a_run_that_ends_is_finished(run):
    ended_with(run, None)
    assert (run.read()["state"], run.read()["exit"]) == ("finished", {"code": 0, "reason": "finished"})


@pytest.mark.parametrize(
    ("error", "state", "code", "reason"),
    [
        (RunStopped(15, found="signal 15.", expected="more.", fix="resume."), "interrupted", 143, "signal 15."),
        (RunError(found="not finite.", expected="finite.", fix="lower the rate."), "failed", 1, "not finite."),
        (KeyboardInterrupt(), "failed", 130, "KeyboardInterrupt"),
        (ZeroDivisionError("by zero"), "failed", 70, "ZeroDivisionError('by zero')"),
    ],
)
def test_a_run_that_breaks_says_how(run, error, state, code, reason):
    with pytest.raises(type(error)):
        ended_with(run, error)
    assert run.read()["state"] == state
    assert run.read()["exit"]["code"] == code
    assert reason in run.read()["exit"]["reason"]


def test_memory_that_ran_out_is_told_with_what_can_be_done(run):
    with pytest.raises(ResourceError, match=r"(?s)memory ran out while training.*execution\.batch_size"):
        ended_with(run, MemoryError())
    assert run.read()["exit"]["code"] == 5


def moved_while_it_wrote(run):
    with recording_outcome(run):
        run.path.rename(run.path.with_name("elsewhere"))
        run.update(state="running")


def test_a_folder_that_went_away_is_told(run):
    with pytest.raises(RunError, match=r"(?s)is gone: .*put it back"):
        moved_while_it_wrote(run)
