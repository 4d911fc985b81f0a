"""The same picture more than once: equal files, equal pixels, and near-duplicates.

Copies are clusters that a split keeps together. Hashes propose near-duplicates (near_duplicates.py); the pictures are
decoded once more and laid over each other to decide (same_picture.py). Never reaches torch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from fitwell.data.check.near_duplicates import Candidates, find_candidates
from fitwell.data.check.perceptual_hash import GRID, VIEWS, hash_views
from fitwell.data.check.same_picture import Floats, differences, glance, thumbnail
from fitwell.data.decode import decode_image
from fitwell.data.finding import Case, Finding

if TYPE_CHECKING:
    import pandas as pd

    from fitwell.data.check.measure import Measures

Kind = Literal["file", "pixels", "near"]
BLANK_SPREAD = (
    0.02  # standard deviation below which there is nothing to compare; dead solar cells, mere noise, have 0.019
)
MOST_STRETCH = 1.1  # a 4 % crop of two opposite edges changes width / height by 9 %
BATCH = 64  # pairs laid over each other at a time: 25 MB
MOST_THUMBNAILS = 20_000  # kept decoded: 250 MB
CHUNK = 4096  # pictures flipped and hashed at a time
Flip = tuple[slice, slice]  # of rows and columns
AS_IS: Flip = (slice(None), slice(None))
FLIPS: tuple[Flip, ...] = ((slice(None), slice(None, None, -1)), (slice(None, None, -1), slice(None)))
KINDS: dict[str, tuple[Kind, str]] = {
    "DATA301": ("file", "copies of another, byte for byte"),
    "DATA302": ("pixels", "the pixels of another, in a different file"),
    "DATA303": ("near", "nearly the same picture as another"),
}


@dataclass(frozen=True)
class Pair:
    """Two rows that show one picture.

    Attributes:
        first, second: row numbers, first < second.
        kind: equal files, equal pixels in different files, or nearly the same picture.
        distance: 0 for equal ones; else the largest local difference, in (0, 1], as a share of what is tolerated.
    """

    first: int
    second: int
    kind: Kind
    distance: float = 0.0


@dataclass(frozen=True)
class Duplicates:
    """What is there more than once among N images.

    Attributes:
        clusters: (N,) number of each image's cluster, from 0 by first appearance; an image alone has its own.
        pairs: enough pairs to span every cluster, sorted; not all that there are.
        findings: DATA301 to DATA304.
    """

    clusters: NDArray[np.int64]
    pairs: tuple[Pair, ...]
    findings: tuple[Finding, ...]


class _Clusters:
    """Which of N images belong together, as pairs come in."""

    def __init__(self, num_images: int) -> None:
        self._above = list(range(num_images))

    def top(self, row: int) -> int:
        """Return the image that stands for the cluster of `row`."""
        while self._above[row] != row:
            self._above[row] = row = self._above[self._above[row]]  # halves the way for the next time
        return row

    def join(self, first: int, second: int) -> bool:
        """Put both into one cluster; return whether they were in two."""
        low, high = sorted((self.top(first), self.top(second)))
        self._above[high] = low
        return low != high

    def numbers(self) -> NDArray[np.int64]:
        """Return the number (N,) of each image's cluster, from 0 by first appearance."""
        tops = [self.top(row) for row in range(len(self._above))]  # the first row of each cluster
        return np.unique(tops, return_inverse=True)[1].astype(np.int64)


def find_duplicates(
    root: Path, images: pd.DataFrame, measures: Measures, *, flips: bool = False, threads: int = 1
) -> Duplicates:
    """Find the pictures that are there more than once.

    Args:
        root: folder that the paths are relative to; near-duplicates are decoded once more.
        images: one row per image with path, label, sha256, width and height.
        measures: of these rows.
        flips: whether a mirrored picture, or one upside down, counts as a near-duplicate.
        threads: that lay pictures over each other; the result does not depend on it.
    """
    import pandas as pd

    clusters = _Clusters(len(images))
    pixels = pd.factorize(measures.pixels)[0]
    pairs = [*_equal(pd.factorize(images["sha256"])[0], "file", clusters), *_equal(pixels, "pixels", clusters)]
    is_blank = measures.spreads.max(axis=1) < BLANK_SPREAD
    rows = np.flatnonzero(_is_first(pixels) & ~is_blank)  # one image for each picture that has something on it
    hashes, looks = measures.hashes[rows], measures.looks[rows]
    pictures = _Pictures(root, images.iloc[rows], looks, threads)
    for flip, queries in [(AS_IS, hashes[:, 0])] + [(flip, _flipped_hashes(looks, flip)) for flip in FLIPS if flips]:
        candidates = find_candidates(hashes, queries)
        pairs += _confirm(pictures, candidates, flip, rows, clusters)
    pairs.sort(key=lambda pair: (pair.first, pair.second))
    return Duplicates(clusters.numbers(), tuple(pairs), tuple(_describe(images, pairs)))


