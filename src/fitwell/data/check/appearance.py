"""What the pictures show, judged by their measures alone: blank, strange in colour, too small, or cut.

No image is opened here. Each `find_` function looks for one thing; none reaches torch.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fitwell.data.check.shortcut import find_shortcut
from fitwell.data.finding import Case, Finding
from fitwell.data.preview import CropPlan, enlargements, kept_areas

if TYPE_CHECKING:
    import pandas as pd

    from fitwell.data.check.measure import Measures

NO_CONTRAST = 1e-6  # one level in one of a million pixels has 4e-6
CLEAR_MODES = ("RGBA", "LA", "PA")
# Nearly blank: below 4 of 255 levels. The darkest cells of elpv, in which a dead cell can be made out, have 0.019
# (n = 2,624), the palest emoji 0.054 (n = 4,919).
LEAST_SPREAD = 0.015
# Or a speck on an even ground: a dot on 0.2 % of the picture has 0.02 bits and a spread of at most 0.045. The plainest
# logo that is not blank has 0.1 bits and 0.067 (n = 1,605), the plainest emoji 0.28 bits.
SPECK_BITS, SPECK_SPREAD = 0.02, 0.045

# What torchvision's weights expect; the spread is the mean of each image's own, as `Measures.spreads` is.
# Source: https://github.com/pytorch/vision/issues/1439
IMAGENET_MEAN = np.array([0.485, 0.456, 0.406])
IMAGENET_SPREAD = np.array([0.229, 0.224, 0.225])
# In spreads of ImageNet, and relative to them. Photographs: 0.3 and 1.03 to 1.13 (n = 9, those that scikit-image,
# scikit-learn and matplotlib carry); emoji 1.6, logos 1.4; elpv 0.85 and a spread of 0.5.
MOST_DISTANCE = 1.0
LEAST_RATIO, MOST_RATIO = 0.6, 1 / 0.6

LEAST_ENLARGEMENT = 1.25  # below it, nobody sees the difference
LEAST_KEPT = 0.6  # the common shapes of photographs, 4:3 and 3:2, keep 0.75 and 0.67


def find_appearance_problems(images: pd.DataFrame, measures: Measures, plan: CropPlan) -> list[Finding]:
    """Return what is striking about the pictures, DATA601 to DATA606.

    Args:
        images: N rows with path, label, width and height.
        measures: of these rows.
        plan: how evaluation would fit a picture into the network.
    """
    found = (
        find_blank(images, measures),
        find_nearly_blank(images, measures),
        find_strange_colours(measures),
        find_enlarged(images, plan),
        find_cut(images, plan),
        find_shortcut(images, measures.formats, measures.modes),
    )
    return [finding for finding in found if finding is not None]


def find_blank(images: pd.DataFrame, measures: Measures) -> Finding | None:
    """Return DATA601: images of exactly one colour."""
    rows = np.flatnonzero(_contrast(measures) <= NO_CONTRAST)
    colours = np.rint(measures.means[rows] * 255).astype(int)
    details = [
        f"only the colour #{red:02x}{green:02x}{blue:02x}"
        + (", once transparent parts are white" if mode in CLEAR_MODES else "")
        for (red, green, blue), mode in zip(colours, measures.modes[rows], strict=True)
    ]
    return _finding("DATA601", images, rows, details, "show one colour and nothing else")


def find_nearly_blank(images: pd.DataFrame, measures: Measures) -> Finding | None:
    """Return DATA602: images in which hardly anything can be made out, the emptiest first."""
    spreads, bits = _contrast(measures), measures.details
    is_speck = (bits < SPECK_BITS) & (spreads < SPECK_SPREAD)
    rows = np.flatnonzero((spreads > NO_CONTRAST) & ((spreads < LEAST_SPREAD) | is_speck))
    rows = rows[np.argsort(spreads[rows], kind="stable")]
    details = [f"spread {spreads[row]:.4f}, {bits[row]:.2f} bits" for row in rows]
    evidence = {"least_spread": LEAST_SPREAD, "speck_bits": SPECK_BITS}
    return _finding("DATA602", images, rows, details, "show hardly anything", evidence)


def find_strange_colours(measures: Measures) -> Finding | None:
    """Return DATA603: mean and spread of the channels over all images, where they are far from ImageNet's."""
    if not len(measures.means):
        return None
    mean, spread = measures.means.mean(axis=0, dtype=float), measures.spreads.mean(axis=0, dtype=float)  # (3,) each
    distance = float(np.abs((mean - IMAGENET_MEAN) / IMAGENET_SPREAD).max())
    ratio = float((spread / IMAGENET_SPREAD).mean())
    if distance <= MOST_DISTANCE and LEAST_RATIO <= ratio <= MOST_RATIO:
        return None
    message = (
        f"Over {len(measures.means):,} images the mean colour lies {distance:.1f} standard deviations from ImageNet's "
        f"and the contrast is {ratio:.2f} times as high."
    )
    evidence = {"mean": mean.round(3).tolist(), "spread": spread.round(3).tolist()}
    return Finding("DATA603", message, evidence={**evidence, "distance": round(distance, 2), "ratio": round(ratio, 2)})


