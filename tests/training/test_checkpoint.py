import logging
import pickle

import pytest
import torch

from fitwell import files
from fitwell.errors import CheckpointError, ResourceError
from fitwell.run_folder import create_run_folder
from fitwell.training import checkpoint
from fitwell.training.checkpoint import load_checkpoint, save_checkpoint


@pytest.fixture
def run(tmp_path):
    return create_run_folder(tmp_path, "test")


def state(value):
    return {"network": {"w": torch.full((3,), float(value))}, "progress": {"step": value}}


def names(run):
    return sorted(path.name for path in run.checkpoints.iterdir())


def test_a_run_without_checkpoints_has_none(run):
    assert load_checkpoint(run) is None


def test_the_newest_comes_back_and_two_are_kept(run):
    for step in (1, 2, 3):
        save_checkpoint(run, step, state(step))
    loaded = load_checkpoint(run)
    assert loaded["progress"] == {"step": 3}
    assert torch.equal(loaded["network"]["w"], torch.full((3,), 3.0))
    assert names(run) == [
        "latest.json",
        "step-00000002.pt",
        "step-00000002.sha256",
        "step-00000003.pt",
        "step-00000003.sha256",
    ]
    latest = files.read_json(run.latest_checkpoint)
    assert latest["name"] == "step-00000003.pt"
    assert latest["sha256"] == files.sha256_of_file(run.checkpoints / "step-00000003.pt")


@pytest.mark.parametrize("damage", ["flip", "truncate", "no hash"])
def test_a_damaged_checkpoint_is_passed_over_with_the_reason(run, damage, caplog):
    save_checkpoint(run, 1, state(1))
    save_checkpoint(run, 2, state(2))
    newest = run.checkpoints / "step-00000002.pt"
    content = bytearray(newest.read_bytes())
    if damage == "flip":
        content[len(content) // 2] ^= 1
        newest.write_bytes(content)
    elif damage == "truncate":
        newest.write_bytes(content[:100])
    else:
        newest.with_suffix(".sha256").unlink()
    with caplog.at_level(logging.WARNING):
        assert load_checkpoint(run)["progress"] == {"step": 1}
    assert "step-00000002.pt" in caplog.text
    assert "going back to the one before it" in caplog.text


def test_when_all_are_damaged_nothing_is_guessed(run):
    save_checkpoint(run, 1, state(1))
    (run.checkpoints / "step-00000001.pt").write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"step-00000001\.pt does not match its SHA-256"):
        load_checkpoint(run)


class Payload:
    def __reduce__(self):
        return (exec, ("raise SystemExit('the payload ran')",))


def test_code_in_a_checkpoint_is_never_run(run):
    save_checkpoint(run, 1, state(1))
    path = run.checkpoints / "step-00000001.pt"
    torch.save(Payload(), path)
    path.with_suffix(".sha256").write_text(files.sha256_of_file(path))
    with pytest.raises(pickle.UnpicklingError):
        load_checkpoint(run)


@pytest.mark.parametrize("moment", ["write_atomically", "write_text", "write_json"])
def test_a_kill_at_any_moment_of_saving_leaves_the_checkpoint_before(run, monkeypatch, moment):
    save_checkpoint(run, 1, state(1))

    class Kill(BaseException):
        pass

    def kill(*args):
        raise Kill

    with monkeypatch.context() as patched:
        patched.setattr(checkpoint, moment, kill)
        with pytest.raises(Kill):
            save_checkpoint(run, 2, state(2))
    whole = moment == "write_json"  # only latest.json is missing: the checkpoint itself is complete
    assert load_checkpoint(run)["progress"] == {"step": 2 if whole else 1}


def test_a_full_disk_is_reported_and_the_checkpoint_before_stays(run, monkeypatch):
    save_checkpoint(run, 1, state(1))

    def full(*args):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(checkpoint, "write_atomically", full)
        with pytest.raises(ResourceError, match=r"(?s)No space left on device.*fitwell resume"):
            save_checkpoint(run, 2, state(2))
    assert load_checkpoint(run)["progress"] == {"step": 1}
