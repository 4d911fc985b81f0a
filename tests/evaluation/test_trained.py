import numpy as np
import pytest
import torch

from fitwell.data.decode import decode_image
from fitwell.data.index import index_dataset
from fitwell.data.split import read_split
from fitwell.errors import CheckpointError, DataError
from fitwell.evaluation.trained import load_trained
from fitwell.training.prepare import create_run, prepare_run
from fitwell.training.session import continue_run
from pictures import evaluation_tensor, tiny_recipe


@pytest.fixture(scope="module")
def run(pictures, tmp_path_factory):
    prepared = prepare_run(index_dataset(pictures), tiny_recipe())
    run = create_run(prepared, tmp_path_factory.mktemp("runs"), "tiny")
    continue_run(run)
    return run


def test_logits_are_those_of_the_network_on_each_evaluated_image(run, pictures):
    model = load_trained(run)
    paths = list(read_split(run.split)["path"])
    logits = model.logits(pictures, paths)
    with torch.inference_mode():
        for path, row in zip(paths[::7], logits[::7], strict=True):
            image = evaluation_tensor(decode_image(pictures / path), model.preprocessing)
            np.testing.assert_allclose(row, model.network(image[None])[0].numpy(), atol=1e-4)


def test_the_val_number_of_training_is_the_number_of_the_loaded_model(run, pictures):
    model = load_trained(run)
    split = read_split(run.split)
    val = split[split["split"] == "val"]
    predicted = model.logits(pictures, list(val["path"])).argmax(axis=1)
    accuracy = np.mean([model.classes[index] == label for index, label in zip(predicted, val["label"], strict=True)])
    assert accuracy == run.read()["select"]["best"]["value"]


def test_a_corrupt_image_is_never_passed_over(run, tmp_path):
    (tmp_path / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(DataError, match=r"bad\.png"):
        load_trained(run).logits(tmp_path, ["bad.png"])


def test_a_run_that_is_not_finished_is_refused(pictures, tmp_path):
    unfinished = create_run(prepare_run(index_dataset(pictures), tiny_recipe()), tmp_path, "tiny")
    with pytest.raises(CheckpointError, match=r"(?s)is created.*fitwell resume"):
        load_trained(unfinished)