def find_enlarged(images: pd.DataFrame, plan: CropPlan) -> Finding | None:
    """Return DATA604: images that are stretched to fill the network's input, the smallest first."""
    times = enlargements(images["width"].to_numpy(), images["height"].to_numpy(), plan)
    rows = np.flatnonzero(times >= LEAST_ENLARGEMENT)
    rows = rows[np.argsort(-times[rows], kind="stable")]
    details = [f"{size}, enlarged {times[row]:.1f} times" for row, size in zip(rows, _sizes(images, rows), strict=True)]
    evidence = {"input_size": plan.size, "median_enlargement": _rounded_median(times[rows])}
    return _finding("DATA604", images, rows, details, f"are enlarged to {plan.size} x {plan.size} pixels", evidence)


def find_cut(images: pd.DataFrame, plan: CropPlan) -> Finding | None:
    """Return DATA605: images of which evaluation would see less than three fifths, the most cut first."""
    kept = kept_areas(images["width"].to_numpy(), images["height"].to_numpy(), plan)
    rows = np.flatnonzero(kept < LEAST_KEPT - 1e-9)
    rows = rows[np.argsort(kept[rows], kind="stable")]
    details = [f"{size}, {100 * kept[row]:.3g} % is kept" for row, size in zip(rows, _sizes(images, rows), strict=True)]
    evidence = {"limit": LEAST_KEPT, "median_kept": _rounded_median(kept[rows])}
    return _finding(
        "DATA605", images, rows, details, f"lose more than {100 * (1 - LEAST_KEPT):.0f} % to the crop", evidence
    )


def _finding(
    code: str,
    images: pd.DataFrame,
    rows: NDArray[np.intp],
    details: list[str],
    what: str,
    evidence: dict[str, Any] | None = None,
) -> Finding | None:
    """Return a finding about these rows, or None if there are none."""
    if not len(rows):
        return None
    paths = images["path"].to_numpy()[rows]
    cases = tuple(Case(str(path), detail) for path, detail in zip(paths, details, strict=True))
    return Finding(code, f"{len(cases):,} of {len(images):,} images {what}.", cases, evidence or {})


def _contrast(measures: Measures) -> NDArray[np.float32]:
    """Return (N,) the spread of the channel that varies most."""
    contrast: NDArray[np.float32] = measures.spreads.max(axis=1)
    return contrast


def _sizes(images: pd.DataFrame, rows: NDArray[np.intp] | slice = slice(None)) -> Iterable[str]:
    sides = zip(images["width"].to_numpy()[rows], images["height"].to_numpy()[rows], strict=True)
    return (f"{width} x {height}" for width, height in sides)


def _rounded_median(values: NDArray[np.float64]) -> float | None:
    return round(float(np.median(values)), 3) if len(values) else None
