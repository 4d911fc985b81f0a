"""The course of a training, from its records alone: its epochs against each other, each phase, each class.

Pure functions; no torch. A difference is only called one beyond the noise of so many val images (noise.py).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from fitwell.evaluation.analysis.noise import clearly_differ, share_error, standard_error
from fitwell.evaluation.metrics import higher_is_better
from fitwell.recipe.phase import Phase
from fitwell.recipe.schema import Recipe

HALF = 0.5  # of the highest rate so far: from there on the rate has fallen
LEAST_IMAGES = 10  # of a class, for a claim about its recall

Record = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Training:
    """What a run recorded of its training.

    Attributes:
        epochs: the epoch records of history.jsonl, one of each epoch, in order; at least one.
        metric: by which val chose. recipe: as it was used.
        train_counts, val_counts: images of each class; of val those that epochs are judged on.
        num_train, num_val: images. val_groups: groups of val; None where every image counts as independent.
    """

    epochs: Sequence[Record]
    metric: str
    recipe: Recipe
    train_counts: Mapping[str, int]
    val_counts: Mapping[str, int]
    num_train: int
    num_val: int
    val_groups: int | None = None

    def phases(self) -> dict[str, list[Record]]:
        """Return the records of each phase by its name, in order."""
        names = dict.fromkeys(epoch["phase"] for epoch in self.epochs)
        return {name: [epoch for epoch in self.epochs if epoch["phase"] == name] for name in names}

    def phase(self, name: str) -> Phase:
        """Return what the recipe says about a phase."""
        return next(phase for phase in self.recipe.phases if phase.name == name)

    def score(self, epoch: Record) -> float:
        """Return the val metric of an epoch, turned so that more is better; minus infinity where it is not defined."""
        value = epoch["val"].get(self.metric)
        return float("-inf") if value is None else value * (1 if higher_is_better(self.metric) else -1)

    def error(self, epoch: Record) -> float | None:
        """Return the standard error of the val metric of an epoch; None where it does not follow from the records."""
        return standard_error(self.metric, epoch, self.val_counts)

    def kept(self) -> Record:
        """Return the epoch whose weights the run has; before one is kept, the best."""
        kept = [epoch for epoch in self.epochs if epoch.get("best")]
        return kept[-1] if kept else self.best(self.epochs)

    def best(self, epochs: Sequence[Record]) -> Record:
        """Return the first of `epochs` that no other is better than."""
        return max(epochs, key=self.score)

    def is_below(self, epoch: Record, best: Record, *, looks: int) -> bool:
        """Return whether the val metric of `epoch` is clearly worse than that of the `best` of `looks` epochs."""
        scores, errors = (self.score(epoch), self.score(best)), (self.error(epoch), self.error(best))
        return scores[0] < scores[1] and clearly_differ(*scores, *errors, looks=looks)


def is_searched(epoch: Record) -> bool:
    """Return whether the record is of a search: heads trained side by side, of which no course is kept."""
    return not epoch["learning_rate"]


def name_epoch(epoch: Record) -> str:
    """Return how people call an epoch: "epoch 3 of fine-tune"."""
    return f"epoch {epoch['epoch']} of {epoch['phase']}"


def find_convergence(training: Training, epochs: Sequence[Record]) -> dict[str, Any]:
    """Return the first of `epochs` whose val metric lies within one standard error of their best.

    Source: the one-standard-error rule, Breiman, Friedman, Olshen & Stone 1984, section 3.4.3.

    Returns:
        phase, epoch: None where no standard error follows from the records. standard_error: of the best.
    """
    best = training.best(epochs)
    error = training.error(best)
    if error is None:
        return {"phase": None, "epoch": None, "standard_error": None}
    first = next(epoch for epoch in epochs if training.score(epoch) >= training.score(best) - error)
    return {"phase": first["phase"], "epoch": first["epoch"], "standard_error": error}


def cost_after(training: Training, best: Record) -> dict[str, Any]:
    """Return how many epochs came after the best one, and their share of the time."""
    place = next(index for index, epoch in enumerate(training.epochs) if epoch is best)
    later, total = training.epochs[place + 1 :], _seconds(training.epochs)
    seconds = _seconds(later)
    return {"epochs": len(later), "seconds": seconds, "share": seconds / total if total else 0.0}


def _seconds(epochs: Sequence[Record]) -> float:
    return float(sum(sum(epoch["seconds"].values()) for epoch in epochs))


def describe_phase(training: Training, name: str) -> dict[str, Any]:
    """Return time, val numbers, learning rates and the change from the phase before of one phase."""
    epochs = training.phases()[name]
    best, phase = training.best(epochs), training.phase(name)
    values = {key: epoch["val"].get(training.metric) for key, epoch in (("first", epochs[0]), ("last", epochs[-1]))}
    passed = best["epoch"] - epochs[0]["epoch"]
    told = passed > 0 and values["first"] is not None
    gain = (training.score(best) - training.score(epochs[0])) / passed if told else None
    return {
        "name": name,
        "searched": is_searched(epochs[0]),
        "epochs": len(epochs),
        "seconds": _seconds(epochs),
        **values,
        "best": best["val"].get(training.metric),
        "best_epoch": best["epoch"],
        "gain_per_epoch": gain,
        "gain_is_clear": training.is_below(epochs[0], best, looks=len(epochs)),
        "converged": find_convergence(training, epochs)["epoch"] if len(epochs) > 1 else None,
        "rate_fell": _when_rate_fell(epochs),
        "plateaus": _count_cuts(epochs) if phase.schedule == "plateau" and not is_searched(epochs[0]) else None,
        "fresh_head": phase.head == "fresh",
        "change": _describe_change(training, name),
    }


def _highest_rate(epoch: Record) -> float:
    return max(epoch["learning_rate"].values(), default=0.0)


def _when_rate_fell(epochs: Sequence[Record]) -> int | None:
    """Return the first epoch that ended at no more than half of the highest rate so far; None where none did."""
    highest = 0.0
    for epoch in epochs:
        highest = max(highest, _highest_rate(epoch))
        if _highest_rate(epoch) <= HALF * highest and highest:
            return int(epoch["epoch"])
    return None


def _count_cuts(epochs: Sequence[Record]) -> int:
    """Return how often an epoch ran at a lower rate than the one before; a cut after the last one is not seen."""
    rates = [_highest_rate(epoch) for epoch in epochs]
    return sum(after < before for before, after in pairwise(rates))


def _describe_change(training: Training, name: str) -> dict[str, Any] | None:
    """Return the val loss before a phase and after its first epoch, and when it was back; None for the first phase."""
    phases = training.phases()
    place = list(phases).index(name)
    if not place:
        return None
    before = list(phases.values())[place - 1][-1]["val"]["log_loss"]
    losses = [epoch["val"]["log_loss"] for epoch in phases[name]]
    if before is None or None in losses:
        return None
    back = next((epoch["epoch"] for epoch in phases[name] if epoch["val"]["log_loss"] <= before), None)
    return {"before": before, "after": losses[0], "rose": losses[0] > before, "back_in": back}


def follow_classes(training: Training) -> list[dict[str, Any]]:
    """Return the course of the val number of each class, the lowest of the kept epoch first.

    The number is recall, or average precision of several classes an image.

    Returns:
        of each class num_val, first, best, best_epoch, kept, last, and state: "never learned" (no epoch found more of
        it than guessing among the classes would), "fell" (the last is clearly below the best), "few images", or "".
    """
    kept = training.kept()
    key = "val_per_class" if "val_per_class" in kept else "val_average_precision"
    rows = [_follow_class(training, name, key, kept) for name in training.val_counts] if key in kept else []
    return sorted(rows, key=lambda row: math.inf if row["kept"] is None else row["kept"])


def _follow_class(training: Training, name: str, key: str, kept: Record) -> dict[str, Any]:
    recalls, count = key == "val_per_class", training.val_counts[name]
    told = [epoch for epoch in training.epochs if epoch.get(key, {}).get(name) is not None]
    if not told:
        nothing = dict.fromkeys(("first", "best", "best_epoch", "kept", "last"))
        return {"class": name, "num_val": count, **nothing, "state": "few images"}
    best, last = max(told, key=lambda epoch: epoch[key][name]), told[-1][key][name]
    top = best[key][name]
    state = ""
    if count < LEAST_IMAGES:
        state = "few images"
    elif recalls and top <= 1 / len(training.val_counts):
        state = "never learned"
    elif recalls and clearly_differ(top, last, share_error(top, count), share_error(last, count), looks=len(told)):
        state = "fell"
    values = {"first": told[0][key][name], "best": top, "best_epoch": name_epoch(best), "last": last}
    return {"class": name, "num_val": count, **values, "kept": kept[key].get(name), "state": state}
