"""What to test next, each with its evidence and the recipe setting it changes; never what it would gain.

Pure functions of an analysis (fit.py) and the recipe; no torch.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from fitwell.evaluation.analysis.course import Training
from fitwell.evaluation.analysis.fit import LEAST_EPOCHS
from fitwell.evaluation.charts import spell

LARGE_ERROR = 0.02  # standard error of val from which more images to judge on are worth a test
RISE = 1.1  # times the val loss before a phase that its first epoch is at when the change was rough
MORE_DROPOUT, MOST_DROPOUT = 0.2, 0.6
RATE_FACTOR = 3
STALLED = 2  # epochs in a row without a better val number

Fact = Mapping[str, Any]


def propose(training: Training, analysis: Fact) -> list[dict[str, str]]:
    """Return tests worth making: `flags` for the command line, the `question` they answer, and the `evidence`.

    Args:
        analysis: what fit.analyse returned for `training`.
    """
    rules = (_about_fit, _about_length, _about_changes, _about_plateaus, _about_classes, _about_val)
    return [proposal for rule in rules for proposal in rule(training, analysis)]


def _proposal(flags: str, question: str, evidence: str) -> dict[str, str]:
    return {"flags": flags, "question": question, "evidence": evidence}


def _about_fit(training: Training, analysis: Fact) -> Iterator[dict[str, str]]:
    last, verdict = analysis["phases"][-1], analysis["fit"]["verdict"]
    evidence = " ".join(analysis["fit"]["evidence"])
    if verdict == "still improving":
        flags = f"--phases.{last['name']}.epochs {2 * last['epochs']}"
        told = f"Val {spell(training.metric)} rose in each of the last two epochs of {last['name']}, to its best."
        yield _proposal(flags, "whether it had more to learn", told)
    dropout = training.recipe.model.head.dropout
    if verdict in ("overfitting", "overconfident") and dropout < MOST_DROPOUT:
        flags = f"--model.head.dropout {min(MOST_DROPOUT, dropout + MORE_DROPOUT):.2g}"
        yield _proposal(flags, "whether val then turns later, or not at all", evidence)
    if verdict == "underfitting" and not last["searched"]:
        rate = RATE_FACTOR * float(training.phase(last["name"]).learning_rate)
        flags = f"--phases.{last['name']}.learning_rate {rate:g}"
        told = f"No epoch had a val {spell(training.metric)} clearly above chance."
        yield _proposal(flags, "whether it learns at a larger rate", told)


def _about_length(training: Training, analysis: Fact) -> Iterator[dict[str, str]]:
    for phase in analysis["phases"]:
        epochs, later = phase["epochs"], phase["epochs"] - phase["best_epoch"]
        settings, half = training.phase(phase["name"]), epochs // 2
        if phase["searched"] or epochs < 2 * LEAST_EPOCHS:
            continue
        if later >= half and settings.patience is None:
            told = f"{later} of the {epochs} epochs of {phase['name']} came after its best."
            flags = f"--phases.{phase['name']}.patience {LEAST_EPOCHS}"
            yield _proposal(flags, "whether the same val number comes in less time", told)
        elif phase["converged"] is not None and phase["converged"] <= half and settings.warmup_epochs < half:
            told = (
                f"From epoch {phase['converged']} of {epochs} on, an epoch of {phase['name']} lay within one standard "
                "error of its best."
            )
            flags = f"--phases.{phase['name']}.epochs {half}"
            yield _proposal(flags, "whether half of the epochs end as well, within noise", told)


def _about_changes(training: Training, analysis: Fact) -> Iterator[dict[str, str]]:
    for phase in analysis["phases"]:
        change = phase["change"]
        rough = change and change["back_in"] is None and change["after"] >= RISE * change["before"]
        if phase["searched"] or not rough:
            continue
        rate = float(training.phase(phase["name"]).learning_rate) / RATE_FACTOR
        told = (
            f"Val loss rose from {change['before']:.3f} to {change['after']:.3f} when {phase['name']} began, and no "
            "epoch of it came back."
        )
        flags = f"--phases.{phase['name']}.learning_rate {rate:.2g}"
        yield _proposal(flags, "whether a smaller rate keeps what was learned", told)


def _about_plateaus(training: Training, analysis: Fact) -> Iterator[dict[str, str]]:
    for phase in analysis["phases"]:
        later = phase["epochs"] - phase["best_epoch"]
        patience = training.phase(phase["name"]).plateau_patience
        if phase["plateaus"] == 0 and STALLED <= later < patience:
            told = (
                f"{phase['name']} ended with {later} epochs in a row without a better val number, and its plateau "
                f"rule, which waits for {patience}, never lowered the rate."
            )
            flags = f"--phases.{phase['name']}.plateau_patience {later}"
            yield _proposal(flags, "whether val improves at a lower rate", told)


def _about_classes(training: Training, analysis: Fact) -> Iterator[dict[str, str]]:
    never = [row["class"] for row in analysis["classes"] if row["state"] == "never learned"]
    balance = training.recipe.balance
    if never and balance.sampler == "none":
        named = ", ".join(f"“{name}”" for name in never[:3]) + (f" and {len(never) - 3} more" if len(never) > 3 else "")
        flags = "--balance.class_weights balanced"
        if balance.class_weights != "none":
            flags = "--balance.class_weights none --balance.sampler balanced"
        told = f"No epoch found more of {named} than guessing would."
        yield _proposal(flags, "whether it is learned when it counts for more", told)


def _about_val(training: Training, analysis: Fact) -> Iterator[dict[str, str]]:
    error = analysis["convergence"]["standard_error"]
    if error is not None and error >= LARGE_ERROR and training.recipe.split.folds is None:
        told = (
            f"One standard error of val {spell(training.metric)} is {error:.3f} with {training.num_val:,} images: "
            "smaller differences between recipes or epochs cannot be seen on them."
        )
        question = "how much the number depends on the images, in five runs with --split.fold 1 to 5"
        yield _proposal("--split.folds 5", question, told)
