"""What the network sees of a picture in evaluation.

The one place where a picture becomes a square: evaluation turns the result into numbers (`transforms`), the page of
findings shows it to people. Needs Pillow and numpy only; never reaches torch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image

RESAMPLING = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}
MOST_ASPECT = 16  # of what a centre crop is scaled from; all of 1 x 20,000 pixels would take gigabytes


@dataclass(frozen=True)
class CropPlan:
    """How a picture is fitted into the network's square input.

    Attributes:
        size: side of the input in pixels.
        fit: "crop" keeps the centre, "pad" keeps all and fills up, "squash" keeps all and changes the aspect.
        crop_fraction: share of the shorter side that the centre crop keeps, in (0, 1]; only for "crop".
        interpolation: "bicubic" or "bilinear", antialiased.
        background: red, green and blue in [0, 255] that "pad" fills up with; by default ImageNet's mean.
    """

    size: int
    fit: Literal["crop", "pad", "squash"] | str
    crop_fraction: float
    interpolation: Literal["bicubic", "bilinear"] | str = "bicubic"
    background: tuple[int, int, int] = (124, 116, 104)


def model_view(image: Image.Image, plan: CropPlan) -> Image.Image:
    """Return the picture as the network sees it, size x size pixels.

    "crop" scales the shorter side to floor(size / crop_fraction) and keeps the centre, as timm does.
    """
    size, resample = plan.size, RESAMPLING[plan.interpolation]
    if plan.fit == "squash":
        return image.resize((size, size), resample)
    if plan.fit == "pad":
        scale = size / max(image.size)
        inner = image.resize((max(1, round(image.width * scale)), max(1, round(image.height * scale))), resample)
        square = Image.new("RGB", (size, size), plan.background)
        square.paste(inner, ((size - inner.width) // 2, (size - inner.height) // 2))
        return square
    image = _drop_far_ends(image)
    width, height, left, top = _place_crop(image.size, plan)
    if image.width > image.height:  # Pillow scales it across, rounds, then scales down only the columns that stay
        image = image.resize((width, image.height), resample).crop((left, 0, left + size, image.height))
        width, left = size, 0
    return image.resize((width, height), resample).crop((left, top, left + size, top + size))


def kept_box(size: tuple[int, int], plan: CropPlan) -> tuple[float, float, float, float]:
    """Return left, top, right and bottom of what the network sees of a picture of `size`, as shares of its sides."""
    if plan.fit != "crop":
        return 0.0, 0.0, 1.0, 1.0
    width, height, left, top = _place_crop(size, plan)
    return left / width, top / height, (left + plan.size) / width, (top + plan.size) / height


def kept_areas(widths: ArrayLike, heights: ArrayLike, plan: CropPlan) -> NDArray[np.float64]:
    """Return (N,) the share of each picture's area that the network sees, in (0, 1], but for rounding to pixels."""
    shorter, longer = np.minimum(widths, heights), np.maximum(widths, heights)
    return plan.crop_fraction**2 * shorter / longer if plan.fit == "crop" else np.ones(len(shorter))


def enlargements(widths: ArrayLike, heights: ArrayLike, plan: CropPlan) -> NDArray[np.float64]:
    """Return (N,) how many pixels wide one pixel of each picture becomes; for "squash" along its shorter side."""
    if plan.fit == "pad":
        return plan.size / np.maximum(widths, heights)
    scaled = plan.size / plan.crop_fraction if plan.fit == "crop" else plan.size
    return scaled / np.minimum(widths, heights)


def _drop_far_ends(image: Image.Image) -> Image.Image:
    """Return the middle of a very long picture, from which the centre crop is the same; others as they are."""
    left, top = (max(0, side - MOST_ASPECT * min(image.size)) // 2 for side in image.size)
    return image.crop((left, top, image.width - left, image.height - top)) if left or top else image


def _place_crop(size: tuple[int, int], plan: CropPlan) -> tuple[int, int, int, int]:
    """Return width and height of the scaled picture, and the left and top corner of the crop in it.

    torchvision's rule: the longer side is rounded down, the crop's corner is rounded half to even.
    """
    shorter = math.floor(plan.size / plan.crop_fraction)
    width, height = (max(shorter, shorter * side // min(size)) for side in size)
    return width, height, round((width - plan.size) / 2), round((height - plan.size) / 2)
