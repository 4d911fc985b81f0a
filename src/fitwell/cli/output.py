"""What commands print: the result on stdout, errors on stderr, one JSON object where `--json` is given."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fitwell.errors import DataError, FitwellError, UsageError
from fitwell.files import SCHEMA_VERSION, to_json

if TYPE_CHECKING:
    from fitwell.data.finding import Finding
    from fitwell.recipe.phase import Phase

GATE_NOT_MET = 4
BARS = "▁▂▃▄▅▆▇█"
METRICS = (
    *("quadratic_kappa", "mean_absolute_error", "auc", "average_precision", "balanced_accuracy", "accuracy"),
    *("macro_f1", "micro_f1", "exact_match", "hamming_loss", "log_loss"),
)


def print_json(content: dict[str, Any]) -> None:
    """Print one JSON object."""
    print(to_json({"schema_version": SCHEMA_VERSION, **content}, indent=2))


def print_error(error: FitwellError | str, *, as_json: bool, code: int) -> None:
    """Print an error: its three parts on stderr, or one JSON object on stdout."""
    finding = error.code if isinstance(error, DataError) else ""
    if as_json:
        parts = (
            {"found": error.found, "expected": error.expected, "fix": error.fix}
            if isinstance(error, FitwellError)
            else {"found": error}
        )
        told = {"finding": finding} if finding else {}
        print_json({"error": {"code": code, "kind": type(error).__name__, **told, **parts}})
    else:
        more = f"\nMore: fitwell explain {finding}" if finding else ""
        print(f"error: {error}{more}", file=sys.stderr)


def print_warnings(findings: Sequence[Finding]) -> None:
    """Print what was found about the images, but for notices, on stderr."""
    for finding in findings:
        if finding.severity != "notice":
            print(f"{finding.severity}: {finding.code} {finding.message}", file=sys.stderr)


def print_candidates(candidates: Sequence[dict[str, Any]]) -> None:
    """Print the measured ways to compute, one line each, the chosen ones marked."""
    from rich.console import Console
    from rich.table import Table

    table = Table("", "setting", "candidate", box=None, pad_edge=False)
    for heading in ("images/s", "agreement", "error"):
        table.add_column(heading, justify="right")
    for each in candidates:
        mark = "*" if each["chosen"] else ""
        rate, agreement, error = f"{each['images_per_second']:.1f}", f"{each['agreement']:.6f}", f"{each['error']:.4f}"
        figures = ("cannot run",) if each["problem"] else (rate, agreement, error)
        table.add_row(mark, each["setting"], each["value"], *figures)
    Console().print(table)


def print_learning_rates(phases: Sequence[Phase], rates: dict[str, list[float]]) -> None:
    """Print the course of every phase's learning rate as a row of bars, each phase beside its own peak."""
    print("learning rate, from the first step to the last:")
    width = max(len(name) for name in rates)
    for phase in phases:
        if not rates[phase.name]:
            print(f"  {phase.name:<{width}}  a search: each head has a rate of its own")
            continue
        peak = max(rates[phase.name])
        bars = "".join(BARS[round((len(BARS) - 1) * rate / peak)] for rate in rates[phase.name])
        head = f", head {peak * phase.head_factor:g}" if phase.head_factor != 1 else ""
        print(f"  {phase.name:<{width}}  {bars}  {phase.schedule}, peak {peak:g}{head}, {phase.epochs} epochs")


def print_verdict(metrics: dict[str, Any], run: Path) -> None:
    """Print the metrics of one evaluation with their intervals, beside the baseline of always answering the same."""
    groups = f", {metrics['num_groups']} groups" if metrics.get("num_groups") else ""
    print(f"{metrics['split']}: {metrics['num_images']} images{groups}")
    for name in METRICS:
        entry = metrics["metrics"].get(name)
        if entry is not None:
            print(f"  {name.replace('_', ' '):<18} {_with_interval(entry)}")
    _print_thresholds(metrics)
    _print_baseline(metrics["baseline"])
    if "robustness" in metrics:
        mean = metrics["robustness"]["mean"]
        print(f"  under corruptions  balanced accuracy {_with_interval(mean['balanced_accuracy'])},")
        print(f"                     a drop of {_with_interval(mean['drop']['balanced_accuracy'])}")
    for row in metrics.get("targets", ()):
        bound = f"{'>=' if row['at_least'] else '<='} {row['bound']:g}"
        print(f"  target {row['target'].replace('_', ' ')} {bound}: {row['verdict']}, {_with_interval(row)}")
    if "shift" in metrics:
        _print_shift(metrics["shift"])
    print(f"run: {run}")
    print(f"report: {run / 'report.html'}")


def gate_code(metrics: dict[str, Any]) -> int:
    """Return the exit code of `--gate`: 0 when every target of the recipe is met, else 4.

    Raises:
        UsageError: when the recipe has none.
    """
    from fitwell.evaluation.verdicts import all_met

    if "targets" not in metrics:
        raise UsageError(
            found="--gate, and no target that these images were held to.",
            expected="a run whose recipe has targets, judged on other images than val.",
            fix="train with targets, such as --targets.every_class 0.8 or targets: {metrics: {accuracy: 0.85}}.",
        )
    return 0 if all_met(metrics["targets"]) else GATE_NOT_MET


def _print_thresholds(metrics: dict[str, Any]) -> None:
    """Print the classes, each with its threshold, where an image may show several of them."""
    if "thresholds" not in metrics:
        return
    for row in metrics["per_class"]:
        f1, precision = (_with_interval(row[name]) for name in ("f1", "average_precision"))
        print(f"  {row['class']}: {row['support']} images, threshold {row['threshold']:.3f}")
        print(f"    F1 {f1}, average precision {precision}")


def _print_shift(shift: dict[str, Any]) -> None:
    """Print whether other images are unlike the run's own: a warning on stderr where they are, or are its own."""
    verdict, *rest = shift["sentences"]
    if shift["found"]:
        print(f"warning: {verdict}", file=sys.stderr)
    else:
        print(f"  shift: {verdict}")
    if any(shift["known"].values()):
        print(f"warning: {rest.pop(0)}", file=sys.stderr)
    for sentence in rest:
        print(f"  {sentence}")


def _print_baseline(baseline: dict[str, Any]) -> None:
    if "exact_match" in baseline:
        usual = baseline["label"] or "(none)"
        print(
            f"  most usual label   exact match {baseline['exact_match']:.3f}, always {usual!r}; "
            f"average precision of chance {baseline['average_precision']:.3f}"
        )
        return
    print(
        f"  majority baseline  accuracy {_with_interval(baseline['accuracy'])}, "
        f"always {baseline['label']!r}; balanced accuracy {baseline['balanced_accuracy']:.3f}"
    )


def _with_interval(entry: dict[str, Any]) -> str:
    if entry["value"] is None:
        return "not defined"
    interval = entry.get("interval")
    if interval is None:
        return f"{entry['value']:.3f}"
    return f"{entry['value']:.3f}  (95 % interval {interval[0]:.3f} to {interval[1]:.3f})"
