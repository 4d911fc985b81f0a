"""How a picture becomes the network's input.

Evaluation is exact and the same everywhere. Training varies the picture by numbers that depend on one seed only.
Pixels are worked on by Pillow and numpy in one thread: a sum over pixels in torch changes its last bit with the
number of threads, and a loader's workers have another number than the main process.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageEnhance

from fitwell.data.preview import RESAMPLING, CropPlan

MIN_ASPECT, MAX_ASPECT = 3 / 4, 4 / 3  # of a training crop; Szegedy et al. 2014, arXiv:1409.4842
MIN_ERASE_ASPECT, MAX_ERASE_ASPECT = 0.3, 3.3  # Zhong et al. 2017, arXiv:1708.04896
NUM_DRAWS = 16  # always drawn, so that switching one variation off leaves the others as they are


@dataclass(frozen=True)
class Preprocessing:
    """The exact way from a picture to the network's input.

    Attributes:
        size: side of the input in pixels.
        fit: "crop" keeps the centre, "pad" keeps all and fills up with the mean colour, "squash" keeps all and
            changes the aspect.
        crop_fraction: share of the shorter side that the centre crop keeps; only for "crop".
        mean, std: of red, green and blue in [0, 1].
        interpolation: "bicubic" or "bilinear", antialiased.
    """

    size: int
    fit: Literal["crop", "pad", "squash"] | str
    crop_fraction: float
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    interpolation: Literal["bicubic", "bilinear"] | str


@dataclass(frozen=True)
class Augmentation:
    """How far training pictures are varied.

    Attributes:
        rotate_degrees: largest rotation to either side.
        flip: "none", "horizontal", "vertical" or "both", each with probability one half.
        crop_area: smallest and largest share of the picture's area that is kept.
        brightness, contrast, saturation: largest relative change; 0.2 means a factor in [0.8, 1.2].
        hue: largest turn of the colour circle, 0.5 is half of it.
        erase_probability, erase_area: how often a rectangle is filled with the mean colour, and its share of the area.
    """

    rotate_degrees: float = 0.0
    flip: Literal["none", "horizontal", "vertical", "both"] | str = "none"
    crop_area: tuple[float, float] = (1.0, 1.0)
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0
    erase_probability: float = 0.0
    erase_area: tuple[float, float] = (0.02, 0.15)


@dataclass(frozen=True)
class Window:
    """What of a picture is kept: a rectangle, turned about its centre. Source pixels; may reach beyond the picture."""

    center_x: float
    center_y: float
    width: float
    height: float
    radians: float


def crop_plan(preprocessing: Preprocessing) -> CropPlan:
    """Return how evaluation fits a picture into the network's input."""
    return CropPlan(
        preprocessing.size,
        preprocessing.fit,
        preprocessing.crop_fraction,
        preprocessing.interpolation,
        _mean_color(preprocessing),
    )


def training_tensor(
    image: Image.Image, preprocessing: Preprocessing, augmentation: Augmentation, seed: int
) -> torch.Tensor:
    """Return a variation of the picture as (3, size, size) float32, normalised.

    In order: crop and rotation in one step (corners from beyond the picture get the mean colour), flip, brightness,
    contrast, saturation, hue, normalisation, erasing. The same seed gives the same bits.
    """
    draws = np.random.default_rng(seed).random(NUM_DRAWS).tolist()
    window = _draw_window(image.size, preprocessing.fit, augmentation, draws[:5])
    picture = _cut(image, window, preprocessing)
    if augmentation.flip in ("horizontal", "both") and draws[5] < 0.5:
        picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    if augmentation.flip in ("vertical", "both") and draws[6] < 0.5:
        picture = picture.transpose(Image.Transpose.FLIP_TOP_BOTTOM)
    picture = _recolor(picture, augmentation, draws[7:11])
    tensor = normalise(picture, preprocessing)
    if draws[11] < augmentation.erase_probability:
        top, left, height, width = _draw_erased(preprocessing.size, augmentation.erase_area, draws[12:])
        tensor[:, top : top + height, left : left + width] = 0.0  # zero is the mean colour now
    return tensor


def _draw_window(size: tuple[int, int], fit: str, augmentation: Augmentation, draws: list[float]) -> Window:
    """Return what to keep: for "crop" a part of the picture with an aspect of its own, for "squash" a part with the
    picture's aspect, for "pad" a part of the padded square."""
    width, height = float(size[0]), float(size[1])
    low, high = augmentation.crop_area
    area = low + (high - low) * draws[0]
    radians = math.radians(augmentation.rotate_degrees * (2 * draws[4] - 1))
    field_width = field_height = max(width, height)
    if fit == "pad":
        kept_width = kept_height = field_width * math.sqrt(area)
    else:
        field_width, field_height = width, height
        kept_width, kept_height = width * math.sqrt(area), height * math.sqrt(area)
        if fit == "crop":
            kept_width, kept_height = _draw_sides(width, height, area, draws[1])
    center_x = width / 2 + (field_width - kept_width) * (draws[2] - 0.5)
    center_y = height / 2 + (field_height - kept_height) * (draws[3] - 0.5)
    return Window(center_x, center_y, kept_width, kept_height, radians)


