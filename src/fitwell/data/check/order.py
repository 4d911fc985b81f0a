"""Whether images that lie next to each other in file order come from one source, and groups made of that order.

Cells of one module, slices of one patient, frames of one burst: files are named in the order they were taken, and a
random split then puts relatives on both sides. Compares small grey looks only. Never reaches torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fitwell.data.finding import Finding
from fitwell.errors import UsageError

if TYPE_CHECKING:
    import pandas as pd

NUM_PERMUTATIONS = 4999
LARGEST_P = 0.001
SMALLEST_EFFECT = 0.05  # as if one neighbour in twenty were the same picture; less flatters no report visibly
FEWEST_PAIRS = 30  # of neighbours, below which nothing is said
NUM_RUNS, RUN_LENGTH = 8, 512  # of the file order, looked at where there are more images
LONGEST_BLOCK = 256
SMALL_FOLDER = 20  # images; smaller folders are themselves the blocks, so neighbours are compared across them

Codes = NDArray[np.int64]
Floats = NDArray[np.float64]
Likeness = NDArray[np.float32]  # (N, N)


def find_order_leakage(
    looks: NDArray[np.uint8], labels: NDArray[Any], folders: Sequence[str] | None, *, seed: int = 0
) -> Finding | None:
    """Return DATA404 when the next image of the same class and folder looks more alike than a random one.

    The images of each class and folder are shuffled to see what chance does. Evidence: p of that test; effect, the
    likeness of neighbours above chance (a correlation, 1 = copies); block_length, for how many images it lasts.

    Args:
        looks: (N, H, W) small grey pictures in file order.
        labels: (N,) class of each.
        folders: (N,) folder of each, or None where folders mean nothing.
        seed: of the shuffles.
    """
    rows, folder_codes, runs = _take_runs(_number_folders(folders, len(looks)))
    classes = np.unique(labels[rows], return_inverse=True)[1]
    strata = np.unique(np.stack([folder_codes, classes]), axis=1, return_inverse=True)[1].ravel()
    firsts, nexts = _neighbours(strata, runs)
    if len(firsts) < FEWEST_PAIRS:
        return None
    likeness = _compare(looks[rows], strata)
    observed = float(likeness[firsts, nexts].mean())
    by_chance = _shuffle(likeness, strata, firsts, nexts, np.random.default_rng(seed))
    p = float((1 + (by_chance >= observed).sum()) / (1 + NUM_PERMUTATIONS))
    effect = observed - float(by_chance.mean())
    if not (p < LARGEST_P and effect >= SMALLEST_EFFECT):
        return None
    length = _block_length(likeness, strata, runs)
    lasts = f"{length} images" if length < LONGEST_BLOCK else f"{length} images or more"
    return Finding(
        "DATA404",
        f"An image is more like the next of its class than like the others: {effect:.2f} more correlation than in "
        f"random order (p = {p:.2g}, n = {len(rows)}), and the likeness lasts for about {lasts}.",
        evidence={
            "p": p,
            "effect": round(effect, 4),
            "block_length": length,
            "num_permutations": NUM_PERMUTATIONS,
            "n": len(rows),
            **_label_figures(classes, folder_codes, runs),
        },
    )


def group_by_order(images: pd.DataFrame, block_length: int) -> pd.Series:
    """Return the group of each row: blocks of about `block_length` rows in file order, beginning anew in each folder.

    The blocks of a folder are equally long to within one row, so no small rest is left at its end. A block may cut a
    source in two, so the report stays a little too good: with blocks as long as the likeness lasts a third of an
    image's relatives lie elsewhere where sources are of that length too, with twice that a sixth.

    Raises:
        UsageError: when the length is below 1.
    """
    if block_length < 1:
        raise UsageError(
            found=f"blocks of {block_length} images.", expected="at least 1.", fix="write for example order:60."
        )
    import pandas as pd

    names = [path.rpartition("/")[0] or "." for path in images["path"].tolist()]
    folders = pd.Series(names, index=images.index)
    places = images.groupby(names).cumcount()
    sizes = folders.map(folders.value_counts())
    num_blocks = (sizes / block_length).round().clip(lower=1).astype(int)
    blocks = places * num_blocks // sizes
    return (folders + ":" + blocks.astype(str).str.zfill(4)).rename("group")


def _number_folders(folders: Sequence[str] | None, num_images: int) -> Codes:
    """Return (N,) number of each image's folder; all zero when most folders are too small to look into."""
    import pandas as pd

    codes, names = pd.factorize(np.asarray(folders if folders is not None else [""] * num_images, dtype=object))
    return codes if num_images >= SMALL_FOLDER * len(names) else np.zeros_like(codes)


