"""`fitwell ensemble`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from fitwell.cli.output import print_json, print_verdict


def ensemble(
    *runs: Path,
    name: str = "ensemble",
    runs_dir: Path = Path("runs"),
    json: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Let finished runs answer together, by the mean of their calibrated probabilities, and judge that.

    Args:
        runs: run folders of the same images, classes and split.
        name: ends the name of the new run folder.
        runs_dir: folder that holds runs.
        json: print the result as JSON.
    """
    from fitwell import classifier

    run = classifier.ensemble(runs, runs_dir=runs_dir, name=name).run
    metrics = classifier.read_metrics(run, "test")
    if json:
        print_json({"run": str(run.path), "best_member": run.read()["best_member"], "test": metrics})
        return
    print_verdict(metrics, run.path)
    print(run.read()["best_member"]["sentence"])
