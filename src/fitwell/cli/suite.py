"""`fitwell suite`."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from fitwell.cli.output import print_json

if TYPE_CHECKING:
    from rich.console import Console
    from rich.live import Live
    from rich.table import Table

    from fitwell.experiments.run_suite import Record, Watcher
    from fitwell.training.observer import Event, Observer


def suite(
    suite: Path,
    /,
    *,
    runs_dir: Path = Path("runs"),
    json: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Train several recipes on several tasks, and choose one for each task by val.

    What fails is reported and left out, the others go on, and the exit code is 1. The same command goes on with a
    suite that was stopped. Of the test images, only the chosen run sees those of its task.

    Args:
        suite: a YAML file with tasks and recipes; see docs/suites.md.
        runs_dir: where runs are kept; those of a suite in a folder of its name.
        json: print the summary as JSON.
    """
    from fitwell.experiments.run_suite import run_suite
    from fitwell.experiments.suite_summary import describe_summary

    with watching() as watcher:
        summary = run_suite(suite, runs_dir, watcher)
    if json:
        print_json(summary)
    else:
        print(describe_summary(summary), end="")
        print(f"suite: {runs_dir / suite.stem}", file=sys.stderr)
    return 1 if summary["num_failed"] else 0


@contextmanager
def watching() -> Iterator[Watcher]:
    """Yield a watcher that shows a live table on a terminal, and plain lines everywhere else."""
    from rich.console import Console
    from rich.live import Live

    console = Console(file=sys.stderr, highlight=False)
    if not console.is_terminal:
        yield _PlainLines(console)
        return
    with Live(console=console, refresh_per_second=2) as live:
        yield _LiveTable(live)


class _PlainLines:
    """A line where an entry begins and ends, and those of its training between."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def planned(self, records: Sequence[Record]) -> None:
        self._print(f"{len(records)} trainings")

    def begun(self, record: Record) -> Observer:
        from fitwell.training.progress import plain_lines

        self._print(f"{_name(record)}: {record['run']}")
        return plain_lines(self._console)

    def ended(self, record: Record) -> None:
        self._print(f"{_name(record)}: {_end(record)}")

    def _print(self, line: str) -> None:
        self._console.print(line, markup=False, soft_wrap=True)


class _LiveTable:
    """A table with a row for each entry, drawn again as it goes on."""

    def __init__(self, live: Live) -> None:
        self._live = live
        self._records: Sequence[Record] = ()
        self._now: dict[str, str] = {}

    def planned(self, records: Sequence[Record]) -> None:
        self._records = records
        self._draw()

    def begun(self, record: Record) -> Observer:
        """Return what keeps the entry's row at the last line of its training."""
        from fitwell.training.observer import PhaseStarted
        from fitwell.training.progress import describe

        epochs = 0

        def follow(event: Event) -> None:
            nonlocal epochs
            if isinstance(event, PhaseStarted):
                epochs = event.epochs
            line = describe(event, epochs)
            if line:
                self._now[_name(record)] = line
                self._draw()

        return follow

    def ended(self, record: Record) -> None:
        self._now.pop(_name(record), None)
        self._draw()

    def _draw(self) -> None:
        self._live.update(_table(self._records, self._now))


def _table(records: Sequence[Record], now: dict[str, str]) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table("task", "recipe", "seed", "state", box=None, pad_edge=False)
    for record in records:
        state = Text(now.get(_name(record), _end(record)), overflow="ellipsis", no_wrap=True)
        table.add_row(record["task"], record["recipe"], str(record["seed"]), state)
    return table


def _name(record: dict[str, Any]) -> str:
    return f"{record['task']} {record['recipe']} seed {record['seed']}"


def _end(record: dict[str, Any]) -> str:
    if record["state"] == "failed":
        return f"failed: {record['error']['found']}"
    return f"finished, {record['seconds']:.0f} s" if record["state"] == "finished" else record["state"]
