"""A sheet of training pictures beside what evaluation sees of them: is each still recognisable?"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from PIL import Image

from fitwell.data.loader import ImageSource
from fitwell.data.transforms import denormalise

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
            tile = Image.fromarray(denormalise(picture, source.preprocessing))
            sheet.paste(
                tile.resize((TILE, TILE), Image.Resampling.LANCZOS), (column * (TILE + GAP), row * (TILE + GAP))
            )
    return sheet
