"""How a picture becomes the network's input.

Evaluation is exact and the same everywhere: Pillow resizes, a table normalises. Training varies the picture by numbers
that depend on one seed only, and may be faster than exact: torch resizes it within 3 levels of 255 of Pillow, and
from there on it is float32. Sums over pixels are numpy's: those of torch change their last bit with the number of
threads, and a loader's workers have another number than the main process.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from fitwell.data.preview import CropPlan

MIN_ASPECT, MAX_ASPECT = 3 / 4, 4 / 3  # of a training crop; Szegedy et al. 2014, arXiv:1409.4842
MIN_ERASE_ASPECT, MAX_ERASE_ASPECT = 0.3, 3.3  # Zhong et al. 2017, arXiv:1708.04896
GREY = (0.299, 0.587, 0.114)  # shares of red, green and blue; ITU-R BT.601
VARIATION_VERSION = 3  # of the pictures that a seed gives; kept activations of another version are not used
NUM_DRAWS = 17  # always drawn, so that switching one variation off leaves the others as they are


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
        flip: "none", "horizontal", "vertical" or "both", each with probability one half; "dihedral" also swaps rows
            and columns with probability one half, so that each of the square's eight symmetries is as likely.
        crop_area: smallest and largest share of the picture's area that is kept.
        brightness, contrast, saturation: largest relative change; 0.2 means a factor in [0.8, 1.2].
        hue: largest turn of the colour circle, 0.5 is half of it.
        erase_probability, erase_area: how often a rectangle is filled with the mean colour, and its share of the area.
    """

    rotate_degrees: float = 0.0
    flip: Literal["none", "horizontal", "vertical", "both", "dihedral"] | str = "none"
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
    pixels: NDArray[np.uint8],
    preprocessing: Preprocessing,
    augmentation: Augmentation,
    seed: int,
    *,
    out: Tensor | None = None,
) -> Tensor:
    """Return a variation of the picture (H, W, 3) as (3, size, size) float32, normalised; in `out`, if that is given.

    In order: crop and rotation in one step (corners from beyond the picture get the mean colour), flip, brightness,
    contrast, saturation, hue, normalisation, erasing. The same seed gives the same bits.
    """
    draws = np.random.default_rng(seed).random(NUM_DRAWS).tolist()
    window = _draw_window((pixels.shape[1], pixels.shape[0]), preprocessing.fit, augmentation, draws[:5])
    is_mirrored = augmentation.flip in ("horizontal", "both", "dihedral") and draws[5] < 0.5
    is_inverted = augmentation.flip in ("vertical", "both", "dihedral") and draws[6] < 0.5
    flips = [axis for axis, holds in ((1, is_inverted), (2, is_mirrored)) if holds]
    is_swapped = augmentation.flip == "dihedral" and draws[16] < 0.5
    picture = torch.empty(3, preprocessing.size, preprocessing.size) if out is None else out
    levels = _cut(pixels, window, preprocessing).flip(flips)
    picture.copy_(levels.mT if is_swapped else levels)
    _recolor(picture, augmentation, draws[7:11])
    for plane, mean, std in zip(picture, preprocessing.mean, preprocessing.std, strict=True):
        plane.mul_(1 / (255 * std)).sub_(mean / std)
    if draws[11] < augmentation.erase_probability:
        top, left, height, width = _draw_erased(preprocessing.size, augmentation.erase_area, draws[12:])
        picture[:, top : top + height, left : left + width] = 0.0  # zero is the mean colour now
    return picture


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


def _cut(pixels: NDArray[np.uint8], window: Window, preprocessing: Preprocessing) -> Tensor:
    """Return the window as (3, size, size), levels from 0 to 255: uint8, or float32 when turned or filled up.

    An upright window begins and ends between two pixels. A turned one is exact: a resize shrinks what is about it to
    the final scale without aliasing, and the turn resamples at scale 1.
    """
    size, height, width = preprocessing.size, pixels.shape[0], pixels.shape[1]
    cos, sin = abs(math.cos(window.radians)), abs(math.sin(window.radians))
    left, right = _whole_pixels(window.center_x, (window.width * cos + window.height * sin) / 2)
    top, bottom = _whole_pixels(window.center_y, (window.width * sin + window.height * cos) / 2)
    if window.radians == 0 and min(left, top) >= 0 and right <= width and bottom <= height:
        return _planes(resized(pixels[top:bottom, left:right], size, size, preprocessing.interpolation))
    left, top, right, bottom = max(0, left - 1), max(0, top - 1), min(width, right + 1), min(height, bottom + 1)
    scale = min(1.0, size / math.sqrt(window.width * window.height))
    rows, columns = _scaled(bottom - top, scale), _scaled(right - left, scale)
    part = _planes(resized(pixels[top:bottom, left:right], rows, columns, preprocessing.interpolation))
    fill = 255 * torch.tensor(preprocessing.mean).view(3, 1, 1)
    part = part.to(torch.float32, memory_format=torch.contiguous_format).sub_(fill)  # beyond it grid_sample sees zeros
    grid = _places(window, (left, top, right, bottom), size)
    return F.grid_sample(part[None], grid, align_corners=False)[0].add_(fill)


