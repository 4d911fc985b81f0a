"""Whether something besides the picture gives the class away: the format, the pixel type or the size of its file.

A model then learns who took the picture instead of what it shows. Never reaches torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fitwell.data.finding import Case, Finding

if TYPE_CHECKING:
    import pandas as pd

LEAST_IMAGES = 10  # of a class that can be told, and of a size that counts as one of a camera
RECURRING_SHARE = 0.1  # of a class, for a size to count as one of a camera
NUM_BINS = 16  # of the longer side, for all other sizes
# Youden's J: found in the class, less falsely found outside. Emoji and elpv have 0.00; logos have 0.36 by size, since
# texts are wide there, and at most 0.52 in 220 random subsets of 20 to 123 a class. The aspect itself is no clue: it
# belongs to what a tight crop shows (logos: J = 0.99).
LEAST_EFFECT = 0.6
NUM_PERMUTATIONS, MOST_CHANCE = 1999, 0.001
MOST_PERMUTED = 20_000  # images; more change nothing about an effect of this size, and take minutes


def find_shortcut(images: pd.DataFrame, formats: ArrayLike, modes: ArrayLike, *, seed: int = 0) -> Finding | None:
    """Return DATA606: classes that can be told from the others by format, mode or size alone, surest first.

    Each image is judged by all the others: it belongs to the class if its value is more frequent in the class than
    outside. Effect: share found in the class less share falsely found outside (Youden's J).

    Args:
        images: N rows with label, width and height.
        formats, modes: (N,) what the bytes are, and their pixel type, as text.
        seed: of the permutations.
    """
    import pandas as pd

    labels, classes = pd.factorize(images["label"], sort=True)
    cases, effects, chances, counts = [], {}, {}, {}
    for name, values in (("format", formats), ("mode", modes), ("size", _name_sizes(images))):
        found, once = pd.factorize(np.asarray(values, dtype=object), sort=True)
        kinds = [str(value) for value in once]
        table = count_pairs(found, labels)  # (V, C)
        told = tell_apart(table)
        effect = float(told.max(initial=0))
        if effect < LEAST_EFFECT:
            continue
        chance = _chance_of(effect, found, labels, np.random.default_rng(seed))
        if chance > MOST_CHANCE:
            continue
        surest = [column for column in np.argsort(-told.round(9), kind="stable") if told[column] >= LEAST_EFFECT]
        effects[name], chances[name] = round(effect, 3), chance
        in_class = {str(classes[column]): _count_by_name(table[:, column], kinds) for column in surest}
        counts[name] = {"classes": in_class, "all": _count_by_name(table.sum(axis=1), kinds)}
        cases += [Case(str(classes[column]), _describe_clue(name, table, kinds, column)) for column in surest]
    if not cases:
        return None
    num_told = len({case.name for case in cases})
    message = (
        f"The {' or the '.join(effects)} alone tells {num_told} of {len(classes)} classes from the others "
        f"(J up to {max(effects.values()):.2f}, where 0 is chance and 1 certainty)."
    )
    return Finding("DATA606", message, tuple(cases), {"effect": effects, "p": max(chances.values()), "counts": counts})


def count_pairs(values: NDArray[np.int64], labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return (V, C) how many images have each value and class, from (N,) numbers of both."""
    num_values, num_classes = values.max(initial=-1) + 1, labels.max(initial=-1) + 1
    pairs = np.bincount(values * num_classes + labels, minlength=num_values * num_classes)
    return pairs.reshape(num_values, num_classes)


def tell_apart(table: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return (C,) how well the value tells each class from the others, leaving out the image that is judged.

    Args:
        table: (V, C) counts.

    Returns:
        Youden's J in [-1, 1], higher is surer; 0 for classes of fewer than `LEAST_IMAGES` inside or outside.
    """
    inside, outside = table, table.sum(axis=1, keepdims=True) - table
    num_inside, num_outside = np.maximum(inside.sum(axis=0), 1), np.maximum(outside.sum(axis=0), 1)
    found = inside * _beats((inside - 1) / np.maximum(num_inside - 1, 1), outside / num_outside)
    refused = outside * _beats((outside - 1) / np.maximum(num_outside - 1, 1), inside / num_inside)
    effects = found.sum(axis=0) / num_inside + refused.sum(axis=0) / num_outside - 1
    return np.where(np.minimum(num_inside, num_outside) < LEAST_IMAGES, 0.0, effects)


def _beats(share: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return 1 where `share` is larger, 0 where it is smaller, and 0.5 where they are equal, as a coin would."""
    return np.where(np.isclose(share, other), 0.5, share > other)


def _chance_of(
    effect: float, values: NDArray[np.int64], labels: NDArray[np.int64], random: np.random.Generator
) -> float:
    """Return the probability of such an effect for any class if labels had nothing to do with values."""
    if len(labels) > MOST_PERMUTED:
        rows = random.choice(len(labels), MOST_PERMUTED, replace=False)
        values, labels = values[rows], labels[rows]
    as_high = sum(
        tell_apart(count_pairs(values, random.permutation(labels))).max() >= effect for _ in range(NUM_PERMUTATIONS)
    )
    return float(1 + as_high) / (1 + NUM_PERMUTATIONS)


def _name_sizes(images: pd.DataFrame) -> list[str]:
    """Return (N,) "640 x 480" for sizes that recur as a camera's do, else "481 to 640 at the longer side"."""
    import pandas as pd

    widths, heights = images["width"].to_numpy(), images["height"].to_numpy()
    sizes = pd.Series([f"{width} x {height}" for width, height in zip(widths, heights, strict=True)], dtype=str)
    labels = images["label"].reset_index(drop=True)
    alike = sizes.groupby([sizes, labels]).transform("size")
    least = np.maximum(RECURRING_SHARE * labels.groupby(labels).transform("size"), LEAST_IMAGES)
    is_recurring = sizes.isin(set(sizes[alike >= least]))
    longer = pd.Series(np.maximum(widths, heights))
    edges = np.unique(longer.quantile(np.arange(1, NUM_BINS) / NUM_BINS, interpolation="lower"))
    ranges = longer.groupby(np.searchsorted(edges, longer, side="right"))
    names = ranges.transform("min").astype(str) + " to " + ranges.transform("max").astype(str) + " at the longer side"
    return list(sizes.where(is_recurring, names))


def _describe_clue(name: str, table: NDArray[np.int64], kinds: Sequence[str], column: int) -> str:
    """Return "format JPEG: 98 of its 100, 1 of 300 others" for the value that tells the class best."""
    inside, others = table[:, column], table.sum(axis=1) - table[:, column]
    best = int(np.argmax(inside / inside.sum() - others / others.sum()))
    return (
        f"{name} {kinds[best]}: {inside[best]:,} of its {inside.sum():,}, {others[best]:,} of {others.sum():,} others"
    )


def _count_by_name(counts: NDArray[np.int64], names: Sequence[str]) -> dict[str, int]:
    return {name: int(count) for name, count in zip(names, counts, strict=True) if count}
