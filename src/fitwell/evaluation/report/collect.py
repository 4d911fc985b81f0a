"""Everything the page says about a run, read from its folder: a run that is not finished has a page that says so."""

from __future__ import annotations

import base64
import shlex
from pathlib import Path
from typing import Any

from fitwell.data.labels import Labelling
from fitwell.data.split import PARTS, read_split
from fitwell.evaluation.analysis.course import Training
from fitwell.evaluation.analysis.fit import analyse
from fitwell.evaluation.analysis.proposals import propose
from fitwell.evaluation.report.wording import describe_robustness, describe_verdict
from fitwell.files import read_json, read_json_lines
from fitwell.recipe.read import recipe_of
from fitwell.run_folder import RunFolder


def collect(run: RunFolder) -> dict[str, Any]:
    """Return everything the page says about `run`, as plain data."""
    record = run.read()
    evaluations = _read_evaluations(run)
    headline = next((name for name in ("test", "val", *evaluations) if name in evaluations), None)
    robustness = _read_robustness(run, evaluations)
    epochs, rates = _read_history(run)
    split, training = _describe_split(run, record), _describe_training(record, epochs)
    return {
        "run": record,
        "path": str(run.path),
        "verdict": describe_verdict(evaluations[headline]) if headline else None,
        "headline": headline,
        "evaluations": evaluations,
        "shifts": {path.parent.name: read_json(path) for path in sorted(run.path.glob("evaluation/*/shift.json"))},
        "robustness": robustness,
        "pictures": _read_pictures(run, robustness),
        "promised": _find_promised(evaluations, headline),
        "findings": list(read_json_lines(run.findings)),
        "split": split,
        "training": training,
        "analysis": _analyse(run, split, epochs, metric=training["metric"]) if split and epochs else None,
        "epochs": epochs,
        "rates": rates,
        "recipe": _read_recipe(run),
        "commands": _commands(run, record),
    }


def _read_evaluations(run: RunFolder) -> dict[str, dict[str, Any]]:
    found = {path.parent.name: read_json(path) for path in sorted(run.path.glob("evaluation/*/metrics.json"))}
    first = {name: found[name] for name in ("test", "val") if name in found}
    return first | found


def _read_robustness(run: RunFolder, evaluations: dict[str, dict[str, Any]]) -> dict[str, Any] | None:
    """Return what corruptions cost, on the first of the evaluations that was asked; `worst` is the largest drop."""
    name = next((name for name in evaluations if run.robustness(name).is_file()), None)
    if name is None:
        return None
    found = read_json(run.robustness(name))
    rows = [{"name": each["name"], **row} for each in found["corruptions"] for row in each["severities"]]
    worst = max(rows, key=lambda row: row["drop"]["balanced_accuracy"]["value"])
    return {**found, "worst": worst, "sentences": describe_robustness(found)}


def _read_pictures(run: RunFolder, robustness: dict[str, Any] | None) -> dict[str, str]:
    """Return as data URIs what one image looks like under each corruption, by <corruption>-<severity>."""
    if robustness is None:
        return {}
    shown = [("clean", 0)]
    shown += [(each["name"], row["severity"]) for each in robustness["corruptions"] for row in each["severities"]]
    paths = [run.corrupted_picture(robustness["split"], name, severity) for name, severity in shown]
    return {path.stem: f"data:image/jpeg;base64,{base64.b64encode(path.read_bytes()).decode()}" for path in paths}


def _find_promised(evaluations: dict[str, dict[str, Any]], headline: str | None) -> dict[str, Any] | None:
    """Return what the threshold came to on the images that chose it; None where the headline is about those."""
    point = evaluations[headline].get("operating_point") if headline else None
    if not point or headline == point["chosen_on"]:
        return None
    return (evaluations.get(point["chosen_on"], {}).get("operating_point") or {}).get("here")


