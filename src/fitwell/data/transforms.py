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
from fitwell.data.variation import CORNERS, Augmentation, Variation, draw_variation

Floats = NDArray[np.float64]
GREY = (0.299, 0.587, 0.114)  # shares of red, green and blue; ITU-R BT.601
VARIATION_VERSION = 4  # of the pictures that a seed gives; kept activations of another version are not used


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

    In order: crop, shift, scale, rotation and perspective in one step (what lies beyond the picture gets the mean
    colour), the policy, flip, brightness, contrast, saturation, hue, normalisation, erasing. The same seed gives the
    same bits.
    """
    drawn = draw_variation(
        (pixels.shape[1], pixels.shape[0]), preprocessing.size, preprocessing.fit, augmentation, seed
    )
    flips = [axis for axis, holds in ((1, drawn.is_inverted), (2, drawn.is_mirrored)) if holds]
    picture = torch.empty(3, preprocessing.size, preprocessing.size) if out is None else out
    levels = _cut(pixels, drawn, preprocessing)
    if augmentation.policy != "none":
        levels = _apply_policy(levels, augmentation.policy, preprocessing, seed)
    levels = levels.flip(flips)
    picture.copy_(levels.mT if drawn.is_swapped else levels)
    _recolor(picture, drawn)
    for plane, mean, std in zip(picture, preprocessing.mean, preprocessing.std, strict=True):
        plane.mul_(1 / (255 * std)).sub_(mean / std)
    if drawn.erased is not None:
        top, left, height, width = drawn.erased
        picture[:, top : top + height, left : left + width] = 0.0  # zero is the mean colour now
    return picture


def _apply_policy(levels: Tensor, policy: str, preprocessing: Preprocessing, seed: int) -> Tensor:
    """Return (3, H, W) uint8 after torchvision's RandAugment or TrivialAugment, as `seed` alone decides.

    Source: Cubuk et al. 2020, arXiv:1909.13719; Müller & Hutter 2021, arXiv:2103.10158.
    """
    from torchvision.transforms import v2

    change = {"rand": v2.RandAugment, "trivial": v2.TrivialAugmentWide}[policy](fill=list(_mean_color(preprocessing)))
    before = torch.default_generator.get_state()
    torch.default_generator.manual_seed(seed % 2**63)
    try:
        changed: Tensor = change(levels.round().clamp(0, 255).to(torch.uint8))
        return changed
    finally:
        torch.default_generator.set_state(before)


def _cut(pixels: NDArray[np.uint8], drawn: Variation, preprocessing: Preprocessing) -> Tensor:
    """Return the window as (3, size, size), levels from 0 to 255: uint8, or float32 when turned or filled up.

    An upright window begins and ends between two pixels. A turned one is exact: a resize shrinks what is about it to
    the final scale without aliasing, and the turn resamples at scale 1.
    """
    window, size, height, width = drawn.window, preprocessing.size, pixels.shape[0], pixels.shape[1]
    left, top, right, bottom = _reach(drawn)
    is_upright = window.radians == 0 and drawn.perspective is None
    if is_upright and min(left, top) >= 0 and right <= width and bottom <= height:
        return _planes(resized(pixels[top:bottom, left:right], size, size, preprocessing.interpolation))
    left, top, right, bottom = max(0, left - 1), max(0, top - 1), min(width, right + 1), min(height, bottom + 1)
    fill = 255 * torch.tensor(preprocessing.mean).view(3, 1, 1)
    if left >= right or top >= bottom:  # shifted beyond the picture's edge
        return fill.expand(3, size, size).clone()
    scale = min(1.0, size / math.sqrt(window.width * window.height))
    rows, columns = _scaled(bottom - top, scale), _scaled(right - left, scale)
    part = _planes(resized(pixels[top:bottom, left:right], rows, columns, preprocessing.interpolation))
    part = part.to(torch.float32, memory_format=torch.contiguous_format).sub_(fill)  # beyond it grid_sample sees zeros
    grid = _places(drawn, (left, top, right, bottom), size)
    return F.grid_sample(part[None], grid, align_corners=False)[0].add_(fill)


def _reach(drawn: Variation) -> tuple[int, int, int, int]:
    """Return left, top, right and bottom in pixels of what a variation shows."""
    window, (corners_x, corners_y) = drawn.window, CORNERS.T
    x, y = _seen(drawn, corners_x, corners_y)
    halves = (float(x.max() - x.min()) / 2, float(y.max() - y.min()) / 2)
    if drawn.perspective is None:
        centers = (window.center_x, window.center_y)
    else:
        centers = (float(x.max() + x.min()) / 2, float(y.max() + y.min()) / 2)
    (left, right), (top, bottom) = (_whole_pixels(*each) for each in zip(centers, halves, strict=True))
    return left, top, right, bottom


def _seen(drawn: Variation, across: Floats, down: Floats) -> tuple[Floats, Floats]:
    """Return x and y in the picture of places in the training picture, from -1/2 to 1/2, before any flip."""
    window = drawn.window
    if drawn.perspective is not None:
        a, b, c, d, e, f, g, h = drawn.perspective
        depth = g * across + h * down + 1
        across, down = (a * across + b * down + c) / depth, (d * across + e * down + f) / depth
    cos, sin = math.cos(window.radians), math.sin(window.radians)
    across, down = window.width * across, window.height * down
    return window.center_x + cos * across - sin * down, window.center_y + sin * across + cos * down


def resized(pixels: NDArray[np.uint8], height: int, width: int, interpolation: str) -> NDArray[np.uint8]:
    """Return a picture (H, W, 3) as (height, width, 3), antialiased: faster than Pillow, and within 3 levels of it."""
    picture = torch.from_numpy(pixels)[None].permute(0, 3, 1, 2)
    smaller = F.interpolate(picture, (height, width), mode=interpolation, antialias=True)
    return np.ascontiguousarray(smaller[0].permute(1, 2, 0).numpy())


def _planes(pixels: NDArray[np.uint8]) -> Tensor:
    """Return a picture (H, W, 3) as (3, H, W); in memory the colours stay last."""
    return torch.from_numpy(pixels).permute(2, 0, 1)


def _places(drawn: Variation, box: tuple[int, int, int, int], size: int) -> Tensor:
    """Return (1, size, size, 2) where in the box each pixel of the training picture lies, x and y from -1 to 1."""
    steps = (np.arange(size) + 0.5) / size - 0.5
    seen = _seen(drawn, steps, steps[:, None])
    places = np.empty((1, size, size, 2), dtype=np.float32)
    for axis, (values, low, high) in enumerate(zip(seen, box[:2], box[2:], strict=True)):
        half = (high - low) / 2
        np.divide(values - (low + half), half, out=places[..., axis], casting="same_kind")
    return torch.from_numpy(places)


def _whole_pixels(center: float, reach: float) -> tuple[int, int]:
    """Return the borders between pixels next to where [center - reach, center + reach] begins and ends."""
    low = round(center - reach)
    return low, max(low + 1, round(center + reach))


def _recolor(levels: Tensor, drawn: Variation) -> None:
    """Change (3, H, W) float32 from 0 to 255 in place."""
    if drawn.brightness != 1:
        levels.mul_(drawn.brightness).clamp_(0, 255)
    if drawn.contrast != 1:
        mean = float(np.dot(GREY, levels.numpy().reshape(3, -1).mean(axis=1)))
        levels.mul_(drawn.contrast).add_((1 - drawn.contrast) * mean).clamp_(0, 255)
    if drawn.saturation != 1:
        grey = GREY[0] * levels[0] + GREY[1] * levels[1] + GREY[2] * levels[2]
        levels.mul_(drawn.saturation).add_(grey.mul_(1 - drawn.saturation)).clamp_(0, 255)
    if drawn.hue_turn != 0:
        levels.copy_(_turn_hue(levels, drawn.hue_turn))


def _turn_hue(levels: Tensor, turn: int) -> Tensor:
    """Return (3, H, W) uint8 with hues `turn` of 255 parts of the colour circle further."""
    rounded = levels.round().to(torch.uint8).permute(1, 2, 0).contiguous().numpy()
    hue, saturation, value = Image.fromarray(rounded).convert("HSV").split()
    turned = hue.point([(level + turn) % 256 for level in range(256)])
    return _planes(np.array(Image.merge("HSV", (turned, saturation, value)).convert("RGB")))


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


def denormalise(picture: Tensor, preprocessing: Preprocessing) -> NDArray[np.uint8]:
    """Return (H, W, 3), the levels that a normalised picture (3, H, W) was made of; for people to look at."""
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (preprocessing.mean, preprocessing.std))
    levels = (255 * (picture * std + mean)).round().clamp(0, 255).to(torch.uint8)
    return levels.permute(1, 2, 0).numpy()


def _mean_color(preprocessing: Preprocessing) -> tuple[int, int, int]:
    red, green, blue = (round(255 * level) for level in preprocessing.mean)
    return red, green, blue


def _scaled(side: float, scale: float) -> int:
    return max(1, round(side * scale))
