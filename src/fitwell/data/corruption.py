"""Common corruptions of a picture that the network is about to see: noise, blur, compression, light, small movements.

The levels of noise, blur, compression and contrast are 1, 3 and 5 of ImageNet-C, whose pictures have 224 pixels a side;
blur is scaled to the side at hand. ImageNet-C adds its levels of brightness to the HSV value; here they are
added to 1, or taken from it, to be a factor. Shift and rotation are not in ImageNet-C: their levels are chosen here.

Source: Hendrycks & Dietterich 2019, arXiv:1903.12261; levels from github.com/hendrycks/robustness, imagenet_c.
"""

from __future__ import annotations

import hashlib
import io
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as v2

LEVELS: dict[str, tuple[float, ...]] = {
    "gaussian_noise": (0.08, 0.18, 0.38),  # standard deviation; white is 1
    "gaussian_blur": (1, 3, 6),  # standard deviation in pixels of 224
    "jpeg_compression": (25, 15, 7),  # quality
    "brightness_up": (1.1, 1.3, 1.5),  # factor
    "brightness_down": (0.9, 0.7, 0.5),  # factor
    "contrast_down": (0.4, 0.2, 0.05),  # share of the distance from the mean grey that is kept
    "shift": (0.02, 0.05, 0.1),  # share of the side, in any direction
    "rotation": (2, 5, 10),  # degrees, to either side
}
REFERENCE_SIDE = 224  # pixels of ImageNet-C's pictures
REACH = 4  # standard deviations of blur that are summed
MARGIN = 0.125  # share of the side mirrored around the picture: more than any shift or rotation uncovers


@dataclass(frozen=True)
class Corruption:
    """One of `LEVELS` by name, and its severity from 1."""

    name: str
    severity: int

    @property
    def level(self) -> float:
        """Return how strong it is, in the unit that `LEVELS` says."""
        return LEVELS[self.name][self.severity - 1]


CORRUPTIONS = tuple(Corruption(name, place + 1) for name, levels in LEVELS.items() for place in range(len(levels)))


def corrupt(pixels: NDArray[np.uint8], corruption: Corruption) -> NDArray[np.uint8]:
    """Return the square picture (S, S, 3) corrupted; the same pixels give the same result, whatever came before.

    What is random, noise and the direction of a movement, is drawn from a seed that the pixels are hashed to, and is
    the same at every severity.
    """
    digest = hashlib.blake2b(pixels.tobytes(), digest_size=8, key=corruption.name.encode()).digest()
    rng = np.random.default_rng(int.from_bytes(digest, "little"))
    picture = torch.from_numpy(pixels).permute(2, 0, 1)
    levels = OPERATIONS[corruption.name](picture, corruption.level, rng)
    if levels.is_floating_point():
        levels = levels.round().clamp(0, 255).to(torch.uint8)
    return np.ascontiguousarray(levels.permute(1, 2, 0).numpy())


def _add_noise(picture: Tensor, level: float, rng: np.random.Generator) -> Tensor:
    return picture + 255 * level * torch.from_numpy(rng.standard_normal(tuple(picture.shape), dtype=np.float32))


def _blur(picture: Tensor, level: float, _: np.random.Generator) -> Tensor:
    """Blur along rows, then along columns: for the widest kernel 4 ms instead of 41 at 224 pixels."""
    side = picture.shape[-1]
    sigma = level * side / REFERENCE_SIDE
    width = 2 * min(math.ceil(REACH * sigma), side - 1) + 1
    rows = v2.gaussian_blur(picture.to(torch.float32), [width, 1], [sigma, sigma])
    blurred: Tensor = v2.gaussian_blur(rows, [1, width], [sigma, sigma])
    return blurred


def _compress(picture: Tensor, level: float, _: np.random.Generator) -> Tensor:
    """Compress with Pillow: torchvision announces that its own codec will go."""
    file = io.BytesIO()
    Image.fromarray(picture.permute(1, 2, 0).numpy()).save(file, "jpeg", quality=int(level))
    return torch.from_numpy(np.array(Image.open(file))).permute(2, 0, 1)


def _shift(picture: Tensor, level: float, rng: np.random.Generator) -> Tensor:
    side, margin, direction = picture.shape[-1], _margin(picture), rng.uniform(0, 2 * math.pi)
    down, across = (round(level * side * part(direction)) for part in (math.sin, math.cos))
    shifted: Tensor = v2.crop(_mirrored(picture), margin - down, margin - across, side, side)
    return shifted


def _rotate(picture: Tensor, level: float, rng: np.random.Generator) -> Tensor:
    degrees = level * rng.choice([-1, 1])
    rotated = v2.rotate(_mirrored(picture), degrees, interpolation=InterpolationMode.BILINEAR)
    middle: Tensor = v2.center_crop(rotated, [picture.shape[-1]])
    return middle


def _mirrored(picture: Tensor) -> Tensor:
    """Return the picture with a margin all around in which it is mirrored."""
    wider: Tensor = v2.pad(picture, [_margin(picture)], padding_mode="reflect")
    return wider


def _margin(picture: Tensor) -> int:
    return math.ceil(MARGIN * picture.shape[-1])


OPERATIONS: dict[str, Callable[[Tensor, float, np.random.Generator], Tensor]] = {
    "gaussian_noise": _add_noise,
    "gaussian_blur": _blur,
    "jpeg_compression": _compress,
    "brightness_up": lambda picture, level, _: v2.adjust_brightness(picture, level),
    "brightness_down": lambda picture, level, _: v2.adjust_brightness(picture, level),
    "contrast_down": lambda picture, level, _: v2.adjust_contrast(picture, level),
    "shift": _shift,
    "rotation": _rotate,
}
