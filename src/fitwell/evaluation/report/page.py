"""The page about a run: the verdict first, then what it rests on.

report.html is one file without scripts or requests; report.json holds the same for machines. Both are made
from the run folder alone, at any time. Each section of the page is a template of its own beside this file.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from fitwell.data.finding import printable
from fitwell.data.split import PARTS
from fitwell.evaluation.charts import (
    confidence_chart,
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
from fitwell.evaluation.report.collect import collect
from fitwell.evaluation.report.model_card import write_model_card
from fitwell.evaluation.report.wording import EXPLANATIONS, FURTHER, IN_WORDS, SETS, SPLIT_NAMES
from fitwell.files import write_json, write_text
from fitwell.run_folder import RunFolder

CALIBRATION_ERRORS = ("ece", "ece_equal_mass", "smooth_ece")
NUM_MISTAKES_OPEN = 6  # the others fold away
SHARES_AT_THRESHOLD = ("sensitivity", "specificity", "precision", "negative_predictive_value")


def write_report(run: RunFolder) -> None:
    """Write report.html and report.json of `run` from what its folder holds by now; once judged, model_card.md."""
    content = collect(run)
    if content["headline"]:
        write_model_card(run, content)
    write_text(run.report_html, render(content))
    write_json(run.report_json, {key: value for key, value in content.items() if key not in ("rates", "pictures")})


def render(content: dict[str, Any]) -> str:
    """Return the page for what `collect` returned; every name in it is escaped."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    sections = FileSystemLoader(Path(__file__).parent)
    environment = Environment(
        loader=sections, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {
        **IN_WORDS,
        "heading": lambda name: spell(name)[:1].upper() + spell(name)[1:],
        "share": lambda value: "" if value is None else f"{value:.0%}",
        "at": lambda value: f"{200 * value:.1f}",
        "printable": printable,
        "address": partial(_embed, Path(content["path"]) / "evaluation" / str(content["headline"])),
    }
    template = environment.get_template("page.html.j2")
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
        num_mistakes_open=NUM_MISTAKES_OPEN,
    )


def _embed(folder: Path, name: str) -> str:
    """Return the JPEG `name` in `folder` as an address that holds it; blank where somebody has removed it."""
    path = folder / name
    if not path.is_file():
        return ""
    return "data:image/jpeg;base64," + base64.b64encode(path.read_bytes()).decode("ascii")


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
    roc, spread = judged.get("roc"), judged.get("confidence_distribution")
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
        "confidence": (
            "Images by confidence: right answers upwards, wrong ones downwards",
            partial(confidence_chart, spread["all"]) if spread else None,
        ),
        "risk_coverage": (
            "Errors among the surest images by their share",
            partial(risk_coverage_chart, judged["selective"]) if "selective" in judged else None,
        ),
    }
