"""A sheet of training pictures beside what evaluation sees of them: is each still recognisable?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from fitwell.data.loader import ImageSource
from fitwell.data.transforms import denormalise

ROWS, COLUMNS = 6, 8
TILE = 128  # side in pixels
GAP = 4


def contact_sheet(source: ImageSource, join: Callable[[Tensor], Tensor | None] = lambda images: None) -> Image.Image:
    """Return a sheet with a row for each of some images, evenly spread over `source`.

    The first picture of a row is what evaluation sees, the others are those of the first epochs. A last row shows
    images joined with one another, where `join` does that to (B, 3, S, S).

    Raises:
        DataError: when an image cannot be decoded.
    """
    plain = replace(source, augmentation=None)
    rows = [
        [plain.load(image, 0), *(source.load(image, epoch) for epoch in range(COLUMNS - 1))]
        for image in _spread(len(source), ROWS)
    ]
    joined = join(torch.stack([source.load(image, 0) for image in _spread(len(source), COLUMNS)]))
    rows += [] if joined is None else [list(joined)]
    width, height = (count * (TILE + GAP) - GAP for count in (COLUMNS, len(rows)))
    sheet = Image.new("RGB", (width, height), "white")
    for row, pictures in enumerate(rows):
        for column, picture in enumerate(pictures):
            tile = Image.fromarray(denormalise(picture, source.preprocessing))
            sheet.paste(
                tile.resize((TILE, TILE), Image.Resampling.LANCZOS), (column * (TILE + GAP), row * (TILE + GAP))
            )
    return sheet


def _spread(total: int, count: int) -> list[int]:
    """Return at most `count` different numbers from 0 to `total` - 1, evenly spread."""
    spread: list[int] = np.unique(np.linspace(0, total - 1, count).astype(int)).tolist()
    return spread