def _draw_sides(width: float, height: float, area: float, draw: float) -> tuple[float, float]:
    """Return width and height of a crop: its aspect is log-uniform over the aspects that fit into the picture."""
    low = max(MIN_ASPECT, area * width / height)
    high = min(MAX_ASPECT, width / (area * height))
    if low > high:  # no such crop has this area: take the largest one
        aspect = MAX_ASPECT if width > height else MIN_ASPECT
        return min(width, height * aspect), min(height, width / aspect)
    aspect = low * (high / low) ** draw
    side = math.sqrt(area * width * height)
    return side * math.sqrt(aspect), side / math.sqrt(aspect)


def _cut(image: Image.Image, window: Window, preprocessing: Preprocessing) -> Image.Image:
    """Return the window as a picture of size x size pixels.

    Shrinking is antialiased by a resize to about the final scale; the turn that follows resamples at scale 1.
    """
    size, resample = preprocessing.size, RESAMPLING[preprocessing.interpolation]
    cos, sin = math.cos(window.radians), math.sin(window.radians)
    reach_x = (window.width * abs(cos) + window.height * abs(sin)) / 2
    reach_y = (window.width * abs(sin) + window.height * abs(cos)) / 2
    left, right = _clip(window.center_x, reach_x, image.width)
    top, bottom = _clip(window.center_y, reach_y, image.height)
    is_inside = math.isclose(right - left, 2 * reach_x) and math.isclose(bottom - top, 2 * reach_y)
    if window.radians == 0 and is_inside:
        return image.resize((size, size), resample, box=(left, top, right, bottom))
    scale = min(1.0, size / math.sqrt(window.width * window.height))
    part = image.resize(
        (_scaled(right - left, scale), _scaled(bottom - top, scale)), resample, box=(left, top, right, bottom)
    )
    to_part_x, to_part_y = part.width / (right - left), part.height / (bottom - top)
    step_x, step_y = window.width / size, window.height / size  # source pixels per output pixel
    across = (cos * step_x * to_part_x, -sin * step_y * to_part_x)
    down = (sin * step_x * to_part_y, cos * step_y * to_part_y)
    start_x = (window.center_x - left) * to_part_x - (across[0] + across[1]) * size / 2
    start_y = (window.center_y - top) * to_part_y - (down[0] + down[1]) * size / 2
    return part.transform(
        (size, size),
        Image.Transform.AFFINE,
        (*across, start_x, *down, start_y),
        Image.Resampling.BILINEAR,
        fillcolor=_mean_color(preprocessing),
    )


def _clip(center: float, reach: float, side: int) -> tuple[float, float]:
    """Return where [center - reach, center + reach] begins and ends inside [0, side]."""
    return max(0.0, center - reach), min(float(side), center + reach)


def _recolor(picture: Image.Image, augmentation: Augmentation, draws: list[float]) -> Image.Image:
    for enhance, strength, draw in (
        (ImageEnhance.Brightness, augmentation.brightness, draws[0]),
        (ImageEnhance.Contrast, augmentation.contrast, draws[1]),
        (ImageEnhance.Color, augmentation.saturation, draws[2]),
    ):
        if strength > 0:
            picture = enhance(picture).enhance(1 + strength * (2 * draw - 1))
    turn = round(255 * augmentation.hue * (2 * draws[3] - 1))
    if turn == 0:
        return picture
    hue, saturation, value = picture.convert("HSV").split()
    turned = hue.point([(level + turn) % 256 for level in range(256)])
    return Image.merge("HSV", (turned, saturation, value)).convert("RGB")


def _draw_erased(size: int, area: tuple[float, float], draws: list[float]) -> tuple[int, int, int, int]:
    """Return top, left, height and width of a rectangle inside size x size."""
    kept = size * math.sqrt(area[0] + (area[1] - area[0]) * draws[0])
    aspect = math.sqrt(MIN_ERASE_ASPECT * (MAX_ERASE_ASPECT / MIN_ERASE_ASPECT) ** draws[1])
    height, width = (min(size, max(1, round(side))) for side in (kept * aspect, kept / aspect))
    return round((size - height) * draws[2]), round((size - width) * draws[3]), height, width


def normalise(picture: Image.Image, preprocessing: Preprocessing) -> torch.Tensor:
    """Return (3, H, W) float32: (value / 255 - mean) / std of each channel, computed in float64 and rounded once."""
    pixels: NDArray[Any] = np.asarray(picture)  # (H, W, 3) uint8
    levels = np.arange(256) / 255
    planes = np.empty((3, *pixels.shape[:2]), dtype=np.float32)
    for channel, (mean, std) in enumerate(zip(preprocessing.mean, preprocessing.std, strict=True)):
        table = ((levels - mean) / std).astype(np.float32)
        np.take(table, pixels[..., channel], out=planes[channel], mode="clip")  # "clip" spares a copy
    return torch.from_numpy(planes)


def _mean_color(preprocessing: Preprocessing) -> tuple[int, int, int]:
    red, green, blue = (round(255 * level) for level in preprocessing.mean)
    return red, green, blue


def _scaled(side: float, scale: float) -> int:
    return max(1, round(side * scale))
