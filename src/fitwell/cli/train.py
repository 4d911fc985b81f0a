"""`fitwell train` and `fitwell resume`."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from fitwell.cli.output import (
    gate_code,
    print_candidates,
    print_json,
    print_learning_rates,
    print_verdict,
    print_warnings,
)
from fitwell.errors import UsageError

if TYPE_CHECKING:
    from fitwell.run_folder import RunFolder
    from fitwell.training.prepare import PreparedRun

Settings = Annotated[str, Parameter(allow_leading_hyphen=True, show=False)]
TRAIN_OPTIONS = (
    *("--recipe", "--seed", "--name", "--runs-dir", "--image-root", "--group-by", "--on-data-error"),
    *("--dry-run", "--explain-plan", "--json"),
)
RATES_SHOWN = 48  # of each phase, by a dry run


@Parameter(name="*")
@dataclass(frozen=True)
class Reading:
    """How to read the images.

    Args:
        image_root: folder that the table's paths are relative to; else the table's own folder.
        group_by: what belongs together: order:N for blocks of N images in file order, or a column's name.
        on_data_error: stop, or warn: leave out what cannot be used, and go on.
    """

    image_root: Path | None = None
    group_by: str | None = None
    on_data_error: str = "stop"


AS_IT_IS = Reading()


def train(
    data: Path,
    /,
    *settings: Settings,
    recipe: str = "auto",
    seed: int | None = None,
    name: str | None = None,
    runs_dir: Path = Path("runs"),
    reading: Reading = AS_IT_IS,
    dry_run: Annotated[bool, Parameter(negative="")] = False,
    explain_plan: Annotated[bool, Parameter(negative="")] = False,
    json: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Check the images, train a classifier, judge it, and leave a run folder.

    Every setting of a recipe can be given by its dotted key, such as
    `--optimizer.weight-decay 0.1` or `--phases.fine-tune.epochs 5`.

    Args:
        data: a folder of class folders, or a CSV, TSV or Parquet table with the columns path and label.
        recipe: name of a built-in recipe, or path of a YAML file.
        seed: decides the split, the new weights and every random choice.
        name: name of the run.
        runs_dir: where runs are kept.
        dry_run: show the resolved recipe, the split and the expected memory, and write nothing.
        explain_plan: measure how this machine computes fastest, show every candidate, and start no run.
        json: print the result as JSON.
    """
    from fitwell import classifier

    overrides = parse_settings(settings, known=TRAIN_OPTIONS)
    if seed is not None:
        overrides["seed"] = seed
    chosen = classifier.read_settings(recipe, overrides)
    dataset = classifier.read_dataset(data, reading.image_root, reading.group_by, recipe=chosen)
    prepared = classifier.prepare(dataset, chosen, reading.on_data_error)
    print_warnings(prepared.findings)
    if explain_plan:
        _explain_plan(prepared, json=json)
        return
    if dry_run:
        _print_recipe_and_split(prepared, json=json)
        return
    run = classifier.start(prepared, runs_dir, name or data.resolve().stem)
    print(f"run: {run.path}", file=sys.stderr)
    finish(run, json=json)


def resume(
    run: Path,
    /,
    *,
    gate: Annotated[bool, Parameter(negative="")] = False,
    json: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Go on with a run from its last checkpoint; a finished run is only shown.

    Args:
        run: the run folder.
        gate: exit with 4 unless every target of the recipe is met on test.
        json: print the result as JSON.
    """
    from fitwell.run_folder import open_run_folder

    metrics = finish(open_run_folder(run), json=json)
    return gate_code(metrics) if gate else 0


def finish(run: RunFolder, *, json: bool) -> dict[str, Any]:
    """Train `run` to its end, print the verdict and return the metrics on test."""
    from fitwell import classifier

    metrics = classifier.train(run)
    if json:
        print_json({"run": str(run.path), "test": metrics})
    else:
        print_verdict(metrics, run.path)
    return metrics


def parse_settings(tokens: Sequence[str], *, known: Sequence[str]) -> dict[str, object]:
    """Return `--dotted.key value` and `--dotted.key=value` tokens as a mapping.

    Raises:
        UsageError: for an option that is neither known nor a recipe setting, or one without a value.
    """
    settings: dict[str, object] = {}
    remaining = list(tokens)
    while remaining:
        token = remaining.pop(0)
        option, equals, value = token.partition("=")
        if not option.startswith("--") or "." not in option:
            nearest = difflib.get_close_matches(option, known, n=1)
            raise UsageError(
                found=f"{token!r}, which is no option of this command.",
                expected="a recipe setting by its dotted key, or one of " + ", ".join(known) + ".",
                fix=f"write {nearest[0]}." if nearest else "see fitwell train --help.",
            )
        if not equals:
            if not remaining:
                raise UsageError(
                    found=f"{option} at the end of the line, without a value.",
                    expected=f"{option} VALUE.",
                    fix=f"give {option} a value, or leave it out.",
                )
            value = remaining.pop(0)
        settings[option.removeprefix("--").replace("-", "_") if "phases." not in option else _phase_key(option)] = value
    return settings


def _phase_key(option: str) -> str:
    """Return the dotted key of a phase setting; a phase's own name keeps its dashes."""
    phases, _, rest = option.removeprefix("--").partition(".")
    name, _, key = rest.rpartition(".")
    return f"{phases}.{name}.{key.replace('-', '_')}"


def _print_recipe_and_split(prepared: PreparedRun, *, json: bool) -> None:
    from fitwell.recipe.read import recipe_to_yaml
    from fitwell.training.schedule import planned_rates

    steps_per_epoch = prepared.steps_per_epoch()
    rates = {phase.name: planned_rates(phase, steps_per_epoch, RATES_SHOWN) for phase in prepared.recipe.phases}
    if json:
        shown = {
            "recipe": prepared.recipe.model_dump(mode="json"),
            "split": prepared.counts(),
            "memory": prepared.memory.record(),
            "steps_per_epoch": steps_per_epoch,
            "learning_rates": rates,
        }
        print_json(shown)
        return
    print(recipe_to_yaml(prepared.recipe))
    for split, counts in prepared.counts().items():
        classes = ", ".join(f"{label} {count}" for label, count in counts.items())
        print(f"{split:<6}{prepared.num_images(split):>6} images: {classes}")
    print(f"memory: {prepared.memory.sentence()}, which is {prepared.memory.limit_reason}")
    print_learning_rates(prepared.recipe.phases, rates)


def _explain_plan(prepared: PreparedRun, *, json: bool) -> None:
    from fitwell.store import default_root
    from fitwell.training.plan import explain_plan
    from fitwell.training.trial_pictures import trial_pictures

    recipe, candidates = explain_plan(
        prepared.recipe,
        trial_pictures(prepared.dataset.root, prepared.images, prepared.recipe),
        num_classes=len(prepared.classes),
        num_train=prepared.num_images("train"),
        num_val=prepared.num_images("val"),
        plans=default_root() / "plans.json",
    )
    decisions = [entry for entry in recipe.resolved if entry.key.startswith("execution.")]
    if json:
        execution = recipe.execution.model_dump(mode="json")
        reasons = {entry.key.removeprefix("execution."): entry.reason for entry in decisions}
        print_json({"execution": execution, "reasons": reasons, "candidates": candidates})
        return
    print_candidates(candidates)
    for entry in decisions:
        print(f"{entry.key}: {entry.used}\n    {entry.reason}")
