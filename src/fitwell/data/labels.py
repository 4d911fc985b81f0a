"""What the label of an image says: its one class, or all the classes that it shows, joined by |.

Used wherever labels are read or counted; never reaches torch.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pandas as pd

SEPARATOR = "|"


@dataclass(frozen=True)
class Labelling:
    """How many classes an image may show, and where a table says which.

    Attributes:
        several: whether an image shows any number of classes, even none; else it shows one.
        columns: all classes, which a table may have as columns of 0 and 1; empty: the labels name them.
    """

    several: bool = False
    columns: tuple[str, ...] = ()

    def names(self, label: str) -> tuple[str, ...]:
        """Return the classes that an image with this label shows, sorted, each once."""
        if not self.several:
            return (label,)
        return tuple(sorted({name.strip() for name in label.split(SEPARATOR)} - {""}))

    def classes(self, labels: Iterable[str]) -> tuple[str, ...]:
        """Return every class once: the columns as they were given, else the names in `labels`, sorted."""
        return self.columns or tuple(sorted({name for label in set(labels) for name in self.names(label)}))

    def count(self, labels: Iterable[str], classes: Iterable[str]) -> dict[str, int]:
        """Return how many images show each of `classes`."""
        counts: Counter[str] = Counter()
        for label, number in Counter(labels).items():
            counts.update(dict.fromkeys(self.names(label), number))
        return {name: counts[name] for name in classes}

    def targets(self, labels: Sequence[str], classes: Sequence[str]) -> NDArray[np.bool_]:
        """Return whether each of N images shows each of C classes, (N, C)."""
        different, places = np.unique(np.asarray(labels, dtype=object), return_inverse=True)
        rows = np.array([[name in self.names(label) for name in classes] for label in different], dtype=bool)
        return rows.reshape(len(different), len(classes))[places]

    def by_class(self, images: pd.DataFrame) -> pd.DataFrame:
        """Return the images once for each class that they show, which is then their label."""
        if not self.several:
            return images
        named = images.assign(label=images["label"].map(self.names))
        return named.explode("label").dropna(subset="label").reset_index(drop=True)


ONE_EACH = Labelling()


def join_names(names: Iterable[str]) -> str:
    """Return the label of an image that shows these classes; blank for none."""
    return SEPARATOR.join(sorted(names))


def find_joined(labels: Iterable[str]) -> list[str]:
    """Return the labels that look like several classes in one, sorted: a part of theirs stands in several places.

    Names that hold a | on purpose, as `animal|cat` does, have each part in one place; a name alone is in the first.
    """
    parts = {label: [part.strip() for part in label.split(SEPARATOR)] for label in set(labels)}
    places: dict[str, set[int]] = {}
    for names in parts.values():
        for place, name in enumerate(names):
            places.setdefault(name, set()).add(place)
    return sorted(
        label for label, names in parts.items() if len(names) > 1 and any(len(places[name]) > 1 for name in names)
    )
