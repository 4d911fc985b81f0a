"""Open every image once and keep what later checks need: hashes, size, colours, and what is wrong with the file.

Nothing else in fitwell decides whether an image can be used: training and evaluation see what is left here.
Never reaches torch.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fitwell.data.check.perceptual_hash import NUM_HASHES, perceptual_hashes
from fitwell.data.decode import read_image
from fitwell.data.finding import Case, Finding, gather_findings
from fitwell.errors import DataError
from fitwell.files import sha256_of_file

if TYPE_CHECKING:
    import pandas as pd

    from fitwell.data.index import Dataset

LOOK_SIDE = 16
CHUNK = 512  # images in flight: a million waiting results would take a gigabyte


@dataclass(frozen=True)
class Measures:
    """What was seen in each of N images, in the order of the rows.

    Attributes:
        pixels: (N,) hex digest of the upright RGB pixels and their size; equal for equal pictures.
        hashes: (N, K) perceptual hashes, see perceptual_hash.py.
        looks: (N, 16, 16) the whole picture in grey.
        means, spreads: (N, 3) mean and standard deviation of red, green and blue, in [0, 1].
        details: (N,) entropy of the grey values in bits, 0 (one value) to 8.
        formats: what the bytes are, such as "PNG". modes: Pillow's name of the stored pixel type, such as "RGBA".
    """

    pixels: NDArray[np.bytes_]
    hashes: NDArray[np.uint64]
    looks: NDArray[np.uint8]
    means: NDArray[np.float32]
    spreads: NDArray[np.float32]
    details: NDArray[np.float32]
    formats: NDArray[np.str_]
    modes: NDArray[np.str_]


@dataclass(frozen=True)
class Scan:
    """The images that can be used, and what was found out about all.

    Attributes:
        images: rows of the dataset whose image decodes, with the columns sha256, width and height (upright, pixels)
            and brightness (mean of all pixels, in [0, 1]).
        measures: of these rows.
        findings: about files, one per code.
    """

    images: pd.DataFrame
    measures: Measures
    findings: tuple[Finding, ...]


def scan_images(dataset: Dataset, threads: int) -> Scan:
    """Decode every image of `dataset` once; what cannot be decoded is a finding and left out."""
    paths = [str(path) for path in dataset.images["path"]]
    table = np.zeros(len(paths), dtype=_row_type())
    usable = np.zeros(len(paths), dtype=bool)
    cases: dict[str, list[Case]] = defaultdict(list)
    for row, seen in enumerate(_measure_all(dataset.root, paths, threads)):
        if isinstance(seen, DataError):
            cases[seen.code].append(Case(paths[row], seen.found.removeprefix(str(dataset.root / paths[row])).strip()))
            continue
        table[row], usable[row] = seen.fields, True
        for code, detail in seen.notes:
            cases[code].append(Case(paths[row], detail))
    findings = gather_findings(cases, f"{len(paths):,} images")
    table = table[usable]
    images = dataset.images[usable].reset_index(drop=True)
    brightness = table["means"].mean(axis=1).round(3)
    sides = {"width": table["width"], "height": table["height"]}
    images = images.assign(sha256=table["sha256"].astype(str), **sides, brightness=brightness)
    measures = Measures(**{field.name: table[field.name] for field in dataclasses.fields(Measures)})
    return Scan(images, measures, findings)


@dataclass(frozen=True)
class _Seen:
    """What was seen in one image: `fields` in the order of `_row_type`, and (code, detail) of what was noticed."""

    fields: tuple[object, ...]
    notes: tuple[tuple[str, str], ...]


def _row_type() -> np.dtype[np.void]:
    """Return the type of one row: 0.6 kB, where a dictionary of small arrays would take 3 kB."""
    return np.dtype(
        [
            ("sha256", "S64"),
            ("width", np.int32),
            ("height", np.int32),
            ("pixels", "S32"),
            ("hashes", np.uint64, (NUM_HASHES,)),
            ("looks", np.uint8, (LOOK_SIDE, LOOK_SIDE)),
            ("means", np.float32, (3,)),
            ("spreads", np.float32, (3,)),
            ("details", np.float32),
            ("formats", "U8"),
            ("modes", "U16"),
        ]
    )


def _measure_all(root: Path, paths: list[str], threads: int) -> Iterator[_Seen | DataError]:
    """Yield what was seen in each image, in order; the decoders release the interpreter, so threads are enough."""
    with ThreadPoolExecutor(max_workers=max(1, threads)) as pool:
        for start in range(0, len(paths), CHUNK):
            yield from pool.map(lambda path: _measure(root / path), paths[start : start + CHUNK])


def _measure(path: Path) -> _Seen | DataError:
    try:
        decoded = read_image(path)
        digest = sha256_of_file(path)
    except DataError as error:
        return error
    image = decoded.image
    grey = image.convert("L")
    fields = (
        digest,
        image.width,
        image.height,
        hashlib.blake2b(image.tobytes() + b"%d" % image.width, digest_size=16).hexdigest(),
        perceptual_hashes(image),
        np.asarray(grey.resize((LOOK_SIDE, LOOK_SIDE), Image.Resampling.BOX)),
        *_moments(image.histogram()),
        grey.entropy(),
        decoded.format,
        decoded.mode,
    )
    return _Seen(fields, decoded.notes)


def _moments(histogram: list[int]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return mean and standard deviation (3,) in [0, 1] from the (3 * 256,) histogram of an RGB image."""
    shares = np.reshape(histogram, (3, 256)) / (sum(histogram) / 3)
    values = np.arange(256) / 255
    means = shares @ values
    return means, np.sqrt(np.maximum(shares @ values**2 - means**2, 0))
