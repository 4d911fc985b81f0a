"""Everything that is looked at before training: files, duplicates, leaks, order, classes, pictures, split.

`fitwell check` prints what is found here, and `train` begins with it, so the two cannot disagree. Nothing is
deleted or changed: what cannot be used is left out of the images, and stays where it is. Never reaches torch.
"""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fitwell.data.check.appearance import find_appearance_problems
from fitwell.data.check.balance import find_class_problems, find_uneven_parts
from fitwell.data.check.duplicates import Duplicates, find_duplicates
from fitwell.data.check.leaks import find_leaks, join_groups
from fitwell.data.check.measure import Scan, scan_images
from fitwell.data.check.order import find_order_leakage, group_by_order
from fitwell.data.dicom import patient_groups
from fitwell.data.finding import Finding, codes, sort_findings
from fitwell.data.index import Dataset
from fitwell.data.labels import ONE_EACH, Labelling
from fitwell.data.preview import CropPlan
from fitwell.data.split import PARTS, assign_folds, assign_splits
from fitwell.errors import DataError, UsageError

if TYPE_CHECKING:
    import pandas as pd

ORDER_RULE = "order:"


@dataclass(frozen=True)
class SplitPlan:
    """How the images are to be divided.

    Attributes:
        val_fraction, test_fraction: shares of the images, in (0, 1).
        folds: number of equal folds, of which number `fold` (from 1) is test; None draws test by its fraction.
        seed: decides the draw.
    """

    val_fraction: float
    test_fraction: float
    folds: int | None = None
    fold: int = 1
    seed: int = 0


@dataclass(frozen=True)
class Inspection:
    """What is known about the images before training.

    Attributes:
        source: what the user named. root: the folder that paths are relative to.
        images: the rows that can be used, with sha256, width, height and brightness, group where images belong
            together, and split unless `undivided` says why it cannot be drawn.
        classes: every class of `images` once, in the order of `labelling`.
        clusters: (N,) number of the cluster of duplicates of each image.
        findings: errors first.
        plan: how the planned evaluation would fit a picture into the network.
        undivided: the error that kept the split from being drawn.
        labelling: how many classes an image may show.
    """

    source: str
    root: Path
    images: pd.DataFrame
    classes: tuple[str, ...]
    clusters: NDArray[np.int64]
    findings: tuple[Finding, ...]
    plan: CropPlan
    undivided: DataError | None = None
    labelling: Labelling = ONE_EACH

    def adding(self, finding: Finding | None) -> Inspection:
        """Return the inspection with one more finding."""
        return replace(self, findings=tuple(sort_findings([*self.findings, *_found(finding)])))

    def summary(self) -> dict[str, Any]:
        """Return the sizes: images, groups, images by class and by part."""
        parts = Counter(self.images["split"]) if self.undivided is None else {}
        return {
            "num_images": len(self.images),
            "num_groups": int(self.images["group"].nunique()) if "group" in self.images else None,
            "class_counts": self.labelling.count(self.images["label"], self.classes),
            "split": {part: parts[part] for part in PARTS if part in parts},
        }


@dataclass(frozen=True)
class Look:
    """What opening every image showed: the slow part of an inspection, which no recipe changes.

    Attributes:
        duplicates: None where too few images can be used to compare them.
    """

    scan: Scan
    duplicates: Duplicates | None


def look_at(dataset: Dataset, *, flips: bool = False, threads: int | None = None) -> Look:
    """Open every image once.

    Args:
        flips: whether mirrored copies count as duplicates.
        threads: that decode; by default as many as there are cores.
    """
    threads = threads or os.cpu_count() or 1
    scan = scan_images(dataset, threads)
    if scan.images["label"].nunique() < 2:
        return Look(scan, None)
    return Look(scan, find_duplicates(dataset.root, scan.images, scan.measures, flips=flips, threads=threads))


