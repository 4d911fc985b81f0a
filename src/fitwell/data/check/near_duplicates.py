"""Pictures whose codes are close: every pair within a few bits, found without comparing all pairs.

Codes are cut into bands. Two codes that differ in at most RADIUS bits differ, in at least one of their bands, in no
more than RADIUS / bands bits; so each band of a code is looked up in a table of all codes' bands, as it is and with
so many bits turned. The more codes, the wider the bands, so that few strangers share one. Never reaches torch.

Source: Norouzi et al. 2012, "Fast Search in Hamming Space with Multi-Index Hashing".
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations, pairwise

import numpy as np
from numpy.typing import NDArray

RADIUS = 6  # bits of 64; half of all bits are set, so distances are even
BITS = 64
FEWEST_BANDS, MOST_BANDS = 3, 5
CHUNK = 8192  # pictures looked up at a time: bounds the memory
MOST_IN_BAND = 256  # codes compared that share a band; others of a crowd are met through those
MOST_CANDIDATES = 8  # pictures kept for each, nearest first


@dataclass(frozen=True)
class Candidates:
    """Pairs that may be one picture: picture `part` as a whole resembles view number `view` of picture `whole`.

    Attributes:
        whole, part, view: (P,) numbers of pictures and of views; each pair of pictures once.
        distance: (P,) bits in which the codes differ, 0 to RADIUS.
        num_compared: how many pairs of codes were compared to find them.
    """

    whole: NDArray[np.int64]
    part: NDArray[np.int64]
    view: NDArray[np.int64]
    distance: NDArray[np.int64]
    num_compared: int


@dataclass(frozen=True)
class _Band:
    """One band of all codes, as a table: code numbers sorted by their bits there, and where each value begins."""

    order: NDArray[np.int64]
    starts: NDArray[np.int64]


def find_candidates(hashes: NDArray[np.uint64], queries: NDArray[np.uint64] | None = None) -> Candidates:
    """Return the pairs of N pictures of which one, as a whole, resembles a view of the other.

    Args:
        hashes: (N, K) codes of all pictures; column 0 is of the whole.
        queries: (N,) codes to look up instead of column 0, such as those of the mirrored pictures.
    """
    num_images, num_views = hashes.shape
    queries = hashes[:, 0] if queries is None else queries
    edges = _band_edges(hashes.size)
    bands = [_table(hashes.ravel(), low, high) for low, high in edges]
    found, num_compared = [np.empty((0, 3), dtype=np.int64)], 0
    for start in range(0, num_images, CHUNK):
        chunk = np.arange(start, min(start + CHUNK, num_images))
        hits = np.empty((0, 3), dtype=np.int64)
        for (low, high), band in zip(edges, bands, strict=True):
            new = [hits]
            for turned in _turns(low, high, len(edges)):
                rows, codes = _matches(band, _bits(queries[chunk] ^ turned, low, high))
                num_compared += len(rows)
                distance = np.bitwise_count(queries[chunk[rows]] ^ hashes.ravel()[codes])
                near = (distance <= RADIUS) & (chunk[rows] != codes // num_views)
                new.append(np.stack([chunk[rows[near]], codes[near], distance[near]], axis=1))
            hits = _nearest(np.concatenate(new), num_views)
        found.append(hits)
    part, code, distance = _once(np.concatenate(found), num_views).T
    return Candidates(code // num_views, part, code % num_views, distance, num_compared)


def _band_edges(num_codes: int) -> list[tuple[int, int]]:
    """Return the lowest bit, and one beyond the highest, of bands that are about log2(num_codes) bits wide."""
    wanted = int(BITS / max(1.0, np.log2(max(num_codes, 2))))
    num_bands = min(MOST_BANDS, max(FEWEST_BANDS, wanted))
    edges = [BITS * band // num_bands for band in range(num_bands + 1)]
    return list(pairwise(edges))


def _bits(codes: NDArray[np.uint64], low: int, high: int) -> NDArray[np.int64]:
    return ((codes >> np.uint64(low)) & np.uint64((1 << (high - low)) - 1)).astype(np.int64)


def _table(codes: NDArray[np.uint64], low: int, high: int) -> _Band:
    values = _bits(codes, low, high)
    starts = np.concatenate([[0], np.cumsum(np.bincount(values, minlength=1 << (high - low)))])
    return _Band(np.argsort(values, kind="stable"), starts)


def _turns(low: int, high: int, num_bands: int) -> Iterator[np.uint64]:
    """Yield each way to turn at most RADIUS / num_bands bits of a band."""
    for count in range(RADIUS // num_bands + 1):
        for positions in combinations(range(low, high), count):
            yield np.uint64(sum(1 << position for position in positions))


def _matches(band: _Band, values: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return row numbers of `values` and, for each, the number of a code with that value in the band."""
    starts = band.starts[values]
    sizes = band.starts[values + 1] - starts
    counts = np.minimum(sizes, MOST_IN_BAND)
    rows = np.repeat(np.arange(len(values)), counts)
    within = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)
    shift = rows * (MOST_IN_BAND // 2)  # each row enters a crowd elsewhere, so that all of it is met by someone
    return rows, band.order[starts[rows] + (within + shift) % sizes[rows]]


def _nearest(hits: NDArray[np.int64], num_views: int) -> NDArray[np.int64]:
    """Return for each picture its nearest MOST_CANDIDATES, with the nearest view of each.

    Args:
        hits: (M, 3) number of the picture, number of the code that it resembles, distance.
    """
    hits = hits[np.lexsort((hits[:, 1], hits[:, 2], hits[:, 1] // num_views, hits[:, 0]))]
    hits = hits[_is_first(hits[:, 0], hits[:, 1] // num_views)]
    hits = hits[np.lexsort((hits[:, 1], hits[:, 2], hits[:, 0]))]
    begins = np.flatnonzero(_is_first(hits[:, 0]))
    rank = np.arange(len(hits)) - np.repeat(begins, np.diff(np.append(begins, len(hits))))
    return hits[rank < MOST_CANDIDATES]


def _once(hits: NDArray[np.int64], num_views: int) -> NDArray[np.int64]:
    """Return each pair of pictures once, as it is nearest, whichever of them is the part."""
    images = np.sort(np.stack([hits[:, 0], hits[:, 1] // num_views], axis=1), axis=1)
    order = np.lexsort((hits[:, 1], hits[:, 2], images[:, 1], images[:, 0]))
    return hits[order][_is_first(images[order, 0], images[order, 1])]


def _is_first(*columns: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Say which rows of sorted columns differ from the row before."""
    changed = np.zeros(len(columns[0]), dtype=bool)
    changed[:1] = True
    for column in columns:
        changed[1:] |= column[1:] != column[:-1]
    return changed
