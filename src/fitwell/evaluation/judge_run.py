"""One evaluation of a finished run, from its weights to its folder, the report and what the recipe asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from fitwell.data.split import PARTS, read_split
from fitwell.evaluation.choices import choose_on_val
from fitwell.evaluation.corrupted_run import judge_corrupted, require_one_class_an_image
from fitwell.evaluation.ensemble import compare_with_best_member
from fitwell.evaluation.evaluate import write_evaluation
from fitwell.evaluation.evaluate_label_sets import CHOSEN_ON, read_thresholds, write_label_set_evaluation
from fitwell.evaluation.footprint import measure_footprint
from fitwell.evaluation.gallery.pictures import write_mistakes
from fitwell.evaluation.report.model_card import OWN_TEXTS
from fitwell.evaluation.report.own_texts import read_own_texts
from fitwell.evaluation.report.page import write_report
from fitwell.evaluation.results import write_results
from fitwell.evaluation.shift.judge_shift import write_shift
from fitwell.evaluation.trained import Trained, load_trained
from fitwell.evaluation.verdicts import judge_targets
from fitwell.files import write_json
from fitwell.recipe.read import recipe_hash, recipe_of
from fitwell.run_folder import RunFolder, now


def judge_run(
    run: RunFolder, name: str, images: pd.DataFrame, root: Path, *, corruptions: bool = False
) -> dict[str, Any]:
    """Judge `run` on `images` and write evaluation/<name>/, the report and the results; an opening of test is logged.

    Args:
        images: N rows with id, path, label and what is known of them. root: that the paths begin at.
        corruptions: whether to judge the images under common corruptions too.

    Returns: what metrics.json holds; with corruptions `robustness`, see `corrupted_run.judge_corrupted`; of other
        images than the run's own `shift`, see `judge_shift.write_shift`.

    Raises:
        UsageError: when corruptions are asked for of images that show several classes.
        CheckpointError: when the run is not finished.
        DataError: when an image cannot be decoded, or has a class that the run does not know.
        RunError: when a marker in model_card.md is broken, so that a text could be lost.
        ResourceError: when memory is to be measured and a process cannot hold the model.
    """
    model = load_trained(run)
    if corruptions:
        require_one_class_an_image(run, several=model.several)
    with run.lock():
        read_own_texts(run.model_card, OWN_TEXTS)  # with a broken one nobody need look at test
        if model.several and name != CHOSEN_ON:
            read_thresholds(run)  # without them nobody need look at test
        if name == "test":
            _log_opening(run)
        metrics = _write(run, name, images, model, root)
        metrics = _hold_to_targets(run, name, metrics, model)
        if name == "test" and run.members():
            run.update(best_member=compare_with_best_member(run))
        if name not in PARTS:
            metrics = {**metrics, "shift": write_shift(run, name, images, root, model)}
        run.robustness(name).unlink(missing_ok=True)  # of an evaluation of the same name before
        if corruptions:
            metrics = {**metrics, "robustness": judge_corrupted(run, name, images, model, root)}
        write_report(run)
        write_results(run)
    return metrics


def _write(run: RunFolder, name: str, images: pd.DataFrame, model: Trained, root: Path) -> dict[str, Any]:
    logits = model.logits(root, list(images["path"]))
    if model.several:
        usual = read_split(run.split).query("split == 'train'")["label"].mode()[0]
        return write_label_set_evaluation(run, name, images, logits, model.classes, usual=usual)
    if name == CHOSEN_ON:
        choose_on_val(run, logits, images["label"], model.classes)
    counts = run.read()["split"]["counts"]["train"]
    majority = max(counts, key=counts.get)
    metrics = write_evaluation(run, name, images, logits, model.classes, majority=majority, ordered=model.ordered)
    metrics["mistakes"] = write_mistakes(run.evaluation(name), images, logits, model, root)
    write_json(run.evaluation(name) / "metrics.json", metrics)
    return metrics


def _hold_to_targets(run: RunFolder, name: str, metrics: dict[str, Any], model: Trained) -> dict[str, Any]:
    """Return the metrics with what became of each target of the recipe; val chose, and can meet none."""
    targets = recipe_of(run).targets
    if targets.is_empty() or name == "val":
        return metrics
    rows = judge_targets(targets, metrics, measure_footprint(run, model, targets))
    judged = {**metrics, "targets": rows}
    write_json(run.evaluation(name) / "metrics.json", judged)
    return judged


def _log_opening(run: RunFolder) -> None:
    """Write down that somebody looks at the test images: the first look is the honest one."""
    openings = [*run.read()["test_openings"], {"time": now(), "recipe_hash": recipe_hash(recipe_of(run))}]
    run.update(test_openings=openings)
