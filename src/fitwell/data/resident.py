"""Training pictures that live on the accelerator, and are varied there a whole batch at a time.

Each picture varies as `transforms.training_tensor` would vary it, by the same seed: the places are the same, the levels
close, because a batch is sampled at twice the size and averaged instead of resized without aliasing.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from fitwell.data.loader import ImageSource, Indices, Loaded
from fitwell.data.transforms import GREY, Preprocessing
from fitwell.data.variation import Variation, draw_variation

OVERSAMPLING = 2  # samples along each side of a pixel: enough for pictures prepared at most that much larger


class ResidentImages:
    """All pictures of a source, as uint8 (3, H, W) on one device.

    Args:
        source: images with an augmentation.
        threads: that decode.

    Raises:
        DataError: when an image cannot be decoded.
    """

    def __init__(self, source: ImageSource, device: str, *, threads: int) -> None:
        if source.augmentation is None:
            raise ValueError("pictures that are not varied need no ResidentImages; expected an augmentation.")
        self.source, self._augmentation = source, source.augmentation
        with ThreadPoolExecutor(threads) as pool:
            self._pictures = [
                torch.from_numpy(pixels).permute(2, 0, 1).to(device)
                for pixels in pool.map(source.prepared, range(len(source)))
            ]

    def batches(self, batches: Sequence[Indices], *, epoch: int) -> Iterator[Loaded]:
        """Yield (images (B, 3, S, S) float32 on the device, indices (B,)) for each of `batches`, in their order."""
        source, preprocessing = self.source, self.source.preprocessing
        for indices in batches:
            pictures = [self._pictures[image] for image in indices.tolist()]
            drawn = [
                draw_variation(
                    (picture.shape[2], picture.shape[1]),
                    preprocessing.size,
                    preprocessing.fit,
                    self._augmentation,
                    source.variation_seed(image, epoch),
                )
                for image, picture in zip(indices.tolist(), pictures, strict=True)
            ]
            yield vary(pictures, drawn, preprocessing), indices


def vary(pictures: Sequence[Tensor], drawn: Sequence[Variation], preprocessing: Preprocessing) -> Tensor:
    """Return (B, 3, S, S) float32, normalised: every picture (3, H, W) uint8 with its variation, all at once."""
    device, size = pictures[0].device, preprocessing.size
    fill = 255 * torch.tensor(preprocessing.mean, device=device).view(1, 3, 1, 1)
    canvas = torch.zeros(len(pictures), 3, *_largest(pictures), device=device)
    for place, picture in zip(canvas, pictures, strict=True):
        place[:, : picture.shape[1], : picture.shape[2]] = picture - fill[0]  # beyond it grid_sample sees zeros
    maps = np.stack([_to_source(each, canvas.shape[3], canvas.shape[2]) for each in drawn])
    grid = _places(torch.tensor(maps, dtype=torch.float32, device=device), OVERSAMPLING * size)
    levels = F.avg_pool2d(F.grid_sample(canvas, grid, align_corners=False), OVERSAMPLING) + fill
    levels = _recolor(levels, drawn)
    levels = (levels - fill) / (255 * torch.tensor(preprocessing.std, device=device).view(1, 3, 1, 1))
    for picture, each in zip(levels, drawn, strict=True):
        if each.erased is not None:
            top, left, height, width = each.erased
            picture[:, top : top + height, left : left + width] = 0.0  # zero is the mean colour now
    return levels


def _largest(pictures: Sequence[Tensor]) -> tuple[int, int]:
    return max(picture.shape[1] for picture in pictures), max(picture.shape[2] for picture in pictures)


def _places(maps: Tensor, size: int) -> Tensor:
    """Return (B, size, size, 2) where each pixel lies in the canvas, x and y from -1 to 1, by `maps` (B, 3, 3)."""
    count = len(maps)
    if bool((maps[:, 2] == torch.tensor([0.0, 0.0, 1.0], device=maps.device)).all()):
        return F.affine_grid(maps[:, :2], [count, 3, size, size], align_corners=False)
    steps = (2 * torch.arange(size, device=maps.device) + 1) / size - 1
    down, across = torch.meshgrid(steps, steps, indexing="ij")
    seen = torch.stack([across, down, torch.ones_like(across)], dim=2).view(1, -1, 3) @ maps.mT
    return (seen[..., :2] / seen[..., 2:]).view(count, size, size, 2)


def _to_source(drawn: Variation, width: int, height: int) -> NDArray[np.float64]:
    """Return (3, 3): from a place in the training picture to one in a canvas of `width` x `height`, both -1 to 1."""
    window = drawn.window
    flip = np.diag([-1.0 if drawn.is_mirrored else 1.0, -1.0 if drawn.is_inverted else 1.0, 1.0])
    if drawn.is_swapped:
        flip = flip[:, [1, 0, 2]]
    cos, sin = math.cos(window.radians), math.sin(window.radians)
    turn = np.array(
        [
            [cos * window.width / width, -sin * window.height / width, 2 * window.center_x / width - 1],
            [sin * window.width / height, cos * window.height / height, 2 * window.center_y / height - 1],
            [0.0, 0.0, 1.0],
        ]
    )
    if drawn.perspective is None:
        return np.asarray(turn @ flip)
    halves = np.diag([0.5, 0.5, 1.0])  # the perspective is drawn for places from -1/2 to 1/2
    perspective = np.array([*drawn.perspective, 1.0]).reshape(3, 3)
    return np.asarray(turn @ np.linalg.inv(halves) @ perspective @ halves @ flip)


def _recolor(levels: Tensor, drawn: Sequence[Variation]) -> Tensor:
    """Return (B, 3, S, S) from 0 to 255 with the brightness, contrast, saturation and hue of each picture changed."""

    def factors(name: str) -> Tensor:
        return torch.tensor([getattr(each, name) for each in drawn], device=levels.device).view(-1, 1, 1, 1)

    def grey(colors: Tensor) -> Tensor:
        return (colors * torch.tensor(GREY, device=levels.device).view(1, 3, 1, 1)).sum(dim=1, keepdim=True)

    levels = (levels * factors("brightness")).clamp(0, 255)
    contrast, saturation = factors("contrast"), factors("saturation")
    levels = (levels * contrast + (1 - contrast) * grey(levels).mean(dim=(2, 3), keepdim=True)).clamp(0, 255)
    levels = (levels * saturation + (1 - saturation) * grey(levels)).clamp(0, 255)
    return _turn_hue(levels, factors("hue_turn") / 255) if any(each.hue_turn for each in drawn) else levels


def _turn_hue(levels: Tensor, turns: Tensor) -> Tensor:
    """Return (B, 3, S, S) with hues `turns` (B, 1, 1, 1) of the colour circle further. Source: Smith 1978, HSV."""
    red, green, blue = levels.unbind(dim=1)
    value, lowest = levels.amax(dim=1), levels.amin(dim=1)
    chroma = (value - lowest).clamp(min=1e-6)
    sector = torch.where(
        value == red,
        ((green - blue) / chroma) % 6,
        torch.where(value == green, (blue - red) / chroma + 2, (red - green) / chroma + 4),
    )
    sector = sector + 6 * turns[:, 0]
    channels = [
        value - (value - lowest) * torch.minimum(place, 4 - place).clamp(0, 1)
        for place in ((sector + shift) % 6 for shift in (5, 3, 1))
    ]
    return torch.stack(channels, dim=1)
