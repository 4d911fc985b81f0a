"""Whether other images are like those that a run was chosen on: evaluation/<name>/shift.json, and what it says.

The yardstick are the run's own val images: it did not learn from them, as it did from train, and test is not opened
for it. Confidence and accuracy are read from the predictions of both; only the pictures themselves are seen again.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fitwell.data.labels import Labelling, join_names
from fitwell.data.split import PARTS, read_split
from fitwell.errors import DataError
from fitwell.evaluation.evaluate import groups_of
from fitwell.evaluation.intervals import Floats
from fitwell.evaluation.shift.distance import (
    LEVEL,
    Pictures,
    choose_images,
    compare_pictures,
    difference_of_means,
    moved_classes,
)
from fitwell.files import sha256_of_file, write_json
from fitwell.run_folder import RunFolder

if TYPE_CHECKING:
    import pandas as pd

    from fitwell.evaluation.trained import Trained

SEVERAL = Labelling(several=True)
OWN = "val"
LOWEST_SHARE = 0.05  # of the own confidences, below which a confidence counts as low

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Answers:
    """What a run said of N images.

    Attributes:
        confidence: (N,) probability of the answer; of several classes an image, the mean over them. right: (N,).
        groups: (N,) names, or None when images are independent.
    """

    confidence: Floats
    right: NDArray[np.bool_]
    groups: NDArray[Any] | None


def write_shift(run: RunFolder, name: str, images: pd.DataFrame, root: Path, model: Trained) -> dict[str, Any]:
    """Write `evaluation/<name>/shift.json` of images that were just judged there, and return what it holds.

    Args:
        images: N rows with path and label, of other images than the run's own. root: that the paths begin at.

    Returns:
        found: whether there is a shift at a level of 5 %; None where the pictures could not be compared, and reason.
        known: of each split of the run, how many of these pictures are in it, byte for byte.
        pictures: see `distance.compare_pictures`. classes: see `shift.moved_classes`.
        confidence, accuracy: see `distance.difference_of_means`, with what they are set against; None without it.
        sentences: all of this in words, the first one about `found`.
    """
    told = _read_answers(run, name, several=model.several)
    judged = {own: _read_answers(run, own, several=model.several) for own in (OWN, "test") if run.evaluated(own)}
    split = read_split(run.split)
    own = split[split["split"] == OWN]
    pictures, classes, reason = _see((own, Path(run.read()["data"]["root"])), (images, root), model)
    shift: dict[str, Any] = {
        "found": pictures and pictures["p"] < LEVEL,
        "reason": reason,
        "known": _count_known(split, images, root),
        "against": OWN,
        "pictures": pictures,
        "classes": classes,
        "confidence": _compare_confidence(judged[OWN], told) if OWN in judged else None,
        "accuracy": _compare_accuracy(judged, told, several=model.several),
        "one_side_grouped": len({"group" in table and bool(table["group"].any()) for table in (own, images)}) > 1,
    }
    shift["sentences"] = describe_shift(shift)
    write_json(run.evaluation(name) / "shift.json", shift)
    return shift


def describe_shift(shift: dict[str, Any]) -> list[str]:
    """Return what `write_shift` found in words, never stronger than the tests.

    The first sentence is the verdict; where some pictures are known, the second one tells of them.
    """
    sentences = [_say_pictures(shift)]
    if any(shift["known"].values()):
        sentences.append(_say_known(shift["known"]))
    if shift["pictures"]:
        share = 100 * shift["pictures"]["told_apart"]["value"]
        sentences.append(
            f"Shown a new picture and an own one, their nearest neighbours tell which is which {share:.0f} times out "
            "of 100; 50 is not at all."
        )
        if shift["one_side_grouped"]:
            sentences.append(
                "Only one of the two sets has groups: the images of the other count as independent, and p is too "
                "small where they are not."
            )
    if shift["confidence"]:
        sentences.append(_say_difference("Its mean confidence", shift["confidence"]))
    if shift["accuracy"]:
        sentences.append(_say_difference(f"Its {shift['accuracy']['metric']}", shift["accuracy"]))
    return sentences


def _see(
    own: tuple[pd.DataFrame, Path], new: tuple[pd.DataFrame, Path], model: Trained
) -> tuple[dict[str, Any] | None, list[dict[str, Any]], str | None]:
    """Return how the pictures compare, how classes moved, and why nothing could be compared, if so."""
    (own_images, own_root), (new_images, root) = ((_some(images), root) for images, root in (own, new))
    try:
        _require_unchanged(own_root, own_images)
        seen, other = (
            Pictures(model.embeddings(place, list(table["path"])), _units(table))
            for place, table in ((own_root, own_images), (root, new_images))
        )
        compared = compare_pictures(seen, other)
    except DataError as error:
        log.warning("Domain shift could not be measured: %s", error.found)
        return None, [], error.found
    return compared, moved_classes(seen, own_images["label"].to_numpy(), other, new_images["label"].to_numpy()), None


def _count_known(split: pd.DataFrame, images: pd.DataFrame, root: Path) -> dict[str, int]:
    hashes = [sha256_of_file(root / path) for path in images["path"]]
    return {part: len(set(hashes) & set(split.loc[split["split"] == part, "sha256"])) for part in PARTS}


def _some(images: pd.DataFrame) -> pd.DataFrame:
    return images.iloc[choose_images(_units(images))]


def _units(images: pd.DataFrame) -> NDArray[Any]:
    groups = groups_of(images)
    return np.arange(len(images)) if groups is None else groups


def _require_unchanged(root: Path, images: pd.DataFrame) -> None:
    """Make sure that the run's own images are still those it was chosen on."""
    for path, sha256 in zip(images["path"], images["sha256"], strict=True):
        if not (root / path).is_file() or sha256_of_file(root / path) != sha256:
            raise DataError(
                found=f"{root / path}, a val image of the run, is gone or was changed.",
                expected="the images that the run was chosen on, where they were.",
                fix="put them back, and evaluate again.",
            )


