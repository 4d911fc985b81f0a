"""How far the val number of an epoch may be off, because there are only so many val images.

Images count as independent here. Images of a group are alike, so with groups the truth is noisier than these standard
errors: whoever shows them says so. The epochs of a run are judged on the same images, so the difference of two epochs
is surer than `clearly_differ` takes it for.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from statistics import NormalDist
from typing import Any

LEVEL = 0.05  # how often noise alone may be called a difference


def share_error(share: float, count: int) -> float | None:
    """Return the standard error of a share of `count` images, never 0; None without images.

    Source: Agresti & Coull 1998, doi:10.1080/00031305.1998.10480550: two successes and two failures are added.
    """
    if count == 0:
        return None
    moved = (share * count + 2) / (count + 4)
    return math.sqrt(moved * (1 - moved) / (count + 4))


def area_error(area: float, num_positive: int, num_negative: int) -> float | None:
    """Return the standard error of an AUC of two classes; None where it is 0 or 1, or a class has no images.

    Source: Hanley & McNeil 1982, doi:10.1148/radiology.143.1.7063747, eq. 1 with their Q1 and Q2 of exponential scores.
    """
    if not num_positive or not num_negative or area in (0, 1):
        return None
    both_above, both_below = area / (2 - area), 2 * area**2 / (1 + area)
    of_positives = (num_positive - 1) * (both_above - area**2)
    of_negatives = (num_negative - 1) * (both_below - area**2)
    return math.sqrt((area * (1 - area) + of_positives + of_negatives) / (num_positive * num_negative))


def standard_error(metric: str, epoch: Mapping[str, Any], counts: Mapping[str, int]) -> float | None:
    """Return the standard error of the val `metric` of an epoch; None where it does not follow from the records.

    It follows for accuracy, for balanced accuracy (from the recall of each class) and for the AUC of two classes.

    Args:
        epoch: a record of history.jsonl. counts: val images of each class that the epoch was judged on, the class
            looked for last.
    """
    value, recalls = epoch["val"].get(metric), epoch.get("val_per_class")
    if value is None or not recalls:
        return None
    if metric == "accuracy":
        return share_error(value, sum(counts.values()))
    if metric == "auc" and len(counts) == 2:
        negative, positive = counts.values()
        return area_error(value, positive, negative)
    if metric != "balanced_accuracy":
        return None
    errors = [share_error(recalls[name], count) for name, count in counts.items() if recalls.get(name) is not None]
    return math.sqrt(sum(error**2 for error in errors if error is not None)) / len(errors) if errors else None


def clearly_differ(one: float, other: float, error: float | None, other_error: float | None, *, looks: int = 1) -> bool:
    """Return whether two numbers lie further apart than noise explains, 19 times in 20; False without their errors.

    Args:
        looks: among how many epochs one of them was picked as the best, which noise lifts: Bonferroni's correction.
    """
    if error is None or other_error is None:
        return False
    return abs(one - other) > NormalDist().inv_cdf(1 - LEVEL / 2 / looks) * math.hypot(error, other_error)
