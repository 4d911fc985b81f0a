"""The page about a run: the verdict first, then what it rests on.

report.html is one file without scripts or requests; report.json holds the same for machines. Both are made
from the run folder alone, at any time: a run that is not finished has a page that says so.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from fitwell.data.labels import Labelling
from fitwell.data.split import PARTS, read_split
from fitwell.evaluation.charts import (
    confusion_chart,
    inline,
    learning_curves,
    learning_rate_curve,
    reliability_chart,
    risk_coverage_chart,
    roc_chart,
    spell,
)
from fitwell.evaluation.metrics import METRICS
from fitwell.evaluation.multi_label import NAMING_METRICS
from fitwell.files import read_json, read_json_lines, write_json, write_text
from fitwell.run_folder import RunFolder

TEMPLATE = Path(__file__).with_name("report.html.j2")
SPLIT_NAMES = {"test": "Test", "val": "Validation", "train": "Training"}
EXPLANATIONS = {
    "auc": "how well its scores put the classes in order",
    "balanced_accuracy": "mean share found of each class",
    "accuracy": "share of images named rightly",
    "average_precision": "how pure it is among what it ranks first",
    "macro_f1": "finding each class without overcalling it",
    "micro_f1": "the same over all classes together",
    "exact_match": "share of images with every class right",
    "hamming_loss": "share of single answers that are wrong; less is better",
    "quadratic_kappa": "agreement beyond chance; a mistake counts by its distance squared",
    "mean_absolute_error": "by how many steps it is wrong, on average; less is better",
}
FURTHER = {
    "average_precision": "precision averaged over the images to be found, each at its own threshold",
    "partial_auc": "AUC from 90 to 100 % specificity alone, standardised after McClish: 0.5 is chance",
    "sensitivity_at_95_specificity": "best point of this ROC curve, chosen on these images: a challenge's metric",
    "macro_precision": "mean precision of the classes",
    "weighted_precision": "the same, each class by its images",
    "weighted_f1": "mean F1, each class by its images",
    "matthews_correlation": "correlation of answers and classes: 0 is chance, 1 perfect",
    "cohen_kappa": "agreement beyond chance: 0 is chance, 1 perfect",
    "brier_score": "mean squared error of the probabilities; less is better",
}
SETS = {
    "lac": "the smallest sets; some may be empty",
    "aps": "larger where the picture is hard",
    "raps": "as aps, without the long tail of sets",
}
CALIBRATION_ERRORS = ("ece", "ece_equal_mass", "smooth_ece")
SHARES_AT_THRESHOLD = ("sensitivity", "specificity", "precision", "negative_predictive_value")


def write_report(run: RunFolder) -> None:
    """Write report.html and report.json of `run` from what its folder holds by now."""
    content = collect(run)
    write_text(run.report_html, render(content))
    write_json(run.report_json, {key: value for key, value in content.items() if key != "rates"})


def collect(run: RunFolder) -> dict[str, Any]:
    """Return everything the page says about `run`, as plain data."""
    record = run.read()
    evaluations = _read_evaluations(run)
    headline = next((name for name in ("test", "val", *evaluations) if name in evaluations), None)
    epochs, rates = _read_history(run)
    return {
        "run": record,
        "path": str(run.path),
        "verdict": describe_verdict(evaluations[headline]) if headline else None,
        "headline": headline,
        "evaluations": evaluations,
        "promised": _find_promised(evaluations, headline),
        "findings": list(read_json_lines(run.findings)),
        "split": _describe_split(run, record),
        "training": _describe_training(record, epochs),
        "epochs": epochs,
        "rates": rates,
        "recipe": _read_recipe(run),
        "commands": _commands(run, record),
    }


def describe_verdict(metrics: dict[str, Any]) -> dict[str, Any]:
    """Return the verdict on one evaluation in words that need no statistics.

    Returns:
        title: one claim, never stronger than the intervals allow. better: whether it beats guessing.
        headline: the main metric with its interval and n. sentences: what it means.
    """
    name = _main_metric(metrics)
    chance, entry = metrics["baseline"][name], metrics["metrics"][name]
    interval = entry["interval"]
    better = interval is not None and interval[0] > chance
    worse = interval is not None and interval[1] < chance
    split = SPLIT_NAMES.get(metrics["split"], metrics["split"])
    reach = f"95 % CI {format_interval(interval)}, " if interval else ""
    title = "Better than guessing" if better else "Not shown to be better than guessing"
    return {
        "title": "Worse than guessing" if worse else title,
        "better": better,
        "headline": f"{split} {spell(name)} {format_number(entry['value'])} ({reach}{format_size(metrics)})",
        "sentences": _say_what_it_means(metrics, name),
    }


def _main_metric(metrics: dict[str, Any]) -> str:
    """Return the metric that the verdict rests on."""
    has_auc = metrics["metrics"]["auc"]["value"] is not None
    if "thresholds" in metrics:
        return "auc" if has_auc else "average_precision"
    return "auc" if len(metrics["classes"]) == 2 and has_auc else "balanced_accuracy"


def render(content: dict[str, Any]) -> str:
    """Return the page for what `collect` returned; every name in it is escaped."""
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {
        "number": format_number,
        "interval": format_interval,
        "size": format_size,
        "spell": spell,
        "against": format_claim,
        "heading": lambda name: spell(name)[:1].upper() + spell(name)[1:],
        "share": lambda value: "" if value is None else f"{value:.0%}",
        "at": lambda value: f"{200 * value:.1f}",
    }
    template = environment.from_string(TEMPLATE.read_text(encoding="utf-8"))
    several = any("thresholds" in judged for judged in content["evaluations"].values())
    tiles = {name: words for name, words in EXPLANATIONS.items() if several or name not in FURTHER}
    return template.render(
        **content,
        charts=_charts(content),
        split_names=SPLIT_NAMES,
        explanations=tiles,
        further={name: words for name, words in FURTHER.items() if name not in tiles},
        calibration_errors=CALIBRATION_ERRORS,
        set_methods=SETS,
        shares_at_threshold=SHARES_AT_THRESHOLD,
        shares=(*METRICS, "average_precision", *NAMING_METRICS),
        several=several,
        of_slices=("exact_match", "macro_f1") if several else ("accuracy", "balanced_accuracy"),
        of_all=("auc", "average_precision", "macro_f1") if several else ("auc", "balanced_accuracy", "accuracy"),
        parts=PARTS,
    )


def format_number(value: float | None) -> str:
    """Return `value` to three places; what is not 0 or 1 is never shown as 0.000 or 1.000."""
    if value is None:
        return "not defined"
    digits = 3
    while digits < 6 and value not in (0, 1) and round(value, digits) in (0, 1):
        digits += 1
    return f"{value:.{digits}f}"


def format_interval(interval: list[float] | None) -> str:
    """Return the two ends, joined by an en dash."""
    return "no interval" if interval is None else f"{format_number(interval[0])}–{format_number(interval[1])}"


def format_size(metrics: dict[str, Any]) -> str:
    """Return how much was judged, as "394 images in 7 groups"."""
    images = f"{metrics['num_images']:,} image{'s' * (metrics['num_images'] != 1)}"
    groups = metrics["num_groups"]
    return images if groups is None else f"{images} in {groups:,} group{'s' * (groups != 1)}"


def format_claim(claim: dict[str, Any] | None) -> str:
    """Return how a slice differs from the rest, as "worse, p 0.003"; a dash where it may be chance."""
    if claim is None:
        return ""
    if not claim["differs"]:
        return "–"
    p = "below 0.001" if claim["p_holm"] < 0.001 else f"{claim['p_holm']:.3f}"
    return f"{'worse' if claim['difference'] < 0 else 'better'}, p {p}"


def _say_what_it_means(metrics: dict[str, Any], name: str) -> list[str]:
    if "thresholds" in metrics:
        return [*([_say_ranks(metrics)] if name == "auc" else []), _say_exact_match(metrics)]
    return [_say_order(metrics) if name == "auc" else _say_recall(metrics), _say_accuracy(metrics)]


def _say_ranks(metrics: dict[str, Any]) -> str:
    share = 100 * metrics["metrics"]["auc"]["value"]
    return (
        f"Averaged over the classes: shown one image with the class and one without it, it ranks the former higher "
        f"{share:.0f} times out of 100; a coin would reach 50."
    )


def _say_exact_match(metrics: dict[str, Any]) -> str:
    entry, baseline = metrics["metrics"]["exact_match"], metrics["baseline"]
    reach = entry["interval"]
    interval = f" (95 % CI {100 * reach[0]:.0f}–{100 * reach[1]:.0f})" if reach else ""
    usual = f"“{baseline['label']}”" if baseline["label"] else "“none”"
    return (
        f"It gets every class right for {100 * entry['value']:.0f} of 100 images{interval}. Always answering {usual} "
        f"would for {100 * baseline['exact_match']:.0f}."
    )


def _say_order(metrics: dict[str, Any]) -> str:
    share, positive = 100 * metrics["metrics"]["auc"]["value"], metrics["classes"][1]
    return (
        f"Shown one “{positive}” and one “{metrics['classes'][0]}” image, it ranks the “{positive}” one higher "
        f"{share:.0f} times out of 100; a coin would reach 50."
    )


def _say_recall(metrics: dict[str, Any]) -> str:
    share = 100 * metrics["metrics"]["balanced_accuracy"]["value"]
    chance = 100 * metrics["baseline"]["balanced_accuracy"]
    return f"Averaged over the classes, it recognises {share:.0f} of 100 images; guessing would reach {chance:.3g}."


def _say_accuracy(metrics: dict[str, Any]) -> str:
    entry, baseline = metrics["metrics"]["accuracy"], metrics["baseline"]
    reach = entry["interval"]
    interval = f" (95 % CI {100 * reach[0]:.0f}–{100 * reach[1]:.0f})" if reach else ""
    return (
        f"It names the right class for {100 * entry['value']:.0f} of 100 images{interval}. Always answering "
        f"“{baseline['label']}” would be right for {100 * baseline['accuracy']['value']:.0f} and find nothing else."
    )


def _read_evaluations(run: RunFolder) -> dict[str, dict[str, Any]]:
    found = {path.parent.name: read_json(path) for path in sorted(run.path.glob("evaluation/*/metrics.json"))}
    first = {name: found[name] for name in ("test", "val") if name in found}
    return first | found


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
    best = (record.get("select") or {}).get("best") or {}
    metric = (record.get("select") or {}).get("metric") or "balanced_accuracy"
    seconds = sum(sum((epoch.get("seconds") or {}).values()) for epoch in epochs)
    kept = [epoch for epoch in epochs if epoch.get("best")]
    step = best.get("step", kept[-1]["step"] if kept else None)
    phases = {name: sum(epoch["phase"] == name for epoch in epochs) for name in {e["phase"]: 0 for e in epochs}}
    return {"metric": metric, "best": best, "best_step": step, "seconds": round(seconds, 1), "phases": phases}


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
    """Return the command that was given and the one that repeats the run from its own recipe."""
    given = [str(part) for part in record.get("command") or ()]
    if given and Path(given[0]).name in ("fitwell", "__main__.py"):
        given[0] = "fitwell"
    root = str(record.get("data", {}).get("root") or "FOLDER")
    return {
        "given": shlex.join(given),
        "repeat": shlex.join(["fitwell", "train", str(run.split), "--image-root", root, "--recipe", str(run.recipe)]),
        "resume": shlex.join(["fitwell", "resume", str(run.path)]),
    }


def _charts(content: dict[str, Any]) -> dict[str, Any]:
    """Return the pictures by name, ready to stand in the page; a picture without data is None."""
    from markupsafe import Markup

    # Safe: matplotlib escapes every text it draws, and `inline` escapes the description.
    return {
        name: Markup(inline(draw(), name, description)) if draw else None  # noqa: S704
        for name, (description, draw) in _drawings(content).items()
    }


def _drawings(content: dict[str, Any]) -> dict[str, tuple[str, Callable[[], str] | None]]:
    """Return by name what a picture shows, and what draws it; None without data."""
    epochs, rates, training = content["epochs"], content["rates"], content["training"]
    judged = content["evaluations"].get(content["headline"]) or {}
    roc = judged.get("roc")
    return {
        "curves": (
            "Loss and validation metric per epoch",
            partial(learning_curves, epochs, metric=training["metric"], best_step=training["best_step"])
            if epochs
            else None,
        ),
        "rates": ("Learning rate per step", partial(learning_rate_curve, rates) if rates else None),
        "confusion": (
            "Confusion matrix: actual classes in rows, predicted classes in columns",
            partial(confusion_chart, np.array(judged["confusion"]), judged["classes"])
            if "confusion" in judged
            else None,
        ),
        "roc": (
            "ROC curve",
            partial(
                roc_chart, np.array(roc["points"]), positive=roc["positive"], area=judged["metrics"]["auc"]["value"]
            )
            if roc
            else None,
        ),
        "reliability": (
            "Share that is right by confidence",
            partial(reliability_chart, judged["calibration"]) if "calibration" in judged else None,
        ),
        "risk_coverage": (
            "Errors among the surest images by their share",
            partial(risk_coverage_chart, judged["selective"]) if "selective" in judged else None,
        ),
    }
