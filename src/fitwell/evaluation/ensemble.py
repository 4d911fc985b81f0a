"""Ensembles: a run folder without weights of its own, whose run.json names the runs that answer together.

Members share images, classes and split: what one of them learnt from must be no other's test. The probabilities of an
ensemble are made in trained.py; whether they are better than those of its best member is judged here.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fitwell.errors import CheckpointError, DataError, FitwellError, UsageError
from fitwell.evaluation.comparison.compare import compare_runs
from fitwell.files import read_json, sha256_of_file, write_text
from fitwell.recipe.document import to_yaml
from fitwell.recipe.read import recipe_of
from fitwell.run_folder import RunFolder, create_run_folder, describe_environment, now

JUDGED_BY = ("target", "judge", "targets")  # sections of a recipe that say how answers are judged
HEADER = (
    "What an ensemble is judged by, as all its members are. It trains nothing: how they were trained is said in their\n"
    "own recipes, and the settings that are missing here decide nothing."
)


def create_ensemble(runs: Sequence[RunFolder], runs_dir: Path, name: str) -> RunFolder:
    """Give the finished `runs` a folder under `runs_dir` in which they answer together; judge nothing yet.

    Raises:
        UsageError: with fewer than two runs, the same weights twice, an ensemble among them, or members that are
            judged otherwise, as single classes and several classes an image are.
        CheckpointError: when a run is not finished, or its weights are not those it finished with.
        DataError: when the runs differ in classes, images or split.
    """
    records = [_read_finished(run) for run in runs]
    _require_different(runs, records)
    for run, record in zip(runs[1:], records[1:], strict=True):
        _require_alike(runs[0], records[0], run, record)
    ensemble = create_run_folder(runs_dir, name)
    for mine, theirs in ((ensemble.split, runs[0].split), (ensemble.findings, runs[0].findings)):
        shutil.copyfile(theirs, mine)  # the images are the same, and so is what was found about them
    recipe = recipe_of(runs[0]).model_dump(mode="json", include={"version", *JUDGED_BY})
    write_text(ensemble.recipe, to_yaml(recipe, HEADER))
    ensemble.update(
        id=ensemble.id,
        name=name,
        state="finished",
        created=now(),
        exit=None,
        **describe_environment(),
        members=[_describe(ensemble, run, record) for run, record in zip(runs, records, strict=True)],
        data=records[0]["data"],
        split=records[0]["split"],
        select={"metric": None, "best": None},
        test_openings=[],
    )
    return ensemble


def compare_with_best_member(ensemble: RunFolder) -> dict[str, Any]:
    """Return how `ensemble` differs on test from the member that val ranks highest, and what may be said of it.

    Returns:
        metric: that ranks them; balanced accuracy, of two classes AUC, of several an image average precision.
        members: of each its id, its value on val, and how often it opened test.
        best: an id, or None where not every member was judged on val.
        comparison: of the best member with the ensemble, see `compare.compare_runs`; None without one. sentence.
    """
    metric = _ranking_metric(ensemble)
    members = [ensemble.member(each["path"]) for each in ensemble.members()]
    values = [_val_of(run, metric) for run in members]
    ranked = [(value, -place) for place, value in enumerate(values) if value is not None]
    best = members[-max(ranked)[1]] if len(ranked) == len(members) else None
    found: dict[str, Any] = {
        "metric": metric,
        "members": [
            {"id": run.id, "val": value, "test_openings": len(run.read()["test_openings"])}
            for run, value in zip(members, values, strict=True)
        ],
        "best": best and best.id,
    }
    if best is None:
        sentence = f"Which member is best is not known: not each has its {metric.replace('_', ' ')} on val."
        return {**found, "comparison": None, "sentence": sentence}
    try:
        comparison = compare_runs([best, ensemble])["comparisons"][0]
    except FitwellError as error:
        sentence = f"It was not compared with its best member, {best.id}: {error.found} {error.fix}"
        return {**found, "comparison": None, "sentence": sentence}
    kept = {key: comparison[key] for key in ("metrics", "mcnemar", "delong")}
    return {**found, "comparison": kept, "sentence": _say(best.id, metric, comparison["metrics"][metric])}


def _read_finished(run: RunFolder) -> dict[str, Any]:
    """Return run.json of a run that trained to its end and still has the weights it ended with."""
    record = run.read()
    if run.members():
        raise UsageError(
            found=f"{run.path} is an ensemble itself.",
            expected="runs that were trained.",
            fix="name its members instead.",
        )
    if record.get("state") != "finished":
        raise CheckpointError(
            found=f"the run {run.path} is {record.get('state', 'unknown')}.",
            expected="finished runs.",
            fix=f"finish it with: fitwell resume {run.path}",
        )
    if not run.best_weights.is_file() or sha256_of_file(run.best_weights) != record["best_sha256"]:
        raise CheckpointError(
            found=f"{run.best_weights} is gone or was changed.",
            expected="the weights that the run finished with.",
            fix="restore the file from a copy, or leave the run out.",
        )
    return record


def _require_different(runs: Sequence[RunFolder], records: Sequence[dict[str, Any]]) -> None:
    num_different = len({record["best_sha256"] for record in records})
    if len(runs) < 2 or num_different < len(runs):
        raise UsageError(
            found=f"{len(runs)} run(s), with {num_different} different weights.",
            expected="at least two runs, each with weights of its own.",
            fix="fitwell ensemble RUN RUN; runs of other seeds or other recipes differ.",
        )


def _require_alike(first: RunFolder, mine: dict[str, Any], other: RunFolder, theirs: dict[str, Any]) -> None:
    recipes = [recipe_of(run).model_dump(mode="json") for run in (first, other)]
    for section in JUDGED_BY:
        said = [recipe[section] for recipe in recipes]
        if said[0] != said[1]:
            raise UsageError(
                found=f"`{section}` is {said[0]} in {first.path} and {said[1]} in {other.path}.",
                expected="members that are judged in the same way.",
                fix="leave one out; or, of `targets` alone, which decide nothing in training, edit a recipe.yaml.",
            )
    for what, facts in (
        ("classes", [record["data"]["classes"] for record in (mine, theirs)]),
        ("split hash", [record["split"]["hash"] for record in (mine, theirs)]),
        ("data fingerprint", [record["data"]["fingerprint"] for record in (mine, theirs)]),
    ):
        if facts[0] != facts[1]:
            raise DataError(
                found=f"the {what} of {first.path} is {facts[0]}, that of {other.path} {facts[1]}.",
                expected="the same images, classes and split: what one member learnt from must be no other's test.",
                fix=f"train on the first one's division: fitwell train {first.split} --image-root "
                f"{mine['data']['root']}",
            )


def _describe(ensemble: RunFolder, run: RunFolder, record: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": run.id,
        "path": os.path.relpath(run.path, ensemble.path.resolve()),
        "best_sha256": record["best_sha256"],
        "backbone": recipe_of(run).model.backbone,
        "temperature": (record.get("temperature") or {}).get("value"),
    }


def _ranking_metric(ensemble: RunFolder) -> str:
    if recipe_of(ensemble).target.is_multi_label:
        return "average_precision"
    return "auc" if len(ensemble.read()["data"]["classes"]) == 2 else "balanced_accuracy"


def _val_of(run: RunFolder, metric: str) -> float | None:
    if not run.evaluated("val"):
        return None
    value: float | None = read_json(run.evaluation("val") / "metrics.json")["metrics"].get(metric, {}).get("value")
    return value


def _say(best: str, metric: str, entry: dict[str, Any]) -> str:
    name = "AUC" if metric == "auc" else metric.replace("_", " ")
    if entry["difference"] is None or entry["interval"] is None:
        return f"Whether it is better than its best member by val, {best}, is not defined on these test images."
    low, high = entry["interval"]
    numbers = (
        f"test {name} {entry['other']:.3f} against {entry['first']:.3f} "
        f"(difference {entry['difference']:+.3f}, 95 % CI {low:+.3f} to {high:+.3f})"
    )
    if not entry["distinguishable"]:
        return f"Not distinguishable from its best member by val, {best}: {numbers}."
    return f"{'Better' if entry['difference'] > 0 else 'Worse'} than its best member by val, {best}: {numbers}."