def resized(pixels: NDArray[np.uint8], height: int, width: int, interpolation: str) -> NDArray[np.uint8]:
    """Return a picture (H, W, 3) as (height, width, 3), antialiased: faster than Pillow, and within 3 levels of it."""
    picture = torch.from_numpy(pixels)[None].permute(0, 3, 1, 2)
    smaller = F.interpolate(picture, (height, width), mode=interpolation, antialias=True)
    return np.ascontiguousarray(smaller[0].permute(1, 2, 0).numpy())


def _planes(pixels: NDArray[np.uint8]) -> Tensor:
    """Return a picture (H, W, 3) as (3, H, W); in memory the colours stay last."""
    return torch.from_numpy(pixels).permute(2, 0, 1)


def _places(window: Window, box: tuple[int, int, int, int], size: int) -> Tensor:
    """Return (1, size, size, 2) where in the box each pixel of the window lies: x and y, from -1 to 1 inside."""
    left, top, right, bottom = box
    cos, sin = math.cos(window.radians), math.sin(window.radians)
    steps = (np.arange(size, dtype=np.float32) + 0.5) / size - 0.5  # shares of the window, from its centre
    across, down = window.width * steps, window.height * steps[:, None]
    places = np.empty((1, size, size, 2), dtype=np.float32)
    for axis, low, high, center, x, y in (
        (0, left, right, window.center_x, cos * across, -sin * down),
        (1, top, bottom, window.center_y, sin * across, cos * down),
    ):
        half = (high - low) / 2
        np.add((x + (center - low)) / half - 1, y / half, out=places[..., axis])
    return torch.from_numpy(places)


def _whole_pixels(center: float, reach: float) -> tuple[int, int]:
    """Return the borders between pixels next to where [center - reach, center + reach] begins and ends."""
    low = round(center - reach)
    return low, max(low + 1, round(center + reach))


def _recolor(levels: Tensor, augmentation: Augmentation, draws: list[float]) -> None:
    """Change (3, H, W) float32 from 0 to 255 in place."""
    brightness, contrast, saturation = (
        1 + strength * (2 * draw - 1)
        for strength, draw in zip(
            (augmentation.brightness, augmentation.contrast, augmentation.saturation), draws[:3], strict=True
        )
    )
    if augmentation.brightness > 0:
        levels.mul_(brightness).clamp_(0, 255)
    if augmentation.contrast > 0:
        mean = float(np.dot(GREY, levels.numpy().reshape(3, -1).mean(axis=1)))
        levels.mul_(contrast).add_((1 - contrast) * mean).clamp_(0, 255)
    if augmentation.saturation > 0:
        grey = GREY[0] * levels[0] + GREY[1] * levels[1] + GREY[2] * levels[2]
        levels.mul_(saturation).add_(grey.mul_(1 - saturation)).clamp_(0, 255)
    turn = round(255 * augmentation.hue * (2 * draws[3] - 1))
    if turn != 0:
        levels.copy_(_turn_hue(levels, turn))


def _turn_hue(levels: Tensor, turn: int) -> Tensor:
    """Return (3, H, W) uint8 with hues `turn` of 255 parts of the colour circle further."""
    rounded = levels.round().to(torch.uint8).permute(1, 2, 0).contiguous().numpy()
    hue, saturation, value = Image.fromarray(rounded).convert("HSV").split()
    turned = hue.point([(level + turn) % 256 for level in range(256)])
    return _planes(np.array(Image.merge("HSV", (turned, saturation, value)).convert("RGB")))


def _draw_erased(size: int, area: tuple[float, float], draws: list[float]) -> tuple[int, int, int, int]:
    """Return top, left, height and width of a rectangle inside size x size."""
    kept = size * math.sqrt(area[0] + (area[1] - area[0]) * draws[0])
    aspect = math.sqrt(MIN_ERASE_ASPECT * (MAX_ERASE_ASPECT / MIN_ERASE_ASPECT) ** draws[1])
    height, width = (min(size, max(1, round(side))) for side in (kept * aspect, kept / aspect))
    return round((size - height) * draws[2]), round((size - width) * draws[3]), height, width


def normalise(pixels: NDArray[np.uint8], preprocessing: Preprocessing, *, out: Tensor | None = None) -> Tensor:
    """Return (3, H, W) float32 of (H, W, 3): (value / 255 - mean) / std, computed in float64 and rounded once.

    In `out`, if that is given.
    """
    levels = np.arange(256) / 255
    picture = torch.empty(3, *pixels.shape[:2]) if out is None else out
    for channel, (mean, std) in enumerate(zip(preprocessing.mean, preprocessing.std, strict=True)):
        table = ((levels - mean) / std).astype(np.float32)
        np.take(table, pixels[..., channel], out=picture[channel].numpy(), mode="clip")  # "clip" spares a copy
    return picture


def _mean_color(preprocessing: Preprocessing) -> tuple[int, int, int]:
    red, green, blue = (round(255 * level) for level in preprocessing.mean)
    return red, green, blue


def _scaled(side: float, scale: float) -> int:
    return max(1, round(side * scale))
