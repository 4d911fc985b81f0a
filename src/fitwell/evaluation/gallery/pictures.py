"""The pictures of the worst mistakes as the network saw them, with heat maps of where it looked."""

from __future__ import annotations

import io
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from PIL import Image

from fitwell.data.transforms import denormalise
from fitwell.evaluation.gallery.grad_cam import grad_cam
from fitwell.evaluation.gallery.mistakes import find_confused_pairs, find_mistakes, mistakes_csv
from fitwell.evaluation.trained import Trained
from fitwell.files import write_bytes, write_text

MOST_SHOWN = 24
MOST_SIDE = 224  # pixels of a written picture
JPEG_QUALITY = 85
COLOURS = "inferno"  # even steps to the eye, also to one that does not tell red from green
STRENGTH = 0.6  # share of the colours in a heat map; the rest is the picture in grey
FOLDER = "mistakes"
ROLES = ("predicted", "actual")  # classes that have a heat map


def write_mistakes(
    folder: Path, images: pd.DataFrame, logits: NDArray[np.floating[Any]], model: Trained, root: Path
) -> dict[str, Any]:
    """Write mistakes.csv and the pictures in mistakes/ to `folder`, and return what metrics.json says about them.

    What an evaluation of the same name left there goes.

    Args:
        images: N rows with id, path, label and maybe group. logits: (N, C) in the same order.
        root: that the paths begin at.

    Returns:
        num_images: how many are wrong. confused_pairs: see `find_confused_pairs`.
        heat_map_cells: along a side of a heat map; None without mistakes, of an ensemble, or where the backbone has no
            map.
        shown: the largest losses. Each is a mistake of `find_mistakes` with its `picture`, a path in `folder`;
            `heat_maps` of the "predicted" and the "actual" class, paths or None where nothing speaks for the class;
            and `named`: the class that the pass behind the heat maps names, None where it is the predicted one.

    Raises:
        DataError: when an image cannot be decoded.
    """
    mistakes = find_mistakes(images, logits, model.classes)
    write_text(folder / "mistakes.csv", mistakes_csv(mistakes))
    shutil.rmtree(folder / FOLDER, ignore_errors=True)
    shown, cells = _show(folder, mistakes[:MOST_SHOWN], model, root) if mistakes else ([], None)
    return {
        "num_images": len(mistakes),
        "confused_pairs": find_confused_pairs(mistakes, images["label"]),
        "heat_map_cells": cells,
        "shown": shown,
    }


def _show(
    folder: Path, mistakes: list[dict[str, Any]], model: Trained, root: Path
) -> tuple[list[dict[str, Any]], int | None]:
    """Write the pictures; return `shown` and `heat_map_cells`."""
    (folder / FOLDER).mkdir()
    source = model.source(root, [mistake["path"] for mistake in mistakes])
    inputs = torch.stack([source.load(row, 0) for row in range(len(mistakes))])
    pictures = [denormalise(picture, model.preprocessing) for picture in inputs]
    for mistake, picture in zip(mistakes, pictures, strict=True):
        mistake["picture"] = _write_jpeg(folder, mistake["id"], picture)
    wanted = [[model.classes.index(mistake[role]) for role in ROLES] for mistake in mistakes]
    found = None if model.network is None else grad_cam(model.network, inputs, torch.tensor(wanted))
    if found is None:
        return mistakes, None
    heats, logits = found[0].numpy(), found[1]
    for mistake, picture, heat, number in zip(mistakes, pictures, heats, logits.argmax(dim=1).tolist(), strict=True):
        mistake["heat_maps"] = {
            role: _write_jpeg(folder, f"{mistake['id']}-{role}", lay_over(picture, values)) if values.any() else None
            for role, values in zip(ROLES, heat, strict=True)
        }
        named = model.classes[number]
        mistake["named"] = None if named == mistake["predicted"] else named
    return mistakes, heats.shape[-1]


def lay_over(picture: NDArray[np.uint8], heat: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Return the picture (S, S, 3) in grey under its heat map (h, w), from dark at 0 to bright at the maximum.

    Between the middles of its cells the heat map is interpolated.
    """
    import matplotlib as mpl

    size = (picture.shape[1], picture.shape[0])
    shares = np.asarray(Image.fromarray(heat / heat.max()).resize(size, Image.Resampling.BILINEAR))
    grey = np.asarray(Image.fromarray(picture).convert("L"))[..., None]
    colours = 255 * mpl.colormaps[COLOURS](shares)[..., :3]
    blended: NDArray[np.uint8] = (STRENGTH * colours + (1 - STRENGTH) * grey).round().astype(np.uint8)
    return blended


def _write_jpeg(folder: Path, stem: str, pixels: NDArray[np.uint8]) -> str:
    """Write the picture small and return its path in `folder`."""
    picture, file, name = Image.fromarray(pixels), io.BytesIO(), f"{FOLDER}/{stem}.jpg"
    picture.thumbnail((MOST_SIDE, MOST_SIDE))
    picture.save(file, "JPEG", quality=JPEG_QUALITY)
    write_bytes(folder / name, file.getvalue())
    return name
