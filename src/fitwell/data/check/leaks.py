"""What must not lie on two sides of a split: groups, copies of a picture, and both joined. Never reaches torch."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fitwell.data.finding import Case, Finding
from fitwell.data.split import PARTS

if TYPE_CHECKING:
    import pandas as pd

    from fitwell.data.check.duplicates import Pair

MOST_NAMES = 3  # of members in the name of a joined group

Codes = NDArray[np.int64]


def find_leaks(images: pd.DataFrame, clusters: Codes, pairs: Sequence[Pair]) -> list[Finding]:
    """Return what lies in several parts of the given split: groups, the same picture, near-duplicates (DATA401-403).

    Args:
        images: rows with path, split and perhaps group; nothing is found without the column split.
        clusters: (N,) number of the cluster of duplicates of each image.
        pairs: duplicates that span the clusters; those that are the same picture are told from near ones by kind.
    """
    if "split" not in images.columns:
        return []
    exact = [pair for pair in pairs if pair.kind != "near"]
    same = _join(len(images), [pair.first for pair in exact], [pair.second for pair in exact])
    copies = _stray(images, same, "the same picture")
    told = {case.name for case in copies}
    alike = [case for case in _stray(images, clusters, "one like it") if case.name not in told]
    findings = []
    groups = _divided_groups(images)
    if groups:
        num_groups = images["group"].nunique()
        findings.append(Finding("DATA401", f"{len(groups)} of {num_groups} groups lie in more than one part.", groups))
    if copies:
        message = f"{len(copies):,} of {len(images):,} images lie in another part than the same picture."
        findings.append(Finding("DATA402", message, copies))
    if alike:
        message = f"{len(alike):,} of {len(images):,} images lie in another part than a near-duplicate."
        findings.append(Finding("DATA403", message, tuple(alike)))
    return findings


def join_groups(images: pd.DataFrame, clusters: Codes) -> pd.Series | None:
    """Return the group of each image: groups and clusters of duplicates that share an image are one.

    An image that belongs with no other is a group of its own, named by its path; a joined group is named after its
    members, whatever their order.

    Args:
        images: rows with path and perhaps group.
        clusters: (N,) number of the cluster of duplicates of each image.

    Returns:
        (N,) names, or None when no two images belong together.
    """
    import pandas as pd

    units, names = pd.factorize(images["group" if "group" in images.columns else "path"])
    numbers = np.unique(clusters, return_inverse=True)[1]
    joined = _join(len(names) + len(images), units, len(names) + numbers)[: len(names)]  # (U,) what each unit is in
    sizes = np.bincount(joined, minlength=1)
    if len(names) == len(images) and sizes.max() <= 1:
        return None
    members = defaultdict(list)
    for unit in np.flatnonzero(sizes[joined] > 1).tolist():
        members[int(joined[unit])].append(str(names[unit]))
    titles = {number: _name_group(sorted(each)) for number, each in members.items()}
    renamed = [titles.get(number, name) for number, name in zip(joined.tolist(), names, strict=True)]
    return pd.Series(np.array(renamed, dtype=object)[units], index=images.index, name="group")


def _name_group(members: list[str]) -> str:
    rest = len(members) - MOST_NAMES
    return " + ".join(members[:MOST_NAMES]) + (f" + {rest} more" if rest > 0 else "")


def _join(num_nodes: int, firsts: ArrayLike, seconds: ArrayLike) -> Codes:
    """Return (num_nodes,) number of the connected component of each node."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    ends = np.asarray(firsts, dtype=np.int32), np.asarray(seconds, dtype=np.int32)
    edges = coo_array((np.ones(len(ends[0]), dtype=np.int8), ends), shape=(num_nodes, num_nodes))
    return np.asarray(connected_components(edges, directed=False)[1])


def _stray(images: pd.DataFrame, clusters: Codes, what: str) -> tuple[Case, ...]:
    """Return the images that lie in another part than the first of their cluster: train before val before test."""
    paths, split = images["path"].to_numpy(), images["split"].to_numpy()
    parts = images["split"].map(PARTS.index).to_numpy()
    order = np.lexsort((parts, clusters))
    is_first = np.diff(clusters[order], prepend=-1) != 0
    home = np.empty_like(order)  # (N,) row of the first image of the cluster
    home[order] = order[is_first][is_first.cumsum() - 1]
    return tuple(
        Case(paths[row], f"in {split[row]}, {what} in {split[home[row]]}", paths[home[row]])
        for row in np.flatnonzero(parts != parts[home])
    )


def _divided_groups(images: pd.DataFrame) -> tuple[Case, ...]:
    if "group" not in images.columns:
        return ()
    once = images[["group", "split"]].drop_duplicates()
    divided = once[once["group"].duplicated(keep=False)].sort_values("group")
    return tuple(
        Case(str(group), "in " + " and ".join(sorted(parts, key=PARTS.index)))
        for group, parts in divided.groupby("group")["split"]
    )
