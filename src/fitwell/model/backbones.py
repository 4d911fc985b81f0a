"""What is published about backbones: where a shortlist begins, before anything is measured here. See backbones.toml."""

from __future__ import annotations

import tomllib
from importlib.resources import files

from pydantic import BaseModel, ConfigDict


class Published(BaseModel):
    """One timm backbone under its default weights.

    Attributes:
        weights: the tag of timm's default weights.
        params: millions, classifier included.
        size: side in pixels that it was pretrained at.
        gmac: billions of multiplications for one image of that size.
        top1: percent of ImageNet-1k val that it names right, at `top1_size` pixels.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    weights: str
    params: float
    size: int
    gmac: float
    top1: float
    top1_size: int


def published_backbones() -> dict[str, Published]:
    """Return what is published, by timm name; the best top-1 first."""
    entries = tomllib.loads((files("fitwell.model") / "backbones.toml").read_text(encoding="utf-8"))
    backbones = {name: Published.model_validate(entry) for name, entry in entries.items()}
    return dict(sorted(backbones.items(), key=lambda entry: -entry[1].top1))
