import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import ImageOps

from fitwell.data.corruption import CORRUPTIONS, corrupt
from fitwell.data.decode import decode_image
from fitwell.data.index import index_dataset
from fitwell.data.split import read_split
from fitwell.data.transforms import normalise
from fitwell.errors import CheckpointError, DataError
from fitwell.evaluation import trained
from fitwell.evaluation.metrics import softmax
from fitwell.evaluation.multi_label import sigmoid
from fitwell.evaluation.trained import load_trained, mean_logits
from fitwell.model.network import build_network, create_backbone
from fitwell.model.saved_weights import load_best
from fitwell.recipe.schema import Head
from fitwell.run_folder import RunFolder
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
    network = build_network(create_backbone("test_efficientnet"), len(model.classes), Head(dropout=0.2))
    network.load_state_dict(load_best(run))
    network.eval()
    paths = list(read_split(run.split)["path"])
    logits = model.logits(pictures, paths)
    with torch.inference_mode():
        for path, row in zip(paths[::7], logits[::7], strict=True):
            image = evaluation_tensor(decode_image(pictures / path), model.preprocessing)
            np.testing.assert_allclose(row, network(image[None])[0].numpy(), atol=1e-4)


def test_corrupted_logits_are_those_of_the_network_on_each_corrupted_picture(run, pictures):
    model = load_trained(run)
    paths, told = list(read_split(run.split)["path"])[:3], []
    logits = model.corrupted_logits(pictures, paths, CORRUPTIONS[:4], follow=told.append)
    assert told == [1, 2, 3]
    for path, rows in zip(paths, logits, strict=True):
        seen = model.source(pictures, [path]).prepared(0)
        for corruption, row in zip(CORRUPTIONS[:4], rows, strict=True):
            inputs = normalise(corrupt(seen, corruption), model.preprocessing)[None]
            np.testing.assert_allclose(row, model.extract(inputs)[0].numpy(), atol=1e-4)


def asking_for(run, engine, folder):
    copied = RunFolder(Path(shutil.copytree(run.path, folder / "run")))
    text = copied.recipe.read_text(encoding="utf-8")
    assert "engine: eager" in text
    copied.recipe.write_text(text.replace("engine: eager", f"engine: {engine}"), encoding="utf-8")
    return copied


def test_the_engine_of_the_frozen_layers_runs_the_whole_network(run, pictures, tmp_path, monkeypatch):
    built, build = [], trained.build_engine
    monkeypatch.setattr(trained, "build_engine", lambda name, *rest: built.append(name) or build(name, *rest))
    paths = list(read_split(run.split)["path"])[:5]
    found = load_trained(asking_for(run, "onnxruntime", tmp_path)).logits(pictures, paths)
    np.testing.assert_allclose(found, load_trained(run).logits(pictures, paths), atol=1e-4)
    assert built == ["onnxruntime", "eager"]


def test_the_logits_are_averaged_over_what_the_recipe_names(run, pictures, tmp_path):
    copied = RunFolder(Path(shutil.copytree(run.path, tmp_path / "run")))
    text = copied.recipe.read_text(encoding="utf-8")
    assert "average_over: none" in text
    copied.recipe.write_text(text.replace("average_over: none", "average_over: horizontal"), encoding="utf-8")
    mirrored = tmp_path / "mirrored"
    mirrored.mkdir()
    paths = list(read_split(run.split)["path"])[:3]
    names = [f"{number}.png" for number in range(3)]
    for path, name in zip(paths, names, strict=True):
        ImageOps.mirror(decode_image(pictures / path)).save(mirrored / name)
    plain = load_trained(run)
    expected = (plain.logits(pictures, paths) + plain.logits(mirrored, names)) / 2
    np.testing.assert_allclose(load_trained(copied).logits(pictures, paths), expected, atol=1e-4)


def test_nothing_is_compiled_to_predict(run, tmp_path, monkeypatch):
    monkeypatch.setattr(trained, "build_engine", lambda name, *rest: name)
    assert load_trained(asking_for(run, "compiled", tmp_path)).extract == "eager"


def test_an_engine_that_is_not_here_is_told_and_pytorch_predicts(run, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(trained, "available_engines", lambda device: ("eager",))
    monkeypatch.setattr(trained, "build_engine", lambda name, *rest: name)
    assert load_trained(asking_for(run, "openvino", tmp_path)).extract == "eager"
    assert "openvino ran the frozen layers of this run and is not installed here" in caplog.text


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


def test_nothing_in_a_loaded_network_trains(run):
    assert not any(parameter.requires_grad for parameter in load_trained(run).network.parameters())


def test_a_run_that_is_not_finished_is_refused(pictures, tmp_path):
    unfinished = create_run(prepare_run(index_dataset(pictures), tiny_recipe()), tmp_path, "tiny")
    with pytest.raises(CheckpointError, match=r"(?s)is created.*fitwell resume"):
        load_trained(unfinished)


def test_the_head_makes_the_logits_of_the_embeddings(run, pictures):
    model = load_trained(run)
    network = build_network(create_backbone("test_efficientnet"), len(model.classes), Head(dropout=0.2))
    network.load_state_dict(load_best(run))
    network.eval()
    paths = list(read_split(run.split)["path"])[:5]
    with torch.inference_mode():
        logits = network.head(torch.from_numpy(model.embeddings(pictures, paths))).numpy()
    np.testing.assert_allclose(logits, model.logits(pictures, paths), atol=1e-4)


def test_the_mean_of_probabilities_has_logits_even_where_each_is_almost_certain():
    logits = np.array([[[900.0, 0.0]], [[0.0, 900.0]], [[2.0, 1.0]]])
    last = np.exp(2) / (np.exp(2) + np.exp(1))
    np.testing.assert_allclose(softmax(mean_logits(logits, several=False)), [[(1 + last) / 3, (2 - last) / 3]])
    given = np.array([[[800.0]], [[-800.0]], [[1.0]]])
    np.testing.assert_allclose(sigmoid(mean_logits(given, several=True)), [[(1 + 1 / (1 + np.exp(-1))) / 3]])
