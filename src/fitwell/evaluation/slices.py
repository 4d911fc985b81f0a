"""Parts of the judged images, and whether a classifier is better or worse there than elsewhere.

Slices are the values of the table's own columns, folders, and thirds of what was measured in the pictures.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fitwell.data.index import KNOWN_COLUMNS
from fitwell.evaluation.intervals import NUM_RESAMPLES, Floats, Units, draw, find_units, interval_of
from fitwell.evaluation.metrics import Labels
from fitwell.evaluation.paired_tests import bootstrap_p, holm

if TYPE_CHECKING:
    import pandas as pd

FEWEST_FOR_A_CLAIM = 20  # images of a slice, and of the rest; below, numbers are shown as too few to speak for
LEVEL = 0.05  # of a claim, over all slices together
MOST_SLICE_VALUES = 40  # a column with more is a measurement or an id, not a slice
MEASURED = ("width", "height", "brightness")
THIRDS: dict[str, Callable[[Floats, Floats, Floats], Floats]] = {
    "shorter side in pixels": lambda width, height, brightness: np.minimum(width, height),
    "width / height": lambda width, height, brightness: width / height,
    "brightness": lambda width, height, brightness: brightness,
}


@dataclass(frozen=True)
class Slice:
    """Some of N images: those with `value` in `column`, as `chosen` (N,) says."""

    column: str
    value: str
    chosen: NDArray[np.bool_]


def slice_columns(images: pd.DataFrame) -> list[str]:
    """Return the columns that divide the images for the report."""
    return [str(name) for name in images.columns if name not in KNOWN_COLUMNS]


def find_slices(images: pd.DataFrame) -> tuple[list[Slice], list[dict[str, Any]]]:
    """Return the slices of `images`, and the columns with too many values, as column and num_values.

    Thirds of a measurement hold equal numbers of images, but for equal values, which stay together.
    """
    slices, left_out = [], []
    cells = {name: np.array(images[name].fillna("").astype(str).tolist()) for name in slice_columns(images)}
    folders = np.array([path.rpartition("/")[0] for path in images["path"]])
    if _says_more_than(folders, images["label"].to_numpy()) and len(set(folders)) <= MOST_SLICE_VALUES:
        cells["folder"] = folders
    for column, values in cells.items():
        different = sorted(set(values.tolist()))
        if len(different) > MOST_SLICE_VALUES:
            left_out.append({"column": column, "num_values": len(different)})
        else:
            slices += [Slice(column, value, values == value) for value in different]
    return slices + _thirds(images), left_out


def judge_slices(
    images: pd.DataFrame,
    right: NDArray[np.bool_],
    labels: Labels,
    groups: NDArray[Any] | None,
    *,
    judge: Callable[[NDArray[np.bool_]], dict[str, Any]],
) -> dict[str, Any]:
    """Return what `judge` says of the images (N,) of each slice, and how it differs from the rest.

    Args:
        images: N rows. right: (N,) whether each image was named rightly. labels, groups: (N,), see `compare_with_rest`.
    """
    slices, left_out = find_slices(images)
    claims = compare_with_rest(right, labels, groups, slices)
    rows = [
        {"column": each.column, "value": each.value, **judge(each.chosen), "against_rest": claim}
        for each, claim in zip(slices, claims, strict=True)
    ]
    return {"slices": rows, "slices_left_out": left_out}


def compare_with_rest(
    right: NDArray[np.bool_], labels: Labels, groups: NDArray[Any] | None, slices: Sequence[Slice]
) -> list[dict[str, Any] | None]:
    """Return for each slice how its accuracy differs from that of all other images.

    Args:
        right: (N,) whether each image was named rightly. labels: (N,). groups: (N,), or None.

    Returns:
        difference, in [-1, 1], with its bootstrap interval; p, of Fisher's exact test, or with groups of the bootstrap
        over them; p_holm, adjusted over all slices; and whether it differs. None where the slice or the rest has
        fewer than `FEWEST_FOR_A_CLAIM` images: nothing is claimed then.
    """
    units = find_units(labels, groups)
    fewest = [min(each.chosen.sum(), (~each.chosen).sum()) for each in slices]
    compared = [place for place, count in enumerate(fewest) if count >= FEWEST_FOR_A_CLAIM]
    chosen = np.array([slices[place].chosen for place in compared], dtype=float).reshape(-1, len(right))  # (S, N)
    drawn = [_differences(right, chosen, weights) for weights in draw(units, num_resamples=NUM_RESAMPLES, seed=0)]
    found = [
        _claim(right, slices[place].chosen, resamples, units, labels)
        for place, resamples in zip(compared, np.concatenate(drawn, axis=1), strict=True)
    ]
    results: list[dict[str, Any] | None] = [None] * len(slices)
    for place, each, adjusted in zip(compared, found, holm([each["p"] for each in found]), strict=True):
        results[place] = {**each, "p_holm": adjusted, "differs": adjusted < LEVEL}
    return results


def _differences(right: NDArray[np.bool_], chosen: Floats, weights: Floats) -> Floats:
    """Return (S, b): the accuracy of each slice less that of the rest, under `weights` (N, b); NaN without images."""
    hits = weights * right[:, None]
    inside, correct = chosen @ weights, chosen @ hits
    outside, correct_outside = weights.sum(axis=0) - inside, hits.sum(axis=0) - correct
    with np.errstate(invalid="ignore", divide="ignore"):
        differences: Floats = correct / inside - correct_outside / outside
    return differences


def _claim(
    right: NDArray[np.bool_], chosen: NDArray[np.bool_], resamples: Floats, units: Units, labels: Labels
) -> dict[str, Any]:
    from scipy.stats import fisher_exact

    difference = float(right[chosen].mean() - right[~chosen].mean())
    interval = interval_of(resamples, difference, units, labels=labels, bounds=(-1.0, 1.0))
    if units.noun == "groups":
        p = bootstrap_p(resamples, units) if interval else 1.0
    else:
        table = [[int((right[part] == answer).sum()) for answer in (True, False)] for part in (chosen, ~chosen)]
        p = float(fisher_exact(table).pvalue)
    return {"difference": difference, "interval": interval and [interval.low, interval.high], "p": p}


def _says_more_than(folders: NDArray[Any], labels: NDArray[Any]) -> bool:
    """Return whether the folders are several, and not the classes under another name."""
    pairs = set(zip(folders.tolist(), labels.tolist(), strict=True))
    return len(set(folders)) > 1 and not len(pairs) == len(set(folders)) == len(set(labels))


def _thirds(images: pd.DataFrame) -> list[Slice]:
    """Return slices by what was measured in the pictures; none in a run of before they were measured."""
    if not set(MEASURED) <= set(images.columns):
        return []
    measured = [images[name].to_numpy(dtype=np.float64) for name in MEASURED]
    slices = []
    for column, measure in THIRDS.items():
        values = measure(*measured).round(3)
        edges = np.unique(np.quantile(values, [1 / 3, 2 / 3], method="lower"))
        places = np.searchsorted(edges, values)
        for place in np.unique(places) if len(np.unique(places)) > 1 else ():
            inside = values[places == place]
            slices.append(Slice(column, f"{inside.min():g} to {inside.max():g}", places == place))
    return slices
