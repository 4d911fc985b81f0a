"""Whether a classifier reached what its recipe asks for: met, missed, or not decidable with so few images.

A number beside a bound proves nothing: met is a bound that the whole 95 % interval keeps, missed one that it breaks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fitwell.evaluation.intervals import Interval, entry_of
from fitwell.evaluation.metrics import higher_is_better
from fitwell.recipe.goals import Targets

MET, MISSED, UNDECIDED = "met", "missed", "not decidable"


@dataclass(frozen=True)
class Footprint:
    """What a classifier takes.

    Attributes:
        latencies: milliseconds of single pictures, each by itself.
        weights_bytes: of the weights on disk.
        peak_memory_bytes: of a process that loads it and names one picture; None where nobody measured.
    """

    latencies: Sequence[float]
    weights_bytes: int
    peak_memory_bytes: int | None = None


def judge_targets(targets: Targets, metrics: dict[str, Any], footprint: Footprint) -> list[dict[str, Any]]:
    """Return a record for each of `targets`: target, bound, at_least, value, interval, verdict and reason.

    Args:
        metrics: of the judged images, as metrics.json has them.
    """
    rows = [
        _row(name, bound, metrics["metrics"].get(name, entry_of(None, None)), at_least=higher_is_better(name))
        for name, bound in targets.metrics.items()
    ]
    if targets.every_class is not None:
        rows.append(_every_class(targets.every_class, metrics["per_class"]))
    if targets.latency_milliseconds is not None:
        entry = median_entry(footprint.latencies)
        rows.append(_row("latency_milliseconds", targets.latency_milliseconds, entry, at_least=False))
    if targets.weights_size is not None:
        size = float(footprint.weights_bytes)
        rows.append(_row("weights_size", float(targets.weights_size), _exact(size, "counted"), at_least=False))
    if targets.memory is not None and footprint.peak_memory_bytes is not None:
        entry = _exact(float(footprint.peak_memory_bytes), "measured in one process")
        rows.append(_row("memory", float(targets.memory), entry, at_least=False))
    return rows


def all_met(rows: Sequence[dict[str, Any]]) -> bool:
    """Return whether every target is met; what cannot be decided is not."""
    return all(row["verdict"] == MET for row in rows)


def median_entry(values: Sequence[float], confidence: float = 0.95) -> dict[str, Any]:
    """Return the median and its interval, from the order of independent `values` alone.

    The interval ends at the k-th smallest and the k-th largest, with the largest k that keeps the confidence; with
    fewer than six values there is none.

    Source: Hahn & Meeker 1991, "Statistical Intervals", section 5.2.
    """
    from scipy.special import bdtr

    ordered, count = sorted(values), len(values)
    middle = (ordered[(count - 1) // 2] + ordered[count // 2]) / 2
    tails = [rank for rank in range(1, count // 2 + 1) if 2 * bdtr(rank - 1, count, 0.5) <= 1 - confidence]
    if not tails:
        return entry_of(middle, None)
    rank = tails[-1]
    return entry_of(middle, Interval(ordered[rank - 1], ordered[-rank], f"order of {count} measurements"))


def _every_class(bound: float, per_class: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the record of the recall of every class: missed where one misses it, met where all meet it."""
    rows = [_row(row["class"], bound, row["recall"], at_least=True) for row in per_class]
    worst = next((row for verdict in (MISSED, UNDECIDED) for row in rows if row["verdict"] == verdict), None)
    if worst is None:
        worst = min(rows, key=lambda row: row["value"])
    others = sum(row["verdict"] == worst["verdict"] for row in rows) - 1
    more = f", and {others} more" if others and worst["verdict"] != MET else ""
    return {**worst, "target": "every_class", "reason": f"the class {worst['target']}{more}: {worst['reason']}"}


def _row(target: str, bound: float, entry: dict[str, Any], *, at_least: bool) -> dict[str, Any]:
    verdict, reason = _decide(bound, entry, at_least=at_least)
    return {
        "target": target,
        "bound": bound,
        "at_least": at_least,
        "value": entry["value"],
        "interval": entry["interval"],
        "verdict": verdict,
        "reason": reason,
    }


def _decide(bound: float, entry: dict[str, Any], *, at_least: bool) -> tuple[str, str]:
    if entry["value"] is None:
        return UNDECIDED, "it is not defined on these images."
    if entry["interval"] is None:
        return UNDECIDED, "it has no interval."
    low, high = entry["interval"]
    if (low if at_least else -high) >= (bound if at_least else -bound):
        return MET, "the whole interval keeps the bound."
    if (high if at_least else -low) < (bound if at_least else -bound):
        return MISSED, "the whole interval breaks the bound."
    return UNDECIDED, "the interval holds the bound: more images would tell."


def _exact(value: float, method: str) -> dict[str, Any]:
    return entry_of(value, Interval(value, value, method))
