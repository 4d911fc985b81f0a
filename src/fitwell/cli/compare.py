"""`fitwell compare`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from fitwell.cli.output import METRICS, print_json

if TYPE_CHECKING:
    from rich.table import Table

MOST_PATHS = 5  # of images that were fixed or broken; JSON has all


def compare(*runs: Path, json: Annotated[bool, Parameter(negative="")] = False) -> None:
    """Say whether runs differ: every other recipe against the first, on test images.

    What is compared is found in the runs: one run of each recipe on the same test images; or the same folds, or the
    same seeds, of each recipe.

    Args:
        runs: run folders; the first one's recipe is what the others are compared with.
        json: print the result as JSON, with every image that was fixed or broken.
    """
    from fitwell.evaluation.comparison.compare import compare_runs
    from fitwell.run_folder import open_run_folder

    found = compare_runs([open_run_folder(run) for run in runs])
    if json:
        print_json(found)
    else:
        print_comparison(found)


def print_comparison(found: dict[str, Any]) -> None:
    """Print what `compare_runs` returned: recipes, the sentence, and a table for each comparison."""
    from rich.console import Console

    console = Console(highlight=False, soft_wrap=True)
    for recipe in found["recipes"]:
        for run in recipe["runs"]:
            console.print(f"{recipe['name']}  {run}", markup=False)
    console.print(found["sentence"], markup=False)
    adjusted = len(found["comparisons"]) > 1
    for comparison in found["comparisons"]:
        console.print()
        console.print(_recipe_table(comparison))
        console.print()
        console.print(_metric_table(comparison, adjusted=adjusted))
        for line in _lines(comparison, adjusted=adjusted):
            console.print(line, markup=False)


def _recipe_table(comparison: dict[str, Any]) -> Table | str:
    from rich.table import Table

    if not comparison["recipe"]:
        return f"{comparison['first']} and {comparison['other']} have the same recipe."
    table = Table("recipe", comparison["first"], comparison["other"], box=None, pad_edge=False)
    for row in comparison["recipe"]:
        table.add_row(row["key"], _say(row["before"]), _say(row["after"]))
    return table


def _metric_table(comparison: dict[str, Any], *, adjusted: bool) -> Table:
    from rich.table import Table

    first, other = comparison["first"], comparison["other"]
    heading = "test" if "flips" in comparison else "mean of test"
    table = Table(heading, first, other, box=None, pad_edge=False)
    table.add_column(f"{other} - {first} (95 % interval)", no_wrap=True)
    if adjusted:
        table.add_column("p, Holm")
    table.add_column("", no_wrap=True)
    for name in (name for name in METRICS if name in comparison["metrics"]):
        entry = comparison["metrics"][name]
        verdict = "" if entry["distinguishable"] else "not distinguishable"
        cells = (_number(entry["first"]), _number(entry["other"]), _difference(entry))
        table.add_row(name.replace("_", " "), *cells, *((_p(entry["p_holm"]),) if adjusted else ()), verdict)
    return table


def _lines(comparison: dict[str, Any], *, adjusted: bool) -> list[str]:
    """Return what is said of single images, where the runs were compared on the same."""
    if "flips" not in comparison:
        return []
    first, other, flips = comparison["first"], comparison["other"], comparison["flips"]
    lines = [f"{other} fixes {len(flips['fixes'])}, breaks {len(flips['breaks'])}."]
    name = "p, Holm" if adjusted else "p"
    for test, title in (("mcnemar", "McNemar"), ("delong", "DeLong")):
        if (entry := comparison[test]) is not None:
            metric = entry.get("metric", "AUC").replace("_", " ")
            method = f" ({entry['method']})" if "method" in entry else ""
            lines.append(f"{title} on {metric}{method}: {name} {_p(entry['p_holm'])}")
    for kind, rows in flips.items():
        lines += [
            f"  {kind}  {row['path']}  is {_named(row['label'])}; "
            f"{first} {_named(row['first'])}, {other} {_named(row['other'])}"
            for row in rows[:MOST_PATHS]
        ]
        if len(rows) > MOST_PATHS:
            lines.append(f"  {kind}  and {len(rows) - MOST_PATHS} more; --json names all")
    return lines


def _named(label: str) -> str:
    """Return a label; an image may show none of several classes."""
    return label or "(none)"


def _say(value: object) -> str:
    """Return a setting as a recipe would have it on one line."""
    if isinstance(value, dict):
        return ", ".join(f"{key}: {_say(each)}" for key, each in value.items())
    if isinstance(value, list):
        return f"[{', '.join(_say(each) for each in value)}]"
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "none"}[value]
    return str(value)


def _difference(entry: dict[str, Any]) -> str:
    if entry["difference"] is None:
        return "not defined"
    interval = entry["interval"]
    reach = f" ({interval[0]:+.3f} to {interval[1]:+.3f})" if interval else ""
    return f"{entry['difference']:+.3f}{reach}"


def _number(value: float | None) -> str:
    return "not defined" if value is None else f"{value:.3f}"


def _p(value: float | None) -> str:
    if value is None:
        return "not defined"
    return "< 0.001" if value < 0.001 else f"{value:.3f}"
