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

from fitwell.data.labels import ONE_EACH, Labelling
from fitwell.data.place_groups import Codes, Table, place_groups
from fitwell.data.place_label_sets import place_label_sets
from fitwell.data.table import name_first, read_cells
from fitwell.errors import DataError, UsageError
from fitwell.files import sha256_of_text, write_atomically

if TYPE_CHECKING:
    import pandas as pd

PARTS = ("train", "val", "test")
SPLIT_COLUMNS = ("id", "path", "label", "group", "split", "sha256")

Labels = NDArray[Any]  # (N,) numbers of classes; of several an image (N, C) whether it shows each


def assign_splits(
    dataset_images: pd.DataFrame,
    *,
    val_fraction: float,
    test_fraction: float,
    seed: int,
    labelling: Labelling = ONE_EACH,
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
    order, (label_names, labels), (_, groups) = _encode(images, labelling)
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


def assign_folds(
    images: pd.DataFrame, *, num_folds: int, seed: int, labelling: Labelling = ONE_EACH
) -> NDArray[np.int64]:
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
    order, (label_names, labels), (group_names, groups) = _encode(images, labelling)
    _refuse_scarce(labels, groups, num_folds, label_names)
    rng, shares = np.random.default_rng(seed), np.full(num_folds, 1 / num_folds)
    folds = np.empty(len(images), dtype=np.int64)
    if labelling.several:
        folds[order] = place_label_sets(labels, groups, shares, rng)
    elif len(group_names) == len(images):
        folds[order] = _deal_images(labels, num_folds, rng)
    else:
        folds[order] = place_groups(_count(groups, labels), shares, rng)[groups]
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


def _encode(
    images: pd.DataFrame, labelling: Labelling
) -> tuple[Codes, tuple[Sequence[str], Labels], tuple[list[str], Codes]]:
    """Return the rows by path, and in that order names and numbers of labels and of groups; alone is a group too.

    Where an image may show several classes, (N, C) says which.
    """
    order = np.argsort(images["path"].to_numpy(dtype=object), kind="stable")
    units = images["group" if "group" in images.columns else "path"]
    groups, labels = _number(units.take(order).tolist()), images["label"].take(order).tolist()
    if not labelling.several:
        return order, _number(labels), groups
    classes = labelling.classes(labels)
    return order, (classes, labelling.targets(labels, classes)), groups


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


def _shown(labels: Labels) -> tuple[Codes, Codes]:
    """Return the number of an image and of a class that it shows, for every such pair."""
    images, classes = (np.arange(len(labels)), labels) if labels.ndim == 1 else np.nonzero(labels)
    return images, classes


def _require_classes(labels: Labels, parts: Codes, names: Sequence[str], drawn: list[int]) -> None:
    for part in (0, 1, *(part for part in drawn if part == 2)):
        present = set(_shown(labels[parts == part])[1].tolist())
        missing = [name for code, name in enumerate(names) if code not in present]
        if missing:
            raise DataError(
                found=f"no image of {name_first(missing)} in {PARTS[part]}.",
                expected=f"every class in {PARTS[part]}.",
                fix="add images of these classes there, or leave out the split and let fitwell draw it.",
                code="DATA503",
            )


def _draw(
    labels: Labels, groups: Codes, shares: NDArray[np.float64], rng: np.random.Generator, label_names: Sequence[str]
) -> Codes:
    """Return (N,) the part of each image, 0 to P - 1, for (P,) shares; no group is divided.

    Raises:
        DataError: when some class cannot be in every part.
    """
    _refuse_scarce(labels, groups, len(shares), label_names)
    different, groups = np.unique(groups, return_inverse=True)
    if labels.ndim == 2:
        return place_label_sets(labels, groups, shares, rng)
    if len(different) == len(labels):
        return _draw_images(labels, shares, rng)
    counts = _count(groups, labels)
    return place_groups(counts[:, counts.any(axis=0)], shares, rng)[groups]


def _refuse_scarce(labels: Labels, groups: Codes, num_parts: int, label_names: Sequence[str]) -> None:
    images, shown = _shown(labels)
    pairs = np.unique(groups[images] * len(label_names) + shown)
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
