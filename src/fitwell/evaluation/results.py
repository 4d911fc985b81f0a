"""results.json: what a run used and what came out, in one short file for scripts that compare runs."""

from __future__ import annotations

from typing import Any

from fitwell.files import read_json, read_json_lines, write_json
from fitwell.recipe.read import recipe_hash, recipe_of
from fitwell.run_folder import RunFolder


def write_results(run: RunFolder) -> None:
    """Write results.json of `run` from what its folder holds by now."""
    write_json(run.results_json, collect_results(run))


def collect_results(run: RunFolder) -> dict[str, Any]:
    """Return the results of `run`.

    Returns:
        backbone, recipe_hash, classes; class_weights: of each class in the loss, mean 1 over the training images, or
        of several classes an image how much one that shows the class counts against one that does not;
        epochs: how many of each phase; best: the epoch that was kept; seconds: of training and val;
        evaluations: of each split its n, and of each metric value and interval.
    """
    record, recipe = run.read(), recipe_of(run)
    epochs = [entry for entry in read_json_lines(run.history) if entry["kind"] == "epoch"]
    phases = dict.fromkeys(entry["phase"] for entry in epochs)
    return {
        "run": run.id,
        "backbone": " + ".join(member["backbone"] for member in run.members()) or recipe.model.backbone,
        "recipe_hash": recipe_hash(recipe),
        "classes": record["data"]["classes"],
        "class_weights": record.get("class_weights"),
        "epochs": {phase: sum(entry["phase"] == phase for entry in epochs) for phase in phases},
        "best": record["select"]["best"],
        "seconds": round(sum(sum(entry["seconds"].values()) for entry in epochs), 1),
        "evaluations": {
            path.parent.name: _short(read_json(path)) for path in sorted(run.path.glob("evaluation/*/metrics.json"))
        },
    }


def _short(metrics: dict[str, Any]) -> dict[str, Any]:
    kept = {
        name: {"value": entry["value"], "interval": entry.get("interval")} for name, entry in metrics["metrics"].items()
    }
    return {"num_images": metrics["num_images"], "metrics": kept}
