import csv
from dataclasses import replace
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from timm.models.mlp_mixer import MlpMixer

from fitwell.data.decode import decode_image
from fitwell.data.preview import model_view
from fitwell.data.transforms import crop_plan
from fitwell.evaluation.gallery.pictures import COLOURS, MOST_SHOWN, STRENGTH, lay_over, write_mistakes
from fitwell.evaluation.trained import load_trained
from fitwell.model.network import build_network
from fitwell.recipe.schema import Head
from pictures import COLOURS as CLASSES

NEXT = dict(zip(CLASSES, [*list(CLASSES)[1:], next(iter(CLASSES))], strict=True))


@pytest.fixture(scope="module")
def model(fitted):
    return load_trained(fitted.run)


def mislabelled(pictures, count):
    """The first pictures of each class in turn, under the name of the next class."""
    paths = sorted((path.relative_to(pictures).as_posix() for path in pictures.rglob("*.png")), key=lambda p: p[-6:])
    chosen = paths[:count]
    labels = [NEXT[Path(path).parent.name] for path in chosen]
    return pd.DataFrame({"id": [str(number) for number in range(count)], "path": chosen, "label": labels})


def write(folder, images, model, root):
    return write_mistakes(folder, images, model.logits(root, list(images["path"])), model, root)


def test_every_picture_is_what_the_network_saw(model, pictures, tmp_path):
    shown = write(tmp_path, mislabelled(pictures, 6), model, pictures)["shown"]
    assert len(shown) == 6
    for mistake in shown:
        assert mistake["predicted"] == Path(mistake["path"]).parent.name
        seen = np.asarray(model_view(decode_image(pictures / mistake["path"]), crop_plan(model.preprocessing)))
        found = np.asarray(Image.open(tmp_path / mistake["picture"])).astype(float)
        assert found.shape == seen.shape
        assert np.abs(found.mean(axis=(0, 1)) - seen.mean(axis=(0, 1))).max() < 3  # a JPEG of noise


def test_the_worst_are_shown_and_all_are_in_the_table(model, pictures, tmp_path):
    mistakes = write(tmp_path, mislabelled(pictures, 30), model, pictures)
    assert mistakes["num_images"] == 30
    rows = list(csv.DictReader((tmp_path / "mistakes.csv").read_text().splitlines()))
    assert [row["id"] for row in rows][:MOST_SHOWN] == [mistake["id"] for mistake in mistakes["shown"]]
    losses = [float(row["loss"]) for row in rows]
    assert len(losses) == 30
    assert losses == sorted(losses, reverse=True)
    assert {(pair["actual"], pair["predicted"]) for pair in mistakes["confused_pairs"]} == {
        (NEXT[name], name) for name in CLASSES
    }


def test_the_folder_holds_what_is_named_and_nothing_of_an_evaluation_before(model, pictures, tmp_path):
    write(tmp_path, mislabelled(pictures, 9), model, pictures)
    mistakes = write(tmp_path, mislabelled(pictures, 2), model, pictures)
    named = {mistake["picture"] for mistake in mistakes["shown"]}
    named |= {name for mistake in mistakes["shown"] for name in mistake["heat_maps"].values() if name}
    assert {f"mistakes/{path.name}" for path in (tmp_path / "mistakes").iterdir()} == named
    assert len(named) > 2


def test_without_mistakes_there_are_no_pictures_not_even_former_ones(model, pictures, tmp_path):
    write(tmp_path, mislabelled(pictures, 2), model, pictures)
    images = mislabelled(pictures, 6)
    images["label"] = [Path(path).parent.name for path in images["path"]]
    assert write(tmp_path, images, model, pictures) == {
        "num_images": 0,
        "confused_pairs": [],
        "heat_map_cells": None,
        "shown": [],
    }
    assert [path.name for path in tmp_path.iterdir()] == ["mistakes.csv"]


def test_heat_maps_are_of_the_predicted_and_the_actual_class(model, pictures, tmp_path):
    mistakes = write(tmp_path, mislabelled(pictures, 6), model, pictures)
    assert mistakes["heat_map_cells"] == 2
    for mistake in mistakes["shown"]:
        assert mistake["named"] is None
        for role, name in mistake["heat_maps"].items():
            assert name in (None, f"mistakes/{mistake['id']}-{role}.jpg")
    assert all(mistake["heat_maps"]["predicted"] for mistake in mistakes["shown"])


def test_a_pass_that_names_another_class_than_the_engine_is_told(model, pictures, tmp_path):
    images = mislabelled(pictures, 3)
    turned = write_mistakes(tmp_path, images, -model.logits(pictures, list(images["path"])), model, pictures)["shown"]
    assert turned
    for mistake in turned:
        assert mistake["predicted"] != mistake["named"] == Path(mistake["path"]).parent.name


def test_a_backbone_without_a_map_has_pictures_and_no_heat_maps(model, pictures, tmp_path):
    mixer = MlpMixer(img_size=32, patch_size=8, num_blocks=1, embed_dim=8, num_classes=0)
    flat = replace(model, network=build_network(mixer, len(CLASSES), Head()))
    mistakes = write(tmp_path, mislabelled(pictures, 2), flat, pictures)
    assert mistakes["heat_map_cells"] is None
    assert [path.name for path in sorted((tmp_path / "mistakes").iterdir())] == ["0.jpg", "1.jpg"]
    assert not any("heat_maps" in mistake for mistake in mistakes["shown"])


def test_a_heat_map_is_laid_over_the_picture_in_grey():
    picture = np.full((8, 8, 3), (200, 0, 0), np.uint8)
    heat = np.array([[0.0, 0.0], [0.0, 0.5]], dtype=np.float32)
    found = lay_over(picture, heat)
    grey = 0.299 * 200
    for corner, share in (((0, 0), 0.0), ((7, 7), 1.0)):
        colour = 255 * np.array(mpl.colormaps[COLOURS](share)[:3])
        np.testing.assert_allclose(found[corner], STRENGTH * colour + (1 - STRENGTH) * grey, atol=1)
