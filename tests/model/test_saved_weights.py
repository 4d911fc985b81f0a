import json

import pytest
import torch
from safetensors import safe_open

from fitwell.errors import CheckpointError, ResourceError
from fitwell.files import sha256_of_file
from fitwell.model.saved_weights import load_best, save_best
from fitwell.run_folder import RunFolder


@pytest.fixture
def run(tmp_path):
    (tmp_path / "checkpoints").mkdir()
    return RunFolder(tmp_path)


def test_weights_come_back_bit_for_bit(run):
    weights = {"w": torch.randn(3, 4, 2, 2).contiguous(memory_format=torch.channels_last), "n": torch.tensor(7)}
    save_best(run, weights, {})
    loaded = load_best(run, sha256_of_file(run.best_weights))
    assert {name: tensor.tolist() for name, tensor in loaded.items()} == {n: t.tolist() for n, t in weights.items()}


def test_the_file_tells_which_epoch_it_is_of_and_how_val_judged_it(run):
    record = {"phase": "tune", "epoch": 3, "val": {"accuracy": 0.75}, "val_per_class": {"a": 1.0, "b": None}}
    save_best(run, {"w": torch.ones(1)}, record | {"seconds": {"train": 1.0}})
    with safe_open(run.best_weights, "pt") as file:
        assert json.loads(file.metadata()["best_epoch"]) == record


def test_a_flipped_bit_is_noticed(run):
    save_best(run, {"w": torch.ones(8)}, {"epoch": 3})
    digest = sha256_of_file(run.best_weights)
    content = bytearray(run.best_weights.read_bytes())
    content[-1] ^= 1
    run.best_weights.write_bytes(content)
    with pytest.raises(CheckpointError, match="do not match the SHA-256"):
        load_best(run, digest)


@pytest.mark.parametrize("content", [None, b"", b"\xff" * 64])
def test_missing_and_damaged_weights_are_named(run, content):
    if content is not None:
        run.best_weights.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"(?s)best.safetensors cannot be used: .*fitwell resume"):
        load_best(run)


def test_a_disk_that_refuses_is_reported_as_such(tmp_path):
    with pytest.raises(ResourceError, match=r"(?s)could not be written: .*free some space"):
        save_best(RunFolder(tmp_path / "gone"), {"w": torch.ones(1)}, {})
