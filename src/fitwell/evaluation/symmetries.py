"""Test-time augmentation: the logits of a picture averaged over copies that are mirrored or turned.

Source: Krizhevsky et al. 2012, "ImageNet classification with deep convolutional neural networks", section 4.1.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from fitwell.model.engine import Extract

ROWS, COLUMNS = 2, 3  # dimensions of images (B, 3, S, S)
FLIPS: dict[str, tuple[tuple[int, ...], ...]] = {
    "none": ((),),
    "horizontal": ((), (COLUMNS,)),
    "vertical": ((), (ROWS,)),
    "both": ((), (COLUMNS,), (ROWS,), (ROWS, COLUMNS)),
    "dihedral": ((), (COLUMNS,), (ROWS,), (ROWS, COLUMNS)),
}


def averaged(extract: Extract, symmetries: str) -> Extract:
    """Return what gives the mean of `extract`'s outputs over the copies that `symmetries` names.

    Args:
        symmetries: a key of `FLIPS`; "dihedral" are its four with rows and columns swapped and not.
    """
    if symmetries == "none":
        return extract

    def extract_mean(images: Tensor) -> Tensor:
        return torch.stack([extract(copy) for copy in _copies(images, symmetries)]).mean(dim=0)

    return extract_mean


def _copies(images: Tensor, symmetries: str) -> Iterator[Tensor]:
    for turned in (images, images.mT) if symmetries == "dihedral" else (images,):
        for axes in FLIPS[symmetries]:
            yield turned.flip(axes).contiguous()