def _equal(values: NDArray[np.intp], kind: Kind, clusters: _Clusters) -> Iterator[Pair]:
    """Yield each row whose value was there before, with the row that had it first."""
    firsts = np.flatnonzero(_is_first(values))  # values are numbered by first appearance
    for row in np.flatnonzero(~_is_first(values)):
        first = firsts[values[row]]
        if clusters.join(int(first), int(row)):
            yield Pair(int(first), int(row), kind)


def _is_first(values: NDArray[np.intp]) -> NDArray[np.bool_]:
    """Say which of `values`, numbered by first appearance, were not there before."""
    return values > np.maximum.accumulate(np.concatenate([[-1], values[:-1]]))


def _flipped_hashes(looks: NDArray[np.uint8], flip: Flip) -> NDArray[np.uint64]:
    """Return the codes (N,) that the flipped pictures would have, within 4 bits for 96 % of 4,919 emoji."""
    enlarge = GRID // looks.shape[-1]
    chunks = (looks[start : start + CHUNK] for start in range(0, len(looks), CHUNK))
    large = (chunk[:, *flip].repeat(enlarge, axis=1).repeat(enlarge, axis=2) for chunk in chunks)
    return np.concatenate([np.empty(0, np.uint64), *(hash_views(chunk.astype(np.float32)) for chunk in large)])


class _Pictures:
    """Thumbnails and shapes of images, decoded when asked for and kept while they are many."""

    def __init__(self, root: Path, images: pd.DataFrame, looks: NDArray[np.uint8], threads: int) -> None:
        paths = images["path"].tolist()
        self.threads = threads
        self.shapes = (images["width"] / images["height"]).to_numpy()
        self.looks = looks
        self.thumbnail = lru_cache(MOST_THUMBNAILS)(lambda number: thumbnail(decode_image(root / paths[number])))


def _confirm(
    pictures: _Pictures, candidates: Candidates, flip: Flip, rows: NDArray[np.intp], clusters: _Clusters
) -> Iterator[Pair]:
    """Yield the candidates that are one picture, as far as they join what was not joined before."""
    likely_ones = _worth_a_look(pictures, candidates, flip)
    open_ones = (each for each in likely_ones if clusters.top(rows[each[0]]) != clusters.top(rows[each[1]]))

    def lay(batch: Sequence[tuple[int, int, int]]) -> Floats:
        whole, part, view = zip(*batch, strict=True)
        return differences(
            np.stack([pictures.thumbnail(number) for number in whole]),
            np.stack([pictures.thumbnail(number)[flip] for number in part]),
            VIEWS[list(view)],
        )

    with ThreadPoolExecutor(pictures.threads) as pool:  # decoders and numpy release the interpreter
        while likely := list(islice(open_ones, BATCH * pictures.threads)):
            batches = [likely[start : start + BATCH] for start in range(0, len(likely), BATCH)]
            distances = np.concatenate(list(pool.map(lay, batches)))
            for (whole, part, _), distance in zip(likely, distances.tolist(), strict=True):
                first, second = sorted((int(rows[whole]), int(rows[part])))
                if distance <= 1 and clusters.join(first, second):
                    yield Pair(first, second, "near", distance)


def _worth_a_look(pictures: _Pictures, candidates: Candidates, flip: Flip) -> Iterator[tuple[int, int, int]]:
    """Yield (whole, part, view) of the candidates that have about one shape and look alike when small."""
    shapes, looks = pictures.shapes, pictures.looks
    for start in range(0, len(candidates.whole), CHUNK):
        here = slice(start, start + CHUNK)
        whole, part, view = candidates.whole[here], candidates.part[here], candidates.view[here]
        stretch = shapes[whole] / shapes[part]
        likely = np.maximum(stretch, 1 / stretch) <= MOST_STRETCH
        likely[likely] = glance(looks[whole[likely]], looks[part[likely]][:, *flip], VIEWS[view[likely]])
        yield from zip(whole[likely].tolist(), part[likely].tolist(), view[likely].tolist(), strict=True)


def _describe(images: pd.DataFrame, pairs: Sequence[Pair]) -> Iterator[Finding]:
    """Yield a finding for each kind of pair, and one for pairs with two labels."""
    paths, labels = images["path"].tolist(), images["label"].tolist()
    for code, (kind, what) in KINDS.items():
        cases = tuple(
            Case(paths[pair.second], f"distance {pair.distance:.2f}" if kind == "near" else "", paths[pair.first])
            for pair in pairs
            if pair.kind == kind
        )
        if cases:
            yield Finding(code, f"{len(cases):,} of {len(images):,} images: {what}.", cases)
    torn = [(pair.first, pair.second) for pair in pairs if labels[pair.first] != labels[pair.second]]
    cases = tuple(
        Case(paths[second], f"{labels[second] or 'none'}, the other {labels[first] or 'none'}", paths[first])
        for first, second in torn
    )
    if torn:
        yield Finding("DATA304", f"{len(torn):,} of {len(pairs):,} duplicates: another label than their twin.", cases)
