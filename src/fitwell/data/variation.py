"""What is random about a training picture: drawn from one seed, before anybody looks at a pixel."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

MIN_ASPECT, MAX_ASPECT = 3 / 4, 4 / 3  # of a training crop; Szegedy et al. 2014, arXiv:1409.4842
MIN_ERASE_ASPECT, MAX_ERASE_ASPECT = 0.3, 3.3  # Zhong et al. 2017, arXiv:1708.04896
NUM_DRAWS = 30  # always drawn, so that switching one variation off leaves the others as they are
CORNERS = np.array([[-0.5, -0.5], [0.5, -0.5], [0.5, 0.5], [-0.5, 0.5]])  # of a window, x and y

Homography = tuple[float, float, float, float, float, float, float, float]


@dataclass(frozen=True)
class Augmentation:
    """How far training pictures are varied.

    Attributes:
        rotate_degrees: largest rotation to either side.
        flip: "none", "horizontal", "vertical" or "both", each with probability one half; "dihedral" also swaps rows
            and columns with probability one half, so that each of the square's eight symmetries is as likely.
        crop_area: smallest and largest share of the picture's area that is kept.
        scale: smallest and largest factor by which what is kept is then made larger, about its centre.
        translate: largest shift, as a share of the training picture's side.
        perspective_probability, perspective_distortion: how often each corner moves inwards, and up to which share of
            half the side.
        brightness, contrast, saturation: largest relative change; 0.2 means a factor in [0.8, 1.2].
        hue: largest turn of the colour circle, 0.5 is half of it.
        grey_probability: how often a picture loses its colours.
        erase_probability, erase_area: how often a rectangle is filled with the mean colour, and its share of the area.
        policy: "rand" or "trivial" applies RandAugment or TrivialAugment besides.
    """

    rotate_degrees: float = 0.0
    flip: Literal["none", "horizontal", "vertical", "both", "dihedral"] | str = "none"
    crop_area: tuple[float, float] = (1.0, 1.0)
    scale: tuple[float, float] = (1.0, 1.0)
    translate: float = 0.0
    perspective_probability: float = 0.0
    perspective_distortion: float = 0.0
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0
    erase_probability: float = 0.0
    erase_area: tuple[float, float] = (0.02, 0.15)
    grey_probability: float = 0.0
    policy: Literal["none", "rand", "trivial"] | str = "none"


@dataclass(frozen=True)
class Window:
    """What of a picture is kept: a rectangle, turned about its centre. Source pixels; may reach beyond the picture."""

    center_x: float
    center_y: float
    width: float
    height: float
    radians: float


@dataclass(frozen=True)
class Variation:
    """How one training picture differs from what evaluation would see.

    Attributes:
        is_mirrored, is_inverted: left and right, top and bottom change places.
        is_swapped: then rows and columns do.
        perspective: a, b, c, d, e, f, g, h of the place in the window that each place of the training picture shows:
            x' = (a x + b y + c) / (g x + h y + 1) and y' = (d x + e y + f) / (g x + h y + 1), both from -1/2 to 1/2.
        brightness, contrast, saturation: factors.
        hue_turn: parts of 255 of the colour circle.
        erased: top, left, height and width in pixels of what the mean colour covers.
    """

    window: Window
    perspective: Homography | None
    is_mirrored: bool
    is_inverted: bool
    is_swapped: bool
    brightness: float
    contrast: float
    saturation: float
    hue_turn: int
    erased: tuple[int, int, int, int] | None


def draw_variation(
    picture_size: tuple[int, int], size: int, fit: str, augmentation: Augmentation, seed: int
) -> Variation:
    """Return the variation that `seed` stands for.

    Args:
        picture_size: width and height in pixels. size: side of the training picture.
        fit: as in `Preprocessing`.
    """
    draws = np.random.default_rng(seed).random(NUM_DRAWS).tolist()
    brightness, contrast, saturation = (
        1 + strength * (2 * draw - 1)
        for strength, draw in zip(
            (augmentation.brightness, augmentation.contrast, augmentation.saturation), draws[7:10], strict=True
        )
    )
    is_erased = draws[11] < augmentation.erase_probability
    is_grey = draws[20] < augmentation.grey_probability
    is_distorted = draws[21] < augmentation.perspective_probability
    return Variation(
        window=_move(_draw_window(picture_size, fit, augmentation, draws[:5]), augmentation, draws[17:20]),
        perspective=_draw_perspective(augmentation.perspective_distortion, draws[22:]) if is_distorted else None,
        is_mirrored=augmentation.flip in ("horizontal", "both", "dihedral") and draws[5] < 0.5,
        is_inverted=augmentation.flip in ("vertical", "both", "dihedral") and draws[6] < 0.5,
        is_swapped=augmentation.flip == "dihedral" and draws[16] < 0.5,
        brightness=brightness,
        contrast=contrast,
        saturation=0.0 if is_grey else saturation,
        hue_turn=round(255 * augmentation.hue * (2 * draws[10] - 1)),
        erased=_draw_erased(size, augmentation.erase_area, draws[12:]) if is_erased else None,
    )


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


def _move(window: Window, augmentation: Augmentation, draws: list[float]) -> Window:
    """Return the window of a picture that is shifted and made larger: it goes the other way, and becomes smaller."""
    low, high = augmentation.scale
    scale = low + (high - low) * draws[2]
    width, height = window.width / scale, window.height / scale
    right, down = (augmentation.translate * (2 * draw - 1) for draw in draws[:2])
    return replace(
        window,
        center_x=window.center_x - right * width,
        center_y=window.center_y - down * height,
        width=width,
        height=height,
    )


def _draw_perspective(distortion: float, draws: list[float]) -> Homography:
    """Return the map that shows each corner of the window somewhat further in; as torchvision's RandomPerspective."""
    inwards = distortion / 2 * np.array(draws).reshape(4, 2)
    shown = CORNERS - np.sign(CORNERS) * inwards
    rows, values = [], []
    for (x, y), (corner_x, corner_y) in zip(shown, CORNERS, strict=True):
        rows += [[x, y, 1, 0, 0, 0, -x * corner_x, -y * corner_x], [0, 0, 0, x, y, 1, -x * corner_y, -y * corner_y]]
        values += [corner_x, corner_y]
    a, b, c, d, e, f, g, h = np.linalg.solve(np.array(rows), np.array(values)).tolist()
    return a, b, c, d, e, f, g, h


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


def _draw_erased(size: int, area: tuple[float, float], draws: list[float]) -> tuple[int, int, int, int]:
    """Return top, left, height and width of a rectangle inside size x size."""
    kept = size * math.sqrt(area[0] + (area[1] - area[0]) * draws[0])
    aspect = math.sqrt(MIN_ERASE_ASPECT * (MAX_ERASE_ASPECT / MIN_ERASE_ASPECT) ** draws[1])
    height, width = (min(size, max(1, round(side))) for side in (kept * aspect, kept / aspect))
    return round((size - height) * draws[2]), round((size - width) * draws[3]), height, width
