"""What is in the folder: images, their classes, and where each lies.

Reads names only, so it is instant; `scan_images` then opens each file once. Never reaches torch.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from fitwell.data.decode import decode_image
from fitwell.data.table import MEASURED_COLUMNS, SPLIT_NAMES, TABLE_SUFFIXES, name_first, read_table
from fitwell.errors import DataError, UsageError
from fitwell.files import sha256_of_file

if TYPE_CHECKING:
    import pandas as pd

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif"})
NEVER_CLASSES = frozenset({"__MACOSX"})
KNOWN_COLUMNS = ("path", "label", "group", "split", "weight", *MEASURED_COLUMNS)
LAYOUT = "one folder per class with images in it, as they are or below train/, val/ and test/; or a table."


@dataclass(frozen=True)
class Dataset:
    """Labelled images.

    Attributes:
        root: the folder that paths are relative to.
        images: one row per image, sorted by path. Columns: path (posix), label, and when given group, split
            ("train", "val", "test"), weight (float); every other column is a slice, as text.
        classes: every label once, sorted.
        source: what the user named.
    """

    root: Path
    images: pd.DataFrame
    classes: tuple[str, ...]
    source: str

    @property
    def slices(self) -> list[str]:
        """Return the names of the columns that divide the images for the report."""
        return [str(name) for name in self.images.columns if name not in KNOWN_COLUMNS]


def index_dataset(source: Path, image_root: Path | None = None) -> Dataset:
    """Return what a folder of class folders, or a table, says.

    In a folder: hidden names and `__MACOSX` are left out, an image deeper inside a class folder belongs to that
    class, and a linked folder inside the root is not followed, because its images are counted where they lie.

    Args:
        source: a folder, or a .csv, .tsv or .parquet file.
        image_root: the folder that a table's paths are relative to; by default the table's own.

    Raises:
        UsageError: when `source` or `image_root` does not exist or cannot be one.
        DataError: when the images cannot be trained on as they are labelled.
    """
    if not source.exists():
        raise UsageError(found=f"{source} does not exist.", expected=LAYOUT, fix="correct the path.")
    root, images = _locate(source, image_root)
    classes = tuple(sorted(set(images["label"])))
    if len(classes) < 2:
        raise DataError(
            found=f"{len(classes)} class(es) in {source}: {name_first(classes) or 'none'}.",
            expected="at least 2, because a classifier chooses between classes.",
            fix="give each class its own folder, e.g. cats/001.jpg and dogs/001.jpg, or its own label.",
        )
    return Dataset(root=root, images=images, classes=classes, source=str(source))


def scan_images(dataset: Dataset, threads: int) -> pd.DataFrame:
    """Decode every image once; return `dataset.images` with the columns sha256, width and height (upright, pixels).

    Raises:
        DataError: names the number of images that cannot be decoded and the first 10 of them.
    """
    paths = [str(path) for path in dataset.images["path"]]
    with ThreadPoolExecutor(max_workers=max(1, threads)) as pool:
        results = list(pool.map(lambda path: _scan(dataset.root / path), paths))
    faults = [f"{path}: {fault}" for path, fault in zip(paths, results, strict=True) if isinstance(fault, str)]
    if faults:
        raise DataError(
            found=f"{len(faults)} of {len(paths)} images cannot be used:\n  " + "\n  ".join(faults[:10]),
            expected="every image to decode, because training would stop at the first that does not.",
            fix="replace these files, or take them and their rows out of the dataset.",
        )
    measured = [result for result in results if not isinstance(result, str)]
    return dataset.images.assign(
        sha256=[digest for digest, _, _ in measured],
        width=[width for _, width, _ in measured],
        height=[height for _, _, height in measured],
    )


def _locate(source: Path, image_root: Path | None) -> tuple[Path, pd.DataFrame]:
    """Return the root and the rows of a folder or a table."""
    if source.is_dir():
        if image_root is not None:
            raise UsageError(
                found=f"a folder of images ({image_root}) beside a folder of class folders ({source}).",
                expected="that folder only beside a table.",
                fix="leave it out.",
            )
        return source.resolve(), _index_folder(source.resolve())
    if source.suffix.lower() not in TABLE_SUFFIXES:
        raise UsageError(
            found=f"{source} is neither a folder nor a table.",
            expected=f"a folder, or a file that ends in {', '.join(TABLE_SUFFIXES)}.",
            fix="give the folder that holds the class folders, or the table.",
        )
    root = (image_root or source.parent).resolve()
    if not root.is_dir():
        raise UsageError(found=f"{root} is not a folder.", expected="the folder of images.", fix="correct the path.")
    return root, read_table(source, root)


def _scan(path: Path) -> tuple[str, int, int] | str:
    """Return (sha256, width, height), or why not."""
    try:
        image = decode_image(path)
    except DataError as error:
        return error.found.removeprefix(str(path)).strip()
    return sha256_of_file(path), image.width, image.height


def _index_folder(root: Path) -> pd.DataFrame:
    import pandas as pd

    folders, loose = _visible(root, root)
    parts = [name for name in folders if name.lower() in SPLIT_NAMES]
    others = [name for name in folders if name not in parts]
    if parts and others and any(_visible(root / name, root)[0] for name in parts):
        raise DataError(
            found=f"{root} holds the split folder(s) {name_first(parts)} beside {name_first(others)}.",
            expected="either only split folders, or only class folders.",
            fix="move the other folders away, or rename a class that is called train, val or test.",
        )
    rows: list[dict[str, str]] = []
    is_split = bool(parts) and not others
    class_folders: set[str] = set(() if is_split else folders)
    for part in parts if is_split else ():
        names, loose_here = _visible(root / part, root)
        loose += [f"{part}/{name}" for name in loose_here]
        class_folders.update(names)
        for name in names:
            rows += [
                {"path": path, "label": name, "split": SPLIT_NAMES[part.lower()]}
                for path in _images_below(root / part / name, root)
            ]
    if not is_split:
        rows = [{"path": path, "label": name} for name in folders for path in _images_below(root / name, root)]
    _refuse_unlabelled(root, class_folders, {row["label"] for row in rows}, loose)
    return pd.DataFrame(rows, dtype=str).sort_values("path").reset_index(drop=True)


def _refuse_unlabelled(root: Path, class_folders: set[str], labels: set[str], loose: list[str]) -> None:
    empty = sorted(class_folders - labels)
    if loose:
        raise DataError(
            found=f"{len(loose)} image(s) outside any class folder of {root}: {name_first(loose)}.",
            expected=LAYOUT,
            fix="move each of them into the folder of its class, or away.",
        )
    if not class_folders:
        raise DataError(
            found=f"{root} holds no class folder.", expected=LAYOUT, fix="give the folder that holds the class folders."
        )
    if empty:
        raise DataError(
            found=f"{len(empty)} class folder(s) of {root} without an image: {name_first(empty)}.",
            expected=f"images that end in {', '.join(sorted(IMAGE_SUFFIXES))}.",
            fix="put images into these folders, convert what lies there, or remove the folders.",
        )


def _images_below(folder: Path, root: Path) -> Iterator[str]:
    """Yield the images at any depth below `folder`, relative to `root`."""
    waiting = [folder]
    while waiting:
        here = waiting.pop()
        folders, images = _visible(here, root)
        waiting += [here / name for name in folders]
        for name in images:
            yield PurePosixPath((here / name).relative_to(root)).as_posix()


def _visible(folder: Path, root: Path) -> tuple[list[str], list[str]]:
    """Return the names of the folders and of the images directly in `folder`, sorted, without opening any file."""
    try:
        with os.scandir(folder) as entries:
            found = sorted((entry for entry in entries if entry.name[0] != "."), key=lambda entry: entry.name)
    except OSError as error:
        raise DataError(
            found=f"{folder} cannot be read: {error.strerror}.",
            expected="every folder of the dataset to be readable.",
            fix="change its permissions, or take it out of the dataset.",
        ) from error
    folders, images = [], []
    for entry in found:
        if entry.name in NEVER_CLASSES:
            continue
        is_image = PurePosixPath(entry.name).suffix.lower() in IMAGE_SUFFIXES
        if entry.is_symlink():
            is_image = is_image and _is_image_link(Path(entry.path))
            if is_image or Path(entry.path).is_dir():
                _refuse_link_out(Path(entry.path), root)
        elif entry.is_dir():
            folders.append(_readable_name(entry.name, folder))
            continue
        elif not entry.is_file():  # a pipe, a socket or a device
            continue
        if is_image:
            images.append(_readable_name(entry.name, folder))
    return folders, images


def _is_image_link(link: Path) -> bool:
    """Say whether a link is to be taken for an image; a broken one is, so that it is reported and not lost."""
    return os.path.isfile(link) or not os.path.exists(link)  # noqa: PTH110, PTH113 - quiet about loops


def _refuse_link_out(link: Path, root: Path) -> None:
    if not Path(os.path.realpath(link)).is_relative_to(root):
        raise DataError(
            found=f"{link} is a link that leaves {root}.",
            expected="every image to lie below the folder of the dataset.",
            fix="copy what it points to into the dataset, or remove the link.",
        )


def _readable_name(name: str, folder: Path) -> str:
    try:
        name.encode()
    except UnicodeEncodeError:
        raise DataError(
            found=f"the name {os.fsencode(name)!r} in {os.fsencode(folder)!r} is not UTF-8.",
            expected="names that can be written into reports.",
            fix="rename it.",
        ) from None
    return name
