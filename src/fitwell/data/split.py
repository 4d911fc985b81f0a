"""Train, val and test: who learns, who chooses, who reports once.

Whole groups stay on one side, classes keep their shares, and the result depends on the seed and on the set of
images only, not on the order of the rows. Never reaches torch.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from fitwell.data.table import name_first, read_cells
from fitwell.errors import DataError, UsageError
from fitwell.files import sha256_of_text, write_atomically

if TYPE_CHECKING:
    import pandas as pd

PARTS = ("train", "val", "test")
SPLIT_COLUMNS = ("id", "path", "label", "group", "split", "sha256")
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


def assign_splits(
    dataset_images: pd.DataFrame, *, val_fraction: float, test_fraction: float, seed: int
) -> pd.DataFrame:
    """Return the images with the column split.

    A given split wins, leaks and all: `leaks.find_leaks` judges it. Parts that it leaves out are drawn from its train
    rows: val with train and test given, both with train alone. The fractions are shares of the images that are
    divided.

    Raises:
        UsageError: when the fractions leave nothing to train on.
        DataError: when no row is for training, or when a class is missing from a drawn part or from the given train
            or val. A given test may lack a class.
    """
    images = dataset_images
    order, (label_names, labels), (_, groups) = _encode(images)
    parts = np.zeros(len(images), dtype=np.int64)  # (N,) index into PARTS
    if "split" in images.columns:
        parts = np.array([PARTS.index(part) for part in images["split"].tolist()], dtype=np.int64)[order]
        _require_train(parts)
    wanted = {1: val_fraction, 2: test_fraction}
    drawn = [part for part in wanted if not (parts == part).any()]
    _require_rest(val_fraction, test_fraction, sum(wanted[part] for part in drawn))
    if drawn:
        pool = np.flatnonzero(parts == 0)
        shares = np.array([1 - sum(wanted[part] for part in drawn), *(wanted[part] for part in drawn)])
        placed = _draw(labels[pool], groups[pool], shares, np.random.default_rng(seed), label_names)
        parts[pool] = np.array([0, *drawn])[placed]
    _require_classes(labels, parts, label_names, drawn)
    split = np.empty(len(images), dtype=object)
    split[order] = np.array(PARTS, dtype=object)[parts]
    return images.assign(split=split.tolist())


def assign_folds(images: pd.DataFrame, *, num_folds: int, seed: int) -> NDArray[np.int64]:
    """Return (N,) the fold of each image, 0 to num_folds - 1, of about equal size and with the same class shares.

    Groups stay whole. A split that is given is not looked at.

    Raises:
        UsageError: when there are fewer than three folds.
        DataError: when a class has fewer images or groups than there are folds, or no way is found to have every
            class in every fold.
    """
    if num_folds < 3:
        raise UsageError(
            found=f"{num_folds} folds.",
            expected="at least 3: one to report on, one to choose by, and one to learn from.",
            fix="use for example 5.",
        )
    order, (label_names, labels), (group_names, groups) = _encode(images)
    _refuse_scarce(labels, groups, num_folds, label_names)
    rng = np.random.default_rng(seed)
    folds = np.empty(len(images), dtype=np.int64)
    if len(group_names) == len(images):
        folds[order] = _deal_images(labels, num_folds, rng)
    else:
        folds[order] = _draw_groups(_count(groups, labels), np.full(num_folds, 1 / num_folds), rng)[groups]
    return folds


def split_hash(images: pd.DataFrame) -> str:
    """Return one SHA-256 over path, label, group and split of all images; the order of rows does not count."""
    return _hash_rows(images, ("path", "label", "group", "split"))


def data_fingerprint(images: pd.DataFrame) -> str:
    """Return one SHA-256 over path, label and content of all images; the order of rows does not count."""
    return _hash_rows(images, ("path", "label", "sha256"))


def write_split(path: Path, images: pd.DataFrame) -> None:
    """Write split.csv: id, path, label, group (blank without groups), split, sha256, then the other columns.

    The id is made of the path, so an image has the same id in every run on this dataset.
    """
    table = images.drop(columns="id", errors="ignore")
    table.insert(0, "id", [sha256_of_text(path)[:16] for path in images["path"].tolist()])
    if "group" not in table.columns:
        table["group"] = ""
    table = table[[*SPLIT_COLUMNS, *(name for name in table.columns if name not in SPLIT_COLUMNS)]]
    # Before 3.13 csv leaves a bare carriage return unquoted, and reads it back as the end of the row.
    has_return = any(table[name].astype(str).str.contains("\r", regex=False).any() for name in table.columns)
    quoting: Literal[0, 1] = csv.QUOTE_ALL if has_return else csv.QUOTE_MINIMAL
    write_atomically(path, lambda file: table.to_csv(file, index=False, lineterminator="\n", quoting=quoting))


def read_split(path: Path) -> pd.DataFrame:
    """Return what `write_split` wrote: text but for weight (float); without the column group if it is blank.

    Raises:
        DataError: when the file is missing or holds other columns.
    """
    if not path.is_file():
        raise DataError(
            found=f"{path} does not exist.",
            expected="the split of a run.",
            fix="give the path of a run, or train again.",
        )
    table = read_cells(path).reset_index(drop=True)
    missing = [name for name in SPLIT_COLUMNS if name not in table.columns]
    if missing:
        raise DataError(
            found=f"{path} has the columns {name_first(table.columns)}.",
            expected=f"the columns {', '.join(SPLIT_COLUMNS)}.",
            fix="take the split.csv of a run as it was written.",
        )
    if not any(table["group"]):
        table = table.drop(columns="group")
    return table.assign(weight=table["weight"].astype(float)) if "weight" in table.columns else table


def _hash_rows(images: pd.DataFrame, columns: tuple[str, ...]) -> str:
    blank = [""] * len(images)
    cells = [list(map(str, images[name].tolist())) if name in images.columns else blank for name in columns]
    rows = sorted(zip(*cells, strict=True))
    return sha256_of_text(*(cell for row in rows for cell in row))


def _encode(images: pd.DataFrame) -> tuple[Codes, tuple[list[str], Codes], tuple[list[str], Codes]]:
    """Return the rows by path, and in that order names and numbers of labels and of groups; alone is a group too."""
    order = np.argsort(images["path"].to_numpy(dtype=object), kind="stable")
    units = images["group" if "group" in images.columns else "path"]
    return order, _number(images["label"].take(order).tolist()), _number(units.take(order).tolist())


def _number(names: Sequence[str]) -> tuple[list[str], Codes]:
    """Return the different names, sorted, and (N,) the number of each."""
    different = sorted(set(names))
    numbers = {name: number for number, name in enumerate(different)}
    return different, np.fromiter((numbers[name] for name in names), dtype=np.int64, count=len(names))


def _require_rest(val_fraction: float, test_fraction: float, drawn: float) -> None:
    if not (val_fraction > 0 and test_fraction > 0 and drawn < 1):
        raise UsageError(
            found=f"val_fraction {val_fraction:g} and test_fraction {test_fraction:g}.",
            expected="two numbers above 0 that leave something to train on.",
            fix="use for example 0.15 and 0.15.",
        )


def _require_train(parts: Codes) -> None:
    if not (parts == 0).any():
        raise DataError(
            found="no image of the given split is for training.",
            expected="at least the part train.",
            fix="call the part to learn from train, or leave out the column split and let fitwell draw it.",
            code="DATA503",
        )


def _require_classes(labels: Codes, parts: Codes, names: Sequence[str], drawn: list[int]) -> None:
    for part in (0, 1, *(part for part in drawn if part == 2)):
        present = set(labels[parts == part].tolist())
        missing = [name for code, name in enumerate(names) if code not in present]
        if missing:
            raise DataError(
                found=f"no image of {name_first(missing)} in {PARTS[part]}.",
                expected=f"every class in {PARTS[part]}.",
                fix="add images of these classes there, or leave out the split and let fitwell draw it.",
                code="DATA503",
            )


def _draw(
    labels: Codes, groups: Codes, shares: NDArray[np.float64], rng: np.random.Generator, label_names: Sequence[str]
) -> Codes:
    """Return (N,) the part of each image, 0 to P - 1, for (P,) shares; no group is divided.

    Raises:
        DataError: when some class cannot be in every part.
    """
    _refuse_scarce(labels, groups, len(shares), label_names)
    different, groups = np.unique(groups, return_inverse=True)
    if len(different) == len(labels):
        return _draw_images(labels, shares, rng)
    counts = _count(groups, labels)
    return _draw_groups(counts[:, counts.any(axis=0)], shares, rng)[groups]


def _refuse_scarce(labels: Codes, groups: Codes, num_parts: int, label_names: Sequence[str]) -> None:
    pairs = np.unique(groups * len(label_names) + labels)
    num_units = np.bincount(pairs % len(label_names), minlength=len(label_names))  # (C,) groups with each class
    scarce = [f"{label_names[code]} ({num_units[code]})" for code in np.flatnonzero(num_units < num_parts).tolist()]
    if scarce:
        kind = "images" if len(np.unique(groups)) == len(groups) else "groups"
        raise DataError(
            found=f"{len(scarce)} class(es) with too few {kind} to divide: {name_first(scarce)}.",
            expected=f"at least {num_parts} {kind} of every class to draw a split from, one for each part.",
            fix="add images of these classes, merge them with others, or take them out.",
            code="DATA502",
        )


def _count(groups: Codes, labels: Codes) -> Table:
    """Return (G, C) images of each class in each group, in as few bytes as hold them: there may be a million groups."""
    shape = (int(groups.max()) + 1, int(labels.max()) + 1)
    cells, numbers = np.unique(groups * shape[1] + labels, return_counts=True)
    counts: Table = np.zeros(shape, dtype=np.min_scalar_type(numbers.max()))
    counts.flat[cells] = numbers
    return counts


def _deal_images(labels: Codes, num_folds: int, rng: np.random.Generator) -> Codes:
    """Deal single images to folds like cards, class after class: no two folds differ by more than one of a class."""
    shuffled = rng.permutation(len(labels))
    folds = np.empty(len(labels), dtype=np.int64)
    folds[shuffled[np.argsort(labels[shuffled], kind="stable")]] = np.arange(len(labels)) % num_folds
    return folds


def _draw_images(labels: Codes, shares: NDArray[np.float64], rng: np.random.Generator) -> Codes:
    """Divide single images: every class to the nearest image, and the whole to the nearest image as well."""
    totals = np.bincount(labels)
    quotas = np.zeros((len(totals), len(shares)), dtype=np.int64)  # (C, P); column 0 is what the others leave
    for part in range(1, len(shares)):
        exact = totals * shares[part]
        quotas[:, part] = np.where(totals > 0, np.maximum(np.floor(exact), 1), 0)
        rest = exact - quotas[:, part]
        num_missing = max(0, round(exact.sum()) - int(quotas[:, part].sum()))
        nearest = np.argsort(-rest - 1e-9 * rng.random(len(rest)))[:num_missing]
        quotas[nearest, part] += rest[nearest] > 0
    for quota, total in zip(quotas, totals, strict=True):
        while total > 0 and quota.sum() >= total:
            quota[quota.argmax()] -= 1  # leave one to train on
    quotas[:, 0] = totals - quotas.sum(axis=1)
    parts = np.empty(len(labels), dtype=np.int64)
    for code, quota in enumerate(quotas):
        parts[rng.permutation(np.flatnonzero(labels == code))] = np.repeat(np.arange(len(shares)), quota)
    return parts


def _draw_groups(counts: Table, shares: NDArray[np.float64], rng: np.random.Generator) -> Codes:
    """Return (G,) the part of each group, near the shares for every class and for the whole.

    The first even one of some random starts, or the best of them: one may put a group into val that is nearly as
    large as val.

    Raises:
        DataError: when no start ends with every class in every part.
    """
    targets = shares[:, None] * counts.sum(axis=0)  # (P, C) images wished for
    num_starts = NUM_STARTS if len(counts) <= NUM_TRIED_GROUPS else 1  # many groups come out even at once
    best, best_cost = np.zeros(len(counts), dtype=np.int64), np.inf
    for start in range(NUM_ATTEMPTS):
        if best_cost < EVEN or (start >= num_starts and best_cost < MISSING_CLASS):
            break
        placed, cost = _place_groups(counts, shares, targets, rng)
        if cost < best_cost:
            best, best_cost = placed, cost
    if best_cost < MISSING_CLASS:
        return best
    raise DataError(
        found=f"no way, in {NUM_ATTEMPTS} attempts, to divide {len(counts)} groups.",
        expected="every class in every part, and every group whole.",
        fix="use smaller groups, merge rare classes, or give the column split.",
        code="DATA502",
    )


def _place_groups(
    counts: Table, shares: NDArray[np.float64], targets: Counts, rng: np.random.Generator
) -> tuple[Codes, float]:
    """Return (G,) the part of each group from one random start, and its cost.

    Groups in random order fill one part after the other; then single moves and exchanges that lower the cost are
    made until none is left. To give each group to the part that gains most, or to begin with the largest as
    StratifiedGroupKFold does, sends large groups to train: test's groups had 0.65 of the mean size (here about 0.9).
    """
    order = rng.permutation(len(counts))
    sizes = counts.sum(axis=1)[order]
    middles = (sizes.cumsum() - sizes / 2) / sizes.sum()  # of each group on a line of all images from 0 to 1
    placed = np.empty(len(counts), dtype=np.int64)
    placed[order] = np.searchsorted(shares.cumsum()[:-1], middles)
    filled = np.zeros_like(targets)
    np.add.at(filled, placed, counts)
    for _ in range(NUM_PASSES):
        tried = rng.permutation(len(counts))[:NUM_TRIED_GROUPS]
        num_improved = sum(_improve(group, counts, placed, filled, targets, rng) for group in tried)
        if num_improved == 0:
            break
    return placed, float(_cost(filled, targets).sum())


def _improve(
    group: int, counts: Table, placed: Codes, filled: Counts, targets: Counts, rng: np.random.Generator
) -> bool:
    """Move `group`, or exchange it with another, where that lowers the cost most; say whether it did.

    `placed` (G,) and `filled` (P, C) are kept up to date.
    """
    home = placed[group]
    others = np.flatnonzero(placed != home)
    if len(others) > NUM_PARTNERS:
        others = others[rng.integers(len(others), size=NUM_PARTNERS)]
    elsewhere = np.flatnonzero(np.arange(len(targets)) != home)
    there = np.concatenate([elsewhere, placed[others]])  # (K,) part of each candidate; first the plain moves
    back = np.concatenate([np.zeros((len(elsewhere), counts.shape[1])), counts[others]])  # (K, C) what comes home
    parts = np.stack([np.full(len(there), home), there])  # (2, K)
    moved = np.stack([back - counts[group], counts[group] - back])  # (2, K, C)
    change = (_cost(filled[parts] + moved, targets[parts]) - _cost(filled, targets)[parts]).sum(axis=0)
    best = int(change.argmin())
    if not change[best] < -1e-9:
        return False
    filled[home] += back[best] - counts[group]
    filled[there[best]] += counts[group] - back[best]
    placed[group] = there[best]
    if best >= len(elsewhere):
        placed[others[best - len(elsewhere)]] = home
    return True


def _cost(filled: Counts, targets: Counts) -> Counts:
    """Return (...,) how far (..., C) images of a part are from the targets: chi-square per class and of the sum."""
    size, wished = filled.sum(axis=-1), targets.sum(axis=-1)
    uneven = ((filled - targets) ** 2 / targets).sum(axis=-1) + (size - wished) ** 2 / wished
    cost: Counts = uneven + MISSING_CLASS * (filled < 0.5).sum(axis=-1)
    return cost
