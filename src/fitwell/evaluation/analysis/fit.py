"""How training went, from its records alone: the numbers, the gap, and what they say about over- and underfitting.

Pure functions; no torch. What too few epochs cannot tell is said to be unknown. The course of phases and classes is in
course.py, what to test next in proposals.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fitwell.evaluation.analysis.course import (
    Record,
    Training,
    cost_after,
    describe_phase,
    find_convergence,
    follow_classes,
    is_searched,
    name_epoch,
)
from fitwell.evaluation.analysis.noise import clearly_differ, share_error
from fitwell.evaluation.charts import spell
from fitwell.recipe.schema import Recipe

LEAST_EPOCHS = 3  # of a phase whose course says anything
LARGE_GAP = 0.05  # between train and val accuracy: less is not worth a word, however many images there are
TURN = 1.1  # times its lowest that the val loss ends at when it has turned


def analyse(training: Training) -> dict[str, Any]:
    """Return what the records say about a training, as plain data for report.json.

    Returns:
        shown: which numbers the page compares; numbers: those of the kept and of the last epoch; gap: between train and
        val accuracy; fit: a verdict with its evidence; convergence: the first epoch within one standard error of the
        best; after_best: what later epochs cost; phases, classes: the course of each; notes: what limits all this.
    """
    best, last = training.best(training.epochs), training.epochs[-1]
    gap = measure_gap(training, last)
    return {
        "metric": training.metric,
        "shown": _shown(training, last),
        "numbers": [_numbers(name, epoch) for name, epoch in (("kept", training.kept()), ("last", last))],
        "gap": gap,
        "fit": judge_fit(training, gap),
        "convergence": find_convergence(training, training.epochs),
        "after_best": cost_after(training, best),
        "phases": [describe_phase(training, name) for name in training.phases()],
        "classes": follow_classes(training),
        "class_number": "Recall" if "val_per_class" in best else "Average precision",
        "notes": _notes(training, best),
    }


def measure_gap(training: Training, epoch: Record) -> dict[str, Any]:
    """Return train and val accuracy of an epoch and how far they lie apart.

    Returns:
        train, val, difference: None, with a `reason`, where they cannot be compared. clear: whether val is lower by
        more than noise and by at least `LARGE_GAP`.
    """
    train, val = epoch["train"].get("accuracy"), epoch["val"].get("accuracy")
    reason = _why_not_comparable(training.recipe, epoch)
    if reason or train is None or val is None:
        reason = reason or "Train and val are not recorded by the same share of right answers."
        return {"train": train, "val": val, "difference": None, "clear": False, "reason": reason}
    errors = share_error(train, training.num_train), share_error(val, training.num_val)
    clear = train - val >= LARGE_GAP and clearly_differ(train, val, *errors)
    return {"train": train, "val": val, "difference": train - val, "clear": clear, "reason": None}


def _why_not_comparable(recipe: Recipe, epoch: Record) -> str | None:
    if is_searched(epoch):
        return None  # judged on plain pictures, each once
    if recipe.augment.mixup or recipe.augment.cutmix:
        return "Train accuracy is of blended pictures, which val does not have."
    if recipe.balance.sampler != "none":
        return "Train accuracy is of classes that were drawn evenly, val accuracy of classes as they are."
    return None


def judge_fit(training: Training, gap: Record) -> dict[str, Any]:
    """Return what the course of the last phase says about over- and underfitting.

    Returns:
        verdict: "overfitting", "overconfident", "underfitting", "gap", "still improving", "no sign" or "unknown".
        evidence: sentences.
    """
    course = list(training.phases().values())[-1]
    told = len(course) >= LEAST_EPOCHS
    turned = told and _loss_turned(course)
    fell = told and training.is_below(course[-1], training.best(training.epochs), looks=len(training.epochs))
    if not _above_chance(training):
        verdict = "underfitting"
    elif gap["clear"] and (turned or fell):
        verdict = "overfitting"
    elif turned:
        verdict = "overconfident"
    elif gap["clear"]:
        verdict = "gap"
    elif not told:
        verdict = "unknown"
    else:
        verdict = "still improving" if _still_improving(training, course) else "no sign"
    return {"verdict": verdict, "evidence": _evidence(training, course, gap)}


def _loss_turned(course: Sequence[Record]) -> bool:
    """Return whether the val loss has left its lowest point while the train loss went on falling."""
    losses = [epoch["val"]["log_loss"] for epoch in course]
    if None in losses:
        return False
    lowest = losses.index(min(losses))
    risen = losses[-1] >= TURN * losses[lowest]
    return bool(risen and course[-1]["train"]["loss"] < course[lowest]["train"]["loss"])


def _still_improving(training: Training, course: Sequence[Record]) -> bool:
    """Return whether each of the last two epochs was better than the one before, and none better than the last."""
    scores = [training.score(epoch) for epoch in course]
    return scores[-1] == max(scores) and scores[-3] < scores[-2] < scores[-1]


def _above_chance(training: Training) -> bool:
    """Return whether any epoch beat chance clearly; True where noise or chance is not known, so nothing is claimed."""
    counts = training.val_counts
    chances = {
        "auc": 0.5,
        "balanced_accuracy": 1 / len(counts),
        "accuracy": max(counts.values()) / max(1, training.num_val),
    }
    best, looks = training.best(training.epochs), len(training.epochs)
    error, chance, score = training.error(best), chances.get(training.metric), training.score(best)
    if error is None or chance is None:
        return True
    return score > chance and clearly_differ(score, chance, error, 0.0, looks=looks)


def _evidence(training: Training, course: Sequence[Record], gap: Record) -> list[str]:
    last = course[-1]
    sentences = [_say_gap(gap, last)]
    if len(course) < LEAST_EPOCHS:
        few = "A search keeps no course" if is_searched(last) else f"{last['phase']} has too few epochs for a course"
        return [*sentences, f"{few}: whether val turned is told from {LEAST_EPOCHS} epochs of a phase on."]
    losses = [epoch["val"]["log_loss"] for epoch in course]
    if None not in losses:
        lowest = course[losses.index(min(losses))]
        sentences.append(
            f"Val loss was lowest in {name_epoch(lowest)} ({min(losses):.3f}) and ended at {losses[-1]:.3f}; train "
            f"loss went from {lowest['train']['loss']:.3f} to {last['train']['loss']:.3f} meanwhile."
        )
    best = training.best(training.epochs)
    if training.error(best) is not None and best is not last:
        worse = training.is_below(last, best, looks=len(training.epochs))
        size = "clearly worse than" if worse else "within noise of"
        sentences.append(f"The last val {spell(training.metric)} is {size} the best, {name_epoch(best)}.")
    return sentences


def _say_gap(gap: Record, last: Record) -> str:
    if gap["difference"] is None:
        return str(gap["reason"])
    against = "clearly below" if gap["clear"] else "not clearly below"
    measured = (
        "on plain pictures, the ones the head was fitted to"
        if is_searched(last)
        else "during the epoch, on varied pictures and with dropout if the recipe asks for them, which lowers it"
    )
    return (
        f"In the last epoch val accuracy ({gap['val']:.3f}) was {against} train accuracy ({gap['train']:.3f}), which "
        f"is measured {measured}."
    )


def _shown(training: Training, epoch: Record) -> list[tuple[str, str, str]]:
    """Return part, name and label of each number that the page compares."""
    names = dict.fromkeys(("accuracy", training.metric, "log_loss"))
    train = [("train", name, f"Train {spell(name)}") for name in epoch["train"]]
    return [*train, *(("val", name, f"Val {spell(name)}") for name in names if name in epoch["val"])]


def _numbers(which: str, epoch: Record) -> dict[str, Any]:
    place = {"which": which, "phase": epoch["phase"], "epoch": epoch["epoch"]}
    return {**place, "train": dict(epoch["train"]), "val": dict(epoch["val"])}


def _notes(training: Training, best: Record) -> list[str]:
    notes = []
    if training.error(best) is None:
        notes.append(
            f"No standard error of val {spell(training.metric)} follows from these records, so what is noise in it, "
            "and when it converged, is not told."
        )
    if training.val_groups is not None and training.val_groups < training.num_val:
        notes.append(
            f"Standard errors count the {training.num_val:,} val images as independent. They are in "
            f"{training.val_groups} groups of images that are alike, so the noise is larger than said here, and a gap "
            "between train and val can be what sets these groups apart."
        )
    return notes
