"""What a suite found: each recipe on each task with intervals, the one that val chooses, and what it costs.

Only val numbers are compared; of the test images, each task shows those of the chosen run alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fitwell.classifier import read_metrics
from fitwell.evaluation.intervals import student_interval
from fitwell.evaluation.metrics import higher_is_better
from fitwell.experiments.suite import Suite
from fitwell.files import read_json_lines
from fitwell.recipe.read import recipe_of
from fitwell.run_folder import RunFolder

Record = dict[str, Any]


def summarise(suite: Suite, records: Sequence[Record], home: Path) -> dict[str, Any]:
    """Return what the finished runs show.

    Returns:
        metric: of val, by which recipes are chosen.
        tasks: name to `recipes` (name to n, val, interval, seconds, epochs and errors) and `chosen` (recipe and run,
            or None). The interval is that of the mean over seeds, or with one seed that of its val images.
        against: the first recipe.
        changes: every other recipe to `difference` of the metric and `seconds_ratio`, paired by task and seed.
    """
    finished = [_measured(record, home) for record in records if record["state"] == "finished"]
    metric = suite.metric if suite.metric != "auto" else next((each["selects"] for each in finished), "accuracy")
    names = [variant.name for variant in suite.recipes]
    tasks = {
        task: _summarise_task(
            names,
            [each for each in finished if each["task"] == task],
            [each for each in records if each["task"] == task and each["state"] == "failed"],
            metric,
        )
        for task in suite.tasks
    }
    changes = {name: _change(names[0], name, finished, metric) for name in names[1:]}
    return {
        "metric": metric,
        "num_entries": len(records),
        "num_failed": sum(record["state"] == "failed" for record in records),
        "tasks": tasks,
        "against": names[0],
        "changes": changes,
    }


def _measured(record: Record, home: Path) -> Record:
    """Return the record with its val metrics, its epochs, and the metric that chose among them."""
    run = RunFolder(home / record["run"])
    recipe = recipe_of(run)
    epochs = sum(entry["kind"] == "epoch" for entry in read_json_lines(run.history))
    return {**record, "val": read_metrics(run, "val")["metrics"], "epochs": epochs, "selects": recipe.select.metric}


def _summarise_task(
    names: Sequence[str], finished: Sequence[Record], failed: Sequence[Record], metric: str
) -> dict[str, Any]:
    recipes = {name: _summarise_recipe([each for each in finished if each["recipe"] == name], metric) for name in names}
    for record in failed:
        recipes[record["recipe"]]["errors"].append(record["error"]["found"])
    sign = 1 if higher_is_better(metric) else -1
    most = max(found["n"] for found in recipes.values())  # a mean of fewer seeds may be luck
    ranked = [name for name in names if recipes[name]["n"] == most and recipes[name]["val"] is not None]
    chosen = None
    if ranked:
        best = max(ranked, key=lambda name: sign * recipes[name]["val"])
        runs = [each for each in finished if each["recipe"] == best and _value(each, metric) is not None]
        chosen = {"recipe": best, "run": max(runs, key=lambda each: sign * each["val"][metric]["value"])["run"]}
    return {"recipes": recipes, "chosen": chosen}


def _summarise_recipe(runs: Sequence[Record], metric: str) -> dict[str, Any]:
    values = [value for each in runs if (value := _value(each, metric)) is not None]
    interval = student_interval(values)
    if len(values) == 1:
        interval = next(each["val"][metric].get("interval") for each in runs if _value(each, metric) is not None)
    return {
        "n": len(runs),
        "val": float(np.mean(values)) if values else None,
        "interval": interval,
        "interval_of": "val images" if len(values) == 1 else "seeds",
        "seconds": float(np.mean([each["seconds"] for each in runs])) if runs else None,
        "epochs": float(np.mean([each["epochs"] for each in runs])) if runs else None,
        "errors": [],
    }


def _change(first: str, other: str, finished: Sequence[Record], metric: str) -> dict[str, Any]:
    """Return what another recipe changes in the metric and in seconds, over the tasks and seeds that both finished."""
    runs = {(each["recipe"], each["task"], each["seed"]): each for each in finished}
    of_both = [key for recipe, *key in runs if recipe == other and (first, *key) in runs]
    pairs = [(runs[first, *key], runs[other, *key]) for key in of_both]
    both = [(_value(base, metric), _value(new, metric)) for base, new in pairs]
    differences = [new - base for base, new in both if base is not None and new is not None]
    ratios = [math.log(new["seconds"] / base["seconds"]) for base, new in pairs if base["seconds"] and new["seconds"]]
    spread = student_interval(ratios)
    return {
        "n": len(pairs),
        "difference": float(np.mean(differences)) if differences else None,
        "interval": student_interval(differences),
        "seconds_ratio": math.exp(float(np.mean(ratios))) if ratios else None,
        "seconds_ratio_interval": spread and tuple(math.exp(end) for end in spread),
    }


def _value(run: Record, metric: str) -> float | None:
    value: float | None = run["val"].get(metric, {}).get("value")
    return value


def describe_summary(summary: dict[str, Any]) -> str:
    """Return the summary as Markdown."""
    metric = summary["metric"].replace("_", " ")
    lines = [
        f"| task | recipe | n | val {metric} (95 % interval) | seconds | epochs | |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, task in summary["tasks"].items():
        lines += [_row(name, recipe, found, task["chosen"]) for recipe, found in task["recipes"].items()]
    lines.append("")
    for name, task in summary["tasks"].items():
        lines.append(_describe_choice(name, task, metric))
    lines += [_describe_change(name, summary["against"], change, metric) for name, change in summary["changes"].items()]
    if summary["num_failed"]:
        lines += ["", f"{summary['num_failed']} of {summary['num_entries']} trainings failed."]
    return "\n".join(lines) + "\n"


def _row(task: str, recipe: str, found: dict[str, Any], chosen: dict[str, Any] | None) -> str:
    is_chosen = chosen is not None and chosen["recipe"] == recipe
    mark = "chosen" if is_chosen else "; ".join("failed: " + error for error in dict.fromkeys(found["errors"]))
    figures = ["0", "", "", ""]
    if found["n"]:
        val = _with_interval(found["val"], found["interval"])
        figures = [str(found["n"]), val, f"{found['seconds']:.0f}", f"{found['epochs']:.0f}"]
    return "| " + " | ".join([task, recipe, *figures, mark]) + " |"


def _describe_choice(name: str, task: dict[str, Any], metric: str) -> str:
    chosen = task["chosen"]
    if chosen is None:
        return f"- {name}: nothing was trained."
    test = chosen["test"]
    again = f"; its test images were opened by {chosen['opened']} runs" if chosen["opened"] > 1 else ""
    shown = _with_interval(test["value"], test.get("interval"))
    return f"- {name}: {chosen['recipe']}, test {metric} {shown}, run {chosen['run']}{again}."


def _describe_change(name: str, first: str, change: dict[str, Any], metric: str) -> str:
    if not change["n"]:
        return f"- {name} against {first}: nothing that both finished."
    ratio = _with_interval(change["seconds_ratio"], change["seconds_ratio_interval"])
    difference = _with_interval(change["difference"], change["interval"], sign="+")
    return f"- {name} against {first}, n = {change['n']}: val {metric} {difference}, seconds × {ratio}."


def _with_interval(value: float | None, interval: Sequence[float] | None, sign: str = "") -> str:
    if value is None:
        return "not defined"
    reach = f" ({interval[0]:{sign}.3f} to {interval[1]:{sign}.3f})" if interval else ""
    return f"{value:{sign}.3f}{reach}"
