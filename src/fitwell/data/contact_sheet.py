"""A sheet of training pictures beside what evaluation sees of them: is each still recognisable?"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from PIL import Image

from fitwell.data.loader import ImageSource
from fitwell.data.transforms import Preprocessing

ROWS, COLUMNS = 6, 8
TILE = 128  # side in pixels
GAP = 4


def contact_sheet(source: ImageSource) -> Image.Image:
    """Return a sheet with a row for each of some images, evenly spread over `source`.

    The first picture of a row is what evaluation sees, the others are those of the first epochs.

    Raises:
        DataError: when an image cannot be decoded.
    """
    images = np.unique(np.linspace(0, len(source) - 1, ROWS).astype(int)).tolist()
    plain = replace(source, augmentation=None)
    width, height = (count * (TILE + GAP) - GAP for count in (COLUMNS, len(images)))
    sheet = Image.new("RGB", (width, height), "white")
    for row, image in enumerate(images):
        varied = (source.load(image, epoch) for epoch in range(COLUMNS - 1))
        for column, picture in enumerate([plain.load(image, 0), *varied]):
            tile = _to_image(picture, source.preprocessing)
            sheet.paste(tile, (column * (TILE + GAP), row * (TILE + GAP)))
    return sheet


def _to_image(picture: torch.Tensor, preprocessing: Preprocessing) -> Image.Image:
    """Return the (3, S, S) float32 that a network sees as a tile."""
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (preprocessing.mean, preprocessing.std))
    levels = (255 * (picture * std + mean)).round().clamp(0, 255).to(torch.uint8)
    return Image.fromarray(levels.permute(1, 2, 0).numpy()).resize((TILE, TILE), Image.Resampling.LANCZOS)