def _take_runs(folder_codes: Codes) -> tuple[Codes, Codes, Codes]:
    """Return (n,) rows to look at, folder by folder, with the folder and the number of the run of each.

    All rows as one run, or from large sets several evenly spaced runs.
    """
    order = np.argsort(folder_codes, kind="stable")
    if len(order) <= NUM_RUNS * RUN_LENGTH:
        return order, folder_codes[order], np.zeros(len(order), dtype=np.int64)
    starts = np.linspace(0, len(order) - RUN_LENGTH, NUM_RUNS).astype(np.int64)
    rows = order[(starts[:, None] + np.arange(RUN_LENGTH)).ravel()]
    return rows, folder_codes[rows], np.repeat(np.arange(NUM_RUNS), RUN_LENGTH)


def _neighbours(strata: Codes, runs: Codes) -> tuple[Codes, Codes]:
    """Return (P,) places of images and (P,) of the next one of the same stratum and run."""
    order = np.lexsort((strata, runs))  # stable: places stay ascending
    firsts, nexts = order[:-1], order[1:]
    together = (strata[firsts] == strata[nexts]) & (runs[firsts] == runs[nexts])
    return firsts[together], nexts[together]


def _compare(looks: NDArray[np.uint8], strata: Codes) -> Likeness:
    """Return (N, N) likeness in [-1, 1]: correlation of the looks, each less the mean of its stratum; 0 if blank."""
    pixels = looks.reshape(len(looks), -1).astype(np.float32)  # (N, H * W)
    vectors = _scale(pixels - pixels.mean(axis=1, keepdims=True))
    is_blank = ~vectors.any(axis=1)
    means = np.zeros((strata.max() + 1, vectors.shape[1]), dtype=np.float32)
    np.add.at(means, strata, vectors)
    means /= np.bincount(strata)[:, None]
    vectors = _scale(vectors - means[strata])
    vectors[is_blank] = 0
    return np.asarray(vectors @ vectors.T, dtype=np.float32)


def _scale(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the rows with length 1; those of nothing but rounding errors stay what they are."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.where(lengths > 1e-3, lengths, 1), dtype=np.float32)


def _shuffle(likeness: Likeness, strata: Codes, firsts: Codes, nexts: Codes, rng: np.random.Generator) -> Floats:
    """Return (M,) mean likeness of neighbours, the images of each stratum having changed places at random."""
    places = np.argsort(strata, kind="stable")
    arranged = np.empty_like(places)
    means = np.empty(NUM_PERMUTATIONS)
    for number in range(NUM_PERMUTATIONS):
        arranged[places] = np.argsort(strata + rng.random(len(strata)))
        means[number] = likeness[arranged[firsts], arranged[nexts]].mean()
    return means


def _block_length(likeness: Likeness, strata: Codes, runs: Codes) -> int:
    """Return how many images in a row belong together, 2 to LONGEST_BLOCK.

    Two images at distance d lie in one block of length L with probability max(0, 1 - d / L); so that triangle,
    with free height above a free ground, is fitted to the mean likeness at each distance by least squares.
    """
    distances = np.arange(1, min(LONGEST_BLOCK, len(strata) // 2) + 1)
    means, weights = np.zeros(len(distances)), np.zeros(len(distances))
    for index, distance in enumerate(distances):
        together = (strata[distance:] == strata[:-distance]) & (runs[distance:] == runs[:-distance])
        weights[index] = together.sum()
        means[index] = np.diagonal(likeness, distance)[together].mean() if together.any() else 0
    weights /= weights.sum()
    lengths = np.arange(2, 2 * len(distances) + 1)  # longer ones fit alike, and are cut off below
    triangles = np.maximum(0, 1 - distances / lengths[:, None])  # (L, D)
    triangles -= (triangles @ weights)[:, None]
    covariance = (triangles * weights) @ (means - means @ weights)
    variance = (triangles**2) @ weights
    explained = np.where(covariance > 0, covariance**2, 0) / variance
    return min(int(lengths[explained.argmax()]), LONGEST_BLOCK)


def _label_figures(classes: Codes, folder_codes: Codes, runs: Codes) -> dict[str, float]:
    """Return how often neighbours share their label, and how often at random; nothing where the list is sorted by it.

    Classes count as interleaved when labels change twice as often as in a sorted list.
    """
    together = (folder_codes[1:] == folder_codes[:-1]) & (runs[1:] == runs[:-1])
    agrees = classes[1:] == classes[:-1]
    places = runs * (folder_codes.max() + 1) + folder_codes  # of one folder in one run
    table = np.zeros((places.max() + 1, classes.max() + 1))
    np.add.at(table, (places, classes), 1)
    sizes = table.sum(axis=1)
    num_sorted_changes = (table > 0).sum() - (sizes > 0).sum()
    if (~agrees & together).sum() < max(1, 2 * num_sorted_changes):
        return {}
    at_random = (table * (table - 1)).sum(axis=1)[sizes > 1] / sizes[sizes > 1]  # pairs that agree, of size - 1
    return {
        "label_agreement": round(float(agrees[together].mean()), 4),
        "label_agreement_at_random": round(float(at_random.sum() / together.sum()), 4),
    }
