"""Images of several classes each divided into parts: every class, and classes together, near their share of every part.

Used by `split`; never reaches torch.

Sources: Sechidis et al. 2011, "On the stratification of multi-label data"; Szymanski & Kajdanowicz 2017,
arXiv:1704.08756, for pairs of classes. Here with groups kept whole, and the result improved as place_groups.py does.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fitwell.data.place_groups import MISSING_CLASS, Codes, Counts, Table, place_groups

MOST_PAIRS = 100  # of classes, the most frequent ones


def place_label_sets(
    targets: NDArray[np.bool_], groups: Codes, shares: NDArray[np.float64], rng: np.random.Generator
) -> Codes:
    """Return (N,) the part of each image, near the (P,) shares for every class, for frequent pairs and for the whole.

    Args:
        targets: (N, C) whether the image shows the class; every class is shown.
        groups: (N,) numbers from 0, each of which occurs; a group is not divided.

    Raises:
        DataError: when no way is found to have every class in every part.
    """
    cells = np.column_stack([targets, _together(targets, shares.min()), np.ones(len(targets), dtype=bool)])
    counts = _sum_by_group(cells, groups)
    cost = partial(_uneven, num_classes=targets.shape[1])
    return place_groups(counts, shares, rng, begin=begin_with_the_rarest, cost=cost)[groups]


def begin_with_the_rarest(counts: Table, shares: NDArray[np.float64], rng: np.random.Generator) -> Codes:
    """Return (G,) the part of each group by iterative stratification.

    Of what the groups still to be placed hold, the rarest comes first: each group with it, in random order, goes where
    most of it is still wished for, of equals where most images are.

    Args:
        counts: (G, K) what each group holds; the last column counts its images.
    """
    wished = shares[:, None] * counts.sum(axis=0)  # (P, K), less what is placed
    left = counts.sum(axis=0, dtype=np.float64)  # (K,) still to be placed
    order, placed = rng.permutation(len(counts)), np.full(len(counts), -1)
    while left[-1] > 0:
        rarest = int(np.where(left[:-1] > 0, left[:-1], np.inf).argmin()) if left[:-1].any() else -1
        for group in order[(counts[order, rarest] > 0) & (placed[order] < 0)]:
            keys = rng.random(len(shares)), wished[:, -1], wished[:, rarest]
            placed[group] = np.lexsort(keys)[-1]
            wished[placed[group]] -= counts[group]
            left -= counts[group]
    return placed


def _together(targets: NDArray[np.bool_], least_share: float) -> NDArray[np.bool_]:
    """Return (N, K) what else is to be even: images of no class, and pairs of which every part wishes for one."""
    numbers = targets.astype(np.float64)
    together = np.triu(numbers.T @ numbers, k=1)  # (C, C) images that show both
    frequent = np.argsort(-together, axis=None, kind="stable")[:MOST_PAIRS]
    firsts, seconds = np.unravel_index(frequent[together.flat[frequent] * least_share >= 1], together.shape)
    pairs, none = targets[:, firsts] & targets[:, seconds], targets.sum(axis=1) == 0
    return np.column_stack([none, pairs]) if none.any() else pairs


def _sum_by_group(cells: NDArray[np.bool_], groups: Codes) -> Table:
    """Return (G, K) in how many images of each group each of the `cells` (N, K) holds."""
    order = np.argsort(groups, kind="stable")
    starts = np.flatnonzero(np.diff(groups[order], prepend=-1))
    largest = int(np.diff(np.append(starts, len(groups))).max())
    sums: NDArray[Any] = np.add.reduceat(cells[order], starts, axis=0, dtype=np.min_scalar_type(largest))
    return sums


def _uneven(filled: Counts, targets: Counts, *, num_classes: int) -> Counts:
    """Return (...,) how far (..., K) contents of a part are from the targets: chi-square of each class and of the size.

    What is beside the classes counts together as one of them.
    """
    uneven = (filled - targets) ** 2 / targets
    classes, others, size = np.split(uneven, [num_classes, uneven.shape[-1] - 1], axis=-1)
    missing = (filled[..., :num_classes] < 0.5).sum(axis=-1)
    cost = classes.sum(axis=-1) + others.sum(axis=-1) / max(1, others.shape[-1]) + size[..., 0]
    return np.asarray(cost + MISSING_CLASS * missing)