def _read_answers(run: RunFolder, name: str, *, several: bool) -> Answers:
    import pyarrow.parquet as pq

    said = pq.read_table(run.evaluation(name) / "predictions.parquet").to_pandas()
    right = (said["label"] == said["predicted"]).to_numpy(dtype=bool)
    if not several:
        return Answers(said["confidence"].to_numpy(dtype=np.float64), right, groups_of(said))
    probs = said[[f"p_{each}" for each in run.read()["data"]["classes"]]].to_numpy(dtype=np.float64)
    shown = said["label"].map(lambda label: join_names(SEVERAL.names(label)))
    right = (shown == said["predicted"]).to_numpy(dtype=bool)
    return Answers(np.maximum(probs, 1 - probs).mean(axis=1), right, groups_of(said))


def _compare_confidence(own: Answers, new: Answers) -> dict[str, Any]:
    """Return the difference of mean confidence, and the share of `new` below the lowest of `own`."""
    lowest = float(np.quantile(own.confidence, LOWEST_SHARE))
    return {
        "against": OWN,
        **difference_of_means((own.confidence, own.groups), (new.confidence, new.groups)),
        "lowest": lowest,
        "lowest_share": LOWEST_SHARE,
        "below_lowest": float((new.confidence < lowest).mean()),
    }


def _compare_accuracy(judged: dict[str, Answers], told: Answers, *, several: bool) -> dict[str, Any] | None:
    """Return the difference of accuracy from test, or from val before test was judged; None before both."""
    against = next((name for name in ("test", OWN) if name in judged), None)
    if against is None:
        return None
    own, new = ((each.right.astype(np.float64), each.groups) for each in (judged[against], told))
    return {"metric": "exact match" if several else "accuracy", "against": against, **difference_of_means(own, new)}


def _say_pictures(shift: dict[str, Any]) -> str:
    found = shift["pictures"]
    if found is None:
        return f"Whether these pictures are like those it was chosen on could not be measured: {shift['reason']}"
    counts = f"p {found['p']:.3f}, {found['num_new']:,} new and {found['num_own']:,} own pictures"
    if shift["found"]:
        return (
            "These pictures are unlike those it was chosen on: to the network, new and own ones lie farther apart than "
            f"two sets drawn by lot ({counts})."
        )
    return f"No shift was found at this n ({counts}). A small one may be there."


def _say_known(known: dict[str, int]) -> str:
    counts = ", ".join(f"{count:,} of {part}" for part, count in known.items() if count)
    meaning = "it looks better on what it learnt from or was chosen on" if known["train"] or known["val"] else "not new"
    return f"Some of these pictures are the run's own, byte for byte ({counts}): {meaning}."


def _say_difference(subject: str, entry: dict[str, Any]) -> str:
    interval = entry["interval"]
    values = f"{entry['new']:.3f}, on {entry['against']} images {entry['own']:.3f}"
    if interval is None:
        return f"{subject} is {values}; one group alone gives the difference no interval."
    reach = f"difference {entry['difference']:+.3f}, 95 % CI {interval[0]:+.3f} to {interval[1]:+.3f}"
    if interval[1] < 0:
        return f"{subject} is lower: {values} ({reach})."
    if interval[0] > 0:
        return f"{subject} is higher: {values} ({reach})."
    return f"{subject} is not shown to differ: {values} ({reach})."