def inspect_dataset(dataset: Dataset, look: Look, crop: CropPlan, split: SplitPlan) -> Inspection:
    """Report what stands between these images and an honest result."""
    images, measures, duplicates = look.scan.images, look.scan.measures, look.duplicates
    labelling = dataset.labelling
    findings = [*dataset.findings, *look.scan.findings]
    if duplicates is None:
        return _hopeless(dataset, images, findings, crop)
    if "group" not in images.columns:
        images, patients = _group_by_patient(dataset.root, images)
        findings += patients
    findings += duplicates.findings
    findings += find_leaks(images, duplicates.clusters, duplicates.pairs)
    if "group" not in images.columns and "split" not in images.columns:
        folders = [path.rpartition("/")[0] for path in images["path"].tolist()]
        findings += _found(find_order_leakage(measures.looks, images["label"].to_numpy(), folders))
    groups = join_groups(images, duplicates.clusters)
    images = images if groups is None else images.assign(group=groups)
    findings += find_class_problems(images, split.folds, labelling)
    findings += find_appearance_problems(images, measures, crop)
    images, undivided = _divide(images, split, labelling)
    if undivided is None:
        findings += _found(find_uneven_parts(images, labelling))
    elif undivided.code not in {finding.code for finding in findings}:
        findings.append(Finding(undivided.code, undivided.found))
    classes = labelling.classes(images["label"])
    clusters, ordered = duplicates.clusters, tuple(sort_findings(findings))
    return Inspection(dataset.source, dataset.root, images, classes, clusters, ordered, crop, undivided, labelling)


def group_images(dataset: Dataset, rule: str) -> Dataset:
    """Return the dataset with groups made by `rule`: "order:60" (blocks of the file order) or the name of a column.

    Raises:
        UsageError: when the rule is neither, or the images have groups already.
    """
    length = rule.removeprefix(ORDER_RULE)
    by_order = rule.startswith(ORDER_RULE) and length.isascii() and length.isdigit() and int(length) > 1
    if not by_order and rule not in dataset.slices:
        raise UsageError(
            found=f"--group-by {rule}.",
            expected="order:N with N of at least 2, or one of the columns " + (", ".join(dataset.slices) or "(none)"),
            fix="write for example --group-by order:60.",
        )
    if "group" in dataset.images.columns:
        raise UsageError(
            found=f"--group-by {rule} for images that have a column group.",
            expected="one answer to which images belong together.",
            fix="leave out --group-by, or rename the column.",
        )
    groups = group_by_order(dataset.images, int(length)) if by_order else dataset.images[rule]
    return replace(dataset, images=dataset.images.assign(group=groups))


def _hopeless(dataset: Dataset, images: pd.DataFrame, findings: list[Finding], crop: CropPlan) -> Inspection:
    """Return the inspection of images of which too few can be used to look at them together."""
    classes = dataset.labelling.classes(images["label"])
    alike = "images that can be used, all of which show the same classes"
    error = DataError(
        found=f"{alike if dataset.labelling.several else f'{len(classes)} classes with images that can be used'}.",
        expected="at least 2, because a classifier chooses between classes.",
        fix=codes()["DATA205"].fix,
        code="DATA205",
    )
    told = tuple(sort_findings([*findings, Finding("DATA205", error.found)]))
    alone = np.arange(len(images))
    return Inspection(dataset.source, dataset.root, images, classes, alone, told, crop, error, dataset.labelling)


def _group_by_patient(root: Path, images: pd.DataFrame) -> tuple[pd.DataFrame, list[Finding]]:
    patients = patient_groups(root, list(images["path"]))
    if patients is None:
        return images, []
    message = f"{len(images):,} images of {len(set(patients)):,} patients: {codes()['DATA802'].title}."
    return images.assign(group=patients), [Finding("DATA802", message)]


def draw_split(images: pd.DataFrame, plan: SplitPlan, labelling: Labelling = ONE_EACH) -> pd.DataFrame:
    """Return the images with the column split: a given one, else drawn by the plan.

    Raises:
        DataError: when no split of these images is honest, see `assign_splits` and `assign_folds`.
    """
    val_fraction = plan.val_fraction
    if plan.folds is not None and "split" not in images.columns:
        folds = assign_folds(images, num_folds=plan.folds, seed=plan.seed, labelling=labelling)
        images = images.assign(split=np.where(folds == plan.fold - 1, "test", "train"))
        val_fraction = plan.val_fraction * plan.folds / (plan.folds - 1)  # of all images, drawn from the other folds
    shares = {"val_fraction": val_fraction, "test_fraction": plan.test_fraction}
    return assign_splits(images, **shares, seed=plan.seed, labelling=labelling)


def _divide(images: pd.DataFrame, split: SplitPlan, labelling: Labelling) -> tuple[pd.DataFrame, DataError | None]:
    try:
        return draw_split(images, split, labelling), None
    except DataError as error:
        return images, error


def _found(finding: Finding | None) -> list[Finding]:
    return [] if finding is None else [finding]
