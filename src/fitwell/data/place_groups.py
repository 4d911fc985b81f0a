"""Groups placed into parts: every group whole, every class near its share of every part, by random starts improved.

Used by `split`; never reaches torch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fitwell.errors import DataError

NUM_STARTS = 4  # of which the best counts
EVEN = 0.1  # cost below which no other start is tried: one image too many where 10 are wished for costs as much
NUM_ATTEMPTS = 10  # random starts before we say that no split holds every class in every part
NUM_PASSES = 10  # of improvement; grouped sets settle after 2 to 5
NUM_TRIED_GROUPS = 500  # groups that one pass tries to place better; 2,000 end no nearer to the shares
NUM_PARTNERS = 256  # groups that each of them may change places with
MISSING_CLASS = 1e9  # cost of a part without a class: above any cost of uneven shares

Counts = NDArray[np.float64]
Codes = NDArray[np.int64]
Table = NDArray[np.unsignedinteger[Any]]
Begin = Callable[[Table, NDArray[np.float64], np.random.Generator], Codes]
Cost = Callable[[Counts, Counts], Counts]


def fill_in_turn(counts: Table, shares: NDArray[np.float64], rng: np.random.Generator) -> Codes:
    """Return (G,) the part of each group: groups in random order fill one part after the other.

    To give each group to the part that gains most, or to begin with the largest as StratifiedGroupKFold does, sends
    large groups to train: test's groups had 0.65 of the mean size (here about 0.9).
    """
    order = rng.permutation(len(counts))
    sizes = counts.sum(axis=1)[order]
    middles = (sizes.cumsum() - sizes / 2) / sizes.sum()  # of each group on a line of all images from 0 to 1
    placed = np.empty(len(counts), dtype=np.int64)
    placed[order] = np.searchsorted(shares.cumsum()[:-1], middles)
    return placed


def chi_square(filled: Counts, targets: Counts) -> Counts:
    """Return (...,) how far (..., C) images of a part are from the targets: chi-square per class and of the sum."""
    size, wished = filled.sum(axis=-1), targets.sum(axis=-1)
    uneven = (filled - targets) ** 2 / targets + MISSING_CLASS * (filled < 0.5)
    cost: Counts = uneven.sum(axis=-1) + (size - wished) ** 2 / wished
    return cost


def place_groups(
    counts: Table,
    shares: NDArray[np.float64],
    rng: np.random.Generator,
    *,
    begin: Begin = fill_in_turn,
    cost: Cost = chi_square,
) -> Codes:
    """Return (G,) the part of each group, near the (P,) shares for every class and for the whole.

    The first even one of some random starts, or the best of them: one may put a group into val that is nearly as
    large as val.

    Args:
        counts: (G, K) what each group holds; by default the images of each class.
        begin: gives each start.
        cost: says how far parts are from what is wished for; at least `MISSING_CLASS` where a part lacks a class.

    Raises:
        DataError: when no start ends with every class in every part.
    """
    targets = shares[:, None] * counts.sum(axis=0)  # (P, K) wished for
    num_starts = NUM_STARTS if len(counts) <= NUM_TRIED_GROUPS else 1  # many groups come out even at once
    best, best_cost = np.zeros(len(counts), dtype=np.int64), np.inf
    for start in range(NUM_ATTEMPTS):
        if best_cost < EVEN or (start >= num_starts and best_cost < MISSING_CLASS):
            break
        placed = begin(counts, shares, rng)
        placed_cost = _settle(placed, counts, targets, rng, cost)
        if placed_cost < best_cost:
            best, best_cost = placed, placed_cost
    if best_cost < MISSING_CLASS:
        return best
    raise DataError(
        found=f"no way, in {NUM_ATTEMPTS} attempts, to divide {len(counts)} groups.",
        expected="every class in every part, and every group whole.",
        fix="use smaller groups, merge rare classes, or give the column split.",
        code="DATA502",
    )


def _settle(placed: Codes, counts: Table, targets: Counts, rng: np.random.Generator, cost: Cost) -> float:
    """Move and exchange groups while that lowers the cost; `placed` (G,) is kept up to date. Return the cost."""
    filled = np.zeros_like(targets)
    np.add.at(filled, placed, counts)
    costs = cost(filled, targets)
    hopeful = np.ones(len(counts), dtype=bool)  # not tried with all others since the last improvement
    for _ in range(NUM_PASSES):
        has_improved = False
        for group in rng.permutation(len(counts))[:NUM_TRIED_GROUPS]:
            if not hopeful[group]:
                continue
            others = np.flatnonzero(hopeful & (placed != placed[group]))  # an exchange is tried from one side
            if len(others) > NUM_PARTNERS:
                others = others[rng.integers(len(others), size=NUM_PARTNERS)]
            if _improve(group, others, counts, placed, (filled, targets, costs), cost):
                costs, has_improved = cost(filled, targets), True
                hopeful[:] = True
            elif len(counts) <= NUM_PARTNERS:
                hopeful[group] = False
        if not has_improved:
            break
    return float(costs.sum())


def _improve(
    group: int, others: Codes, counts: Table, placed: Codes, parts: tuple[Counts, Counts, Counts], cost: Cost
) -> bool:
    """Move `group`, or exchange it with one of the `others`, where that lowers the cost most; say whether it did.

    `placed` (G,) and the first of `parts`, what is in them (P, K), are kept up to date; the others are the targets
    (P, K) and what the parts cost before (P,).
    """
    filled, targets, costs = parts
    home = placed[group]
    elsewhere = np.flatnonzero(np.arange(len(targets)) != home)
    there = np.concatenate([elsewhere, placed[others]])  # (M,) part of each candidate; first the plain moves
    gone = np.repeat(counts[group][None].astype(np.float64), len(there), axis=0)  # (M, K) from home to there
    gone[len(elsewhere) :] -= counts[others]
    change = cost(filled[home] - gone, targets[home]) - costs[home]
    change += cost(filled[there] + gone, targets[there]) - costs[there]
    best = int(change.argmin())
    if not change[best] < -1e-9:
        return False
    filled[home] -= gone[best]
    filled[there[best]] += gone[best]
    placed[group] = there[best]
    if best >= len(elsewhere):
        placed[others[best - len(elsewhere)]] = home
    return True
