"""How many images of each class there are, in all and in each part. Never reaches torch."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from fitwell.data.finding import Case, Finding
from fitwell.data.labels import ONE_EACH, Labelling
from fitwell.data.split import PARTS

if TYPE_CHECKING:
    import pandas as pd

IMBALANCE_RATIO = 1.5  # largest class over smallest, from which accuracy and an unweighted loss favour the largest
FEW_IMAGES, FEW_GROUPS = 20, 5
UNEVEN_SHARE = 0.05  # of a part, by which a class share may differ from its share of all images
UNEVEN_RATIO = 1.5  # by which it may be larger or smaller
SELDOM_SHARE = 0.05  # of the images, below which a class is seldom shown; the same of those that do not show it
UNEVEN_IMAGES = 2  # below which a difference is rounding; none of 60 usual grouped sets reaches all three


def find_class_problems(
    images: pd.DataFrame, num_folds: int | None = None, labelling: Labelling = ONE_EACH
) -> list[Finding]:
    """Return what is wrong with the classes before a split is drawn (DATA501, 502, 503, 505, 506, 507).

    Args:
        images: rows with path and label; group where images belong together; split where it is given.
        num_folds: how many folds are asked for, which a given split overrules; None divides into three parts.
    """
    import pandas as pd

    unit, kind = ("group", "groups") if "group" in images.columns else ("path", "images")
    rows = labelling.by_class(images)
    classes = sorted(labelling.classes(images["label"]))  # a column of zeros is a class that no image shows
    counts = rows["label"].value_counts().reindex(classes, fill_value=0)
    findings = []
    least, pool = num_folds or len(PARTS), rows
    if "split" in images.columns:
        parts = sorted(set(images["split"]))
        given = pd.crosstab(rows["label"], rows["split"]).reindex(index=classes, columns=parts, fill_value=0)
        findings = _find_missing_classes(given)
        # What is missing from the given train is told by now; parts that are not given are drawn from train.
        pool = rows[rows["split"] == "train"]
        least = 1 + sum(part not in given.columns for part in PARTS[1:])
    num_units = pool.groupby("label")[unit].nunique()
    if "split" not in images.columns:
        num_units = num_units.reindex(classes, fill_value=0)
    small = {} if least == 1 else {label: number for label, number in num_units.items() if number < least}
    if small:
        cases = tuple(
            Case(str(label), f"{number} {kind[: None if number != 1 else -1]}") for label, number in small.items()
        )
        message = f"{len(small)} of {len(counts)} classes have fewer than the {least} {kind} that a division takes."
        findings.append(Finding("DATA502", message, cases))
    few = _find_few(counts, rows.groupby("label")[unit].nunique().reindex(classes, fill_value=0), kind, set(small))
    uneven = _find_seldom(counts, len(images)) if labelling.several else _find_imbalance(counts)
    return [*findings, *few, *uneven]


def find_uneven_parts(images: pd.DataFrame, labelling: Labelling = ONE_EACH) -> Finding | None:
    """Return DATA504 when a class has another share of some part than of all images, beyond rounding.

    Evidence: largest_deviation of a share (fraction of a part), and the number of images of each part.
    """
    import pandas as pd

    rows = labelling.by_class(images)
    counts = pd.crosstab(rows["label"], rows["split"])  # (C, P)
    sizes = images["split"].value_counts().reindex(counts.columns)
    wished = counts.sum(axis=1) / len(images)  # (C,) share of all
    shares = counts / sizes
    off = shares.sub(wished, axis=0).abs()
    ratio = shares.div(wished, axis=0)
    is_large = (off > UNEVEN_SHARE) | (ratio > UNEVEN_RATIO) | (ratio < 1 / UNEVEN_RATIO)
    is_uneven = is_large & (off * sizes > UNEVEN_IMAGES)
    cases = tuple(
        Case(str(label), f"{shares.loc[label, part]:.1%} of {part}, {wished[label]:.1%} of all")
        for label in counts.index
        for part in PARTS
        if part in counts.columns and is_uneven.loc[label, part]
    )
    if not cases:
        return None
    worst = float(off[is_uneven].max().max())
    return Finding(
        "DATA504",
        f"{int(is_uneven.any(axis=1).sum())} of {len(counts)} classes have other shares of a part than of all images, "
        f"by up to {100 * worst:.1f} percentage points.",
        cases,
        {"largest_deviation": round(worst, 4), "part_sizes": {str(part): int(size) for part, size in sizes.items()}},
    )


def _find_missing_classes(given: pd.DataFrame) -> list[Finding]:
    """Return which classes of a table (C, P) of images have none in the given parts."""
    missing = {
        part: [str(label) for label in given.index if part not in given.columns or given.loc[label, part] == 0]
        for part in PARTS
        if part in given.columns or part == "train"
    }
    needed = tuple(Case(label, f"none in {part}") for part in PARTS[:2] for label in missing.get(part, []))
    findings = []
    if needed:
        labels = {case.name for case in needed}
        message = f"{len(labels)} of {len(given)} classes are missing from train or val of the given split."
        findings.append(Finding("DATA503", message, needed))
    if missing.get("test"):
        message = f"{len(missing['test'])} of {len(given)} classes are missing from test of the given split."
        findings.append(Finding("DATA506", message, tuple(Case(label) for label in missing["test"])))
    return findings


def _find_few(counts: pd.Series[int], num_units: pd.Series[int], kind: str, told: set[object]) -> list[Finding]:
    few = counts < FEW_IMAGES
    limit = f"{FEW_IMAGES} images"
    if kind == "groups":
        few |= num_units < FEW_GROUPS
        limit += f" or {FEW_GROUPS} groups"
    cases = tuple(
        Case(str(label), f"{counts[label]} images" + (f" in {num_units[label]} groups" if kind == "groups" else ""))
        for label in counts.index[few]
        if label not in told
    )
    if not cases:
        return []
    return [Finding("DATA505", f"{len(cases)} of {len(counts)} classes have fewer than {limit}.", cases)]


def _find_imbalance(counts: pd.Series[int]) -> list[Finding]:
    """Return DATA501. Evidence: ratio of the largest to the smallest class, and the effective number of classes.

    The latter is how many equally large classes would be as diverse: exp of the entropy of their shares.

    Source: Hill 1973, doi:10.2307/1934352, number of order 1.
    """
    largest, smallest = int(counts.max()), int(counts.min())
    if largest < IMBALANCE_RATIO * smallest:
        return []
    message = (
        f"The largest class has {largest / smallest:.1f} times the images of the smallest ({largest} and {smallest}), "
        f"and always naming it would be right for {largest / counts.sum():.0%}."
    )
    cases = tuple(
        Case(str(label), f"{number} image{'s' * (number != 1)}") for label, number in counts.sort_values().items()
    )
    shares = counts / counts.sum()
    effective = math.exp(-sum(share * math.log(share) for share in shares))
    evidence = {"ratio": round(largest / smallest, 2), "effective_classes": round(effective, 2)}
    return [Finding("DATA501", message, cases, evidence)]


def _find_seldom(counts: pd.Series[int], num_images: int) -> list[Finding]:
    """Return DATA507, the rarest first. Evidence: smallest and largest share of the images that show a class."""
    shares = counts.sort_values() / num_images
    seldom = shares[(shares < SELDOM_SHARE) | (shares > 1 - SELDOM_SHARE)]
    if seldom.empty:
        return []
    cases = tuple(
        Case(str(label), f"shown by {share * num_images:,.0f} of {num_images:,} images, {share:.1%}")
        for label, share in seldom.items()
    )
    limits = f"fewer than {SELDOM_SHARE:.0%} of the images, or by more than {1 - SELDOM_SHARE:.0%}"
    message = f"{len(cases)} of {len(counts)} classes are shown by {limits}."
    evidence = {"smallest_share": round(float(shares.min()), 4), "largest_share": round(float(shares.max()), 4)}
    return [Finding("DATA507", message, cases, evidence)]
