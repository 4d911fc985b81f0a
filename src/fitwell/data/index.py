"""What is in the folder: images, their classes, and where each lies.

Reads names only, so it is instant; measure.py then opens each file once. Whatever is wrong becomes a finding, and
the image is left out. Never reaches torch.
"""

from __future__ import annotations

import difflib
import os
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from fitwell.data.finding import Case, Finding, gather_findings, refuse_errors
from fitwell.data.folder import LAYOUT, read_folder
from fitwell.data.labels import ONE_EACH, Labelling, find_joined, join_names
from fitwell.data.names import find_odd_names
from fitwell.data.table import MEASURED_COLUMNS, TABLE_SUFFIXES, name_first, read_table
from fitwell.errors import DataError, UsageError

if TYPE_CHECKING:
    import pandas as pd

KNOWN_COLUMNS = ("path", "label", "group", "split", "weight", *MEASURED_COLUMNS)


@dataclass(frozen=True)
class Dataset:
    """Labelled images.

    Attributes:
        root: the folder that paths are relative to.
        images: one row per usable image, in file order: as a table lists them, or in the natural order of paths
            (2.png before 10.png). Columns: path (posix), label, and when given group, split ("train", "val",
            "test"), weight (float); every other column is a slice, as text.
        classes: every class once, in the order of `labelling`.
        source: what the user named.
        labelling: how many classes an image may show; with several, a label is their names joined by |.
        findings: what is wrong or odd, one for each kind; see `finding.refuse_errors`.
    """

    root: Path
    images: pd.DataFrame
    classes: tuple[str, ...]
    source: str
    findings: tuple[Finding, ...] = ()
    labelling: Labelling = ONE_EACH

    @property
    def slices(self) -> list[str]:
        """Return the names of the columns that divide the images for the report."""
        return [str(name) for name in self.images.columns if name not in KNOWN_COLUMNS]


def index_dataset(source: Path, image_root: Path | None = None, labelling: Labelling = ONE_EACH) -> Dataset:
    """Return what a folder of class folders, or a table, says, and what is wrong with it.

    In a folder: hidden names and `__MACOSX` are left out, an image deeper inside a class folder belongs to that
    class, and a linked folder inside the root is not followed, because its images are counted where they lie.

    Args:
        source: a folder, or a .csv, .tsv or .parquet file.
        image_root: the folder that a table's paths are relative to; by default the table's own.
        labelling: how many classes an image may show, and where a table says which.

    Raises:
        UsageError: when `source` or `image_root` does not exist or cannot be one.
        DataError: when what is usable has fewer than two classes or others than `labelling`, or the whole cannot be
            read.
    """
    if not os.path.exists(source):  # noqa: PTH110 - pathlib raises on a name that is too long
        raise UsageError(found=f"{source} does not exist.", expected=LAYOUT, fix="correct the path.")
    root, images, findings = _locate(source, image_root, labelling)
    classes = labelling.classes(images["label"])
    cases = find_odd_names(images, classes)
    if not labelling.several:
        cases["DATA218"] = [Case(label) for label in find_joined(classes)]
    findings = (*findings, *gather_findings(cases, f"{len(images):,} images, their folders and classes"))
    _require_known(images["label"].tolist(), labelling, source)
    if len(classes) < 2:
        refuse_errors(findings, str(source))  # which may be why
        raise DataError(
            found=f"{len(classes)} class(es) in {source}: {name_first(classes) or 'none'}.",
            expected="at least 2, because a classifier chooses between classes.",
            fix="give each class its own folder, e.g. cats/001.jpg and dogs/001.jpg, or its own label.",
            code="DATA205",
        )
    return Dataset(
        root=root, images=images, classes=classes, source=str(source), findings=findings, labelling=labelling
    )


def rename_classes(dataset: Dataset, renames: Mapping[str, str]) -> Dataset:
    """Return the same images, the classes that `renames` names under their other name.

    Raises:
        UsageError: when there is no such class.
    """
    missing = sorted(set(renames) - set(dataset.classes))
    if missing:
        raise UsageError(
            found=f"--rename {missing[0]}={renames[missing[0]]}, and {dataset.source} has no class {missing[0]}.",
            expected=f"one of its classes: {name_first(dataset.classes)}.",
            fix="correct the name before the equals sign.",
        )
    before = dataset.labelling
    labelling = replace(before, columns=tuple(renames.get(name, name) for name in before.columns))
    shown = (before.names(label) for label in dataset.images["label"])
    labels = [join_names({renames.get(name, name) for name in names}) for names in shown]
    images = dataset.images.assign(label=labels)
    return replace(dataset, images=images, classes=labelling.classes(labels), labelling=labelling)


def suggest_renames(unknown: Sequence[str], known: Sequence[str]) -> str:
    """Return the options that would rename the classes, each to the nearest known name, or to be filled in."""
    pairs = (f"{name}={_nearest(name, known) or 'CLASS'}" for name in unknown)
    return " ".join(f"--rename {shlex.quote(pair)}" for pair in pairs)


def _nearest(name: str, known: Sequence[str]) -> str | None:
    """Return the one known name that has all words of `name`, as food-drink has food, or is spelled most like it."""
    words = _words(name)
    alike = [each for each in known if words and words <= _words(each)]
    if len(alike) == 1:
        return alike[0]
    folded = {each.casefold(): each for each in known}
    found = difflib.get_close_matches(name.casefold(), folded, n=1)
    return folded[found[0]] if found else None


def _words(name: str) -> set[str]:
    return set(re.findall(r"[^\W_]+", name.casefold()))


def _require_known(labels: Sequence[str], labelling: Labelling, source: Path) -> None:
    """Refuse labels that name other classes than those that are asked for."""
    named = {name for label in set(labels) for name in labelling.names(label)} if labelling.columns else set()
    unknown = sorted(named - set(labelling.columns))
    if unknown:
        raise DataError(
            found=f"{source} names {len(unknown)} classes that are not in target.columns: {name_first(unknown)}.",
            expected=f"only {name_first(labelling.columns)}.",
            fix="add them to target.columns, or correct the labels.",
        )


def _locate(
    source: Path, image_root: Path | None, labelling: Labelling
) -> tuple[Path, pd.DataFrame, tuple[Finding, ...]]:
    """Return the root, the rows and the findings of a folder or a table."""
    if source.is_dir():
        if image_root is not None:
            raise UsageError(
                found=f"a folder of images ({image_root}) beside a folder of class folders ({source}).",
                expected="that folder only beside a table.",
                fix="leave it out.",
            )
        root = Path(os.path.realpath(source))
        images, findings = read_folder(root)
        labels = [join_names(labelling.names(label)) for label in images["label"].tolist()]
        return root, images.assign(label=labels), findings
    if source.suffix.lower() not in TABLE_SUFFIXES:
        raise UsageError(
            found=f"{source} is neither a folder nor a table.",
            expected=f"a folder, or a file that ends in {', '.join(TABLE_SUFFIXES)}.",
            fix="give the folder that holds the class folders, or the table.",
        )
    root = Path(os.path.realpath(image_root or source.parent))
    if not root.is_dir():
        raise UsageError(found=f"{root} is not a folder.", expected="the folder of images.", fix="correct the path.")
    return root, *read_table(source, root, labelling)