def _read_history(run: RunFolder) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the epoch records, the last one of each epoch, and the records that tell learning rates."""
    records = list(read_json_lines(run.history))
    epochs = {(record["phase"], record["epoch"]): record for record in records if record["kind"] == "epoch"}
    steps = [record for record in records if record["kind"] == "step"]
    rates = steps if len(steps) > 1 else [epoch for epoch in epochs.values() if epoch["learning_rate"]]
    return list(epochs.values()), rates


def _describe_split(run: RunFolder, record: dict[str, Any]) -> dict[str, Any] | None:
    """Return images per class and split, and groups per split; None before the images are divided."""
    if not run.split.exists():
        return None
    images = read_split(run.split)
    table = {part: images[images["split"] == part] for part in PARTS}
    classes = record.get("data", {}).get("classes") or sorted(set(images["label"]))
    labelling = Labelling(several=record.get("data", {}).get("target") == "multi_label")
    counts = {part: labelling.count(rows["label"], classes) for part, rows in table.items()}
    return {
        "hash": record.get("split", {}).get("hash"),
        "rows": [{"class": name, **{part: counts[part][name] for part in PARTS}} for name in classes],
        "totals": {part: len(rows) for part, rows in table.items()},
        "groups": {part: int(rows["group"].nunique()) for part, rows in table.items()} if "group" in images else None,
    }


def _describe_training(record: dict[str, Any], epochs: list[dict[str, Any]]) -> dict[str, Any]:
    select = record.get("select") or {}
    best, metric = select.get("best") or {}, select.get("metric") or "balanced_accuracy"
    seconds = sum(sum((epoch.get("seconds") or {}).values()) for epoch in epochs)
    kept = [epoch for epoch in epochs if epoch.get("best")]
    step = best.get("step", kept[-1]["step"] if kept else None)
    phases = {name: sum(epoch["phase"] == name for epoch in epochs) for name in {e["phase"]: 0 for e in epochs}}
    values = [value for epoch in epochs if (value := epoch["val"].get(metric)) is not None]
    beaten = best.get("value") is not None and bool(values) and metric == "auc" and best["value"] < max(values)
    return {
        "metric": metric,
        "keep": select.get("keep", "best"),
        "is_within_noise": beaten,
        "best": best,
        "best_step": step,
        "seconds": round(seconds, 1),
        "phases": phases,
    }


def _analyse(run: RunFolder, split: dict[str, Any], epochs: list[dict[str, Any]], *, metric: str) -> dict[str, Any]:
    """Return how training went, with what to test next as `proposals`."""
    recipe = recipe_of(run)
    num_val = min(split["totals"]["val"], recipe.limits.val_images or split["totals"]["val"])
    judged = num_val / max(1, split["totals"]["val"])  # epochs are judged on a stratified part, where it is limited
    training = Training(
        epochs=epochs,
        metric=metric,
        recipe=recipe,
        train_counts={row["class"]: row["train"] for row in split["rows"]},
        val_counts={row["class"]: round(judged * row["val"]) for row in split["rows"]},
        num_train=split["totals"]["train"],
        num_val=num_val,
        val_groups=split["groups"]["val"] if split["groups"] else None,
    )
    analysis = analyse(training)
    return {**analysis, "proposals": propose(training, analysis)}


def _read_recipe(run: RunFolder) -> dict[str, Any] | None:
    """Return the text of recipe.yaml without its table of resolutions, and that table."""
    from ruamel.yaml import YAML

    if not run.recipe.exists():
        return None
    text = run.recipe.read_text(encoding="utf-8")
    document = YAML(typ="safe", pure=True).load(text)
    return {
        "text": text.split("\nresolved:")[0].strip(),
        "description": document.get("description") or "",
        "resolved": [dict(row) for row in document.get("resolved") or ()],
    }


def _commands(run: RunFolder, record: dict[str, Any]) -> dict[str, str]:
    """Return the command that was given, and those that repeat the run from its own recipe, use it and resume it."""
    given = [str(part) for part in record.get("command") or ()]
    if given and Path(given[0]).name in ("fitwell", "__main__.py"):
        given[0] = "fitwell"
    commands = {"given": shlex.join(given), "predict": shlex.join(["fitwell", "predict", str(run.path), "PICTURE"])}
    members = [str(run.member(member["path"]).path) for member in record.get("members", ())]
    if members:
        return {**commands, "repeat": shlex.join(["fitwell", "ensemble", *members])}
    root = str(record.get("data", {}).get("root") or "FOLDER")
    repeat = ["fitwell", "train", str(run.split), "--image-root", root, "--recipe", str(run.recipe)]
    resume = ["fitwell", "resume", str(run.path)]
    return {**commands, "repeat": shlex.join(repeat), "resume": shlex.join(resume)}
