"""Train every entry of a suite, one after the other, whatever fails; and take up where the last attempt stopped.

suite.json holds what became of each entry. It is written after every change, so that a killed suite knows its runs.
"""

from __future__ import annotations

import hashlib
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from fitwell import classifier
from fitwell.errors import FitwellError, RunStopped
from fitwell.experiments.suite import Entry, Suite, Task, plan_entries, read_suite
from fitwell.experiments.suite_summary import describe_summary, summarise
from fitwell.files import read_json, write_json, write_text
from fitwell.run_folder import RunFolder, now, only_writer

if TYPE_CHECKING:
    from fitwell.data.check.inspection import Look
    from fitwell.data.index import Dataset
    from fitwell.recipe.schema import Recipe
    from fitwell.training.observer import Observer

Record = dict[str, Any]  # of an entry: task, recipe, seed, state; once begun run, earlier runs, definition, seconds


class Watcher(Protocol):
    """Whoever shows how a suite goes on."""

    def planned(self, records: Sequence[Record]) -> None:
        """All entries are known; some may be finished."""

    def begun(self, record: Record) -> Observer:
        """An entry begins; return what is to follow its training."""

    def ended(self, record: Record) -> None:
        """An entry is over."""


def run_suite(path: Path, runs_dir: Path, watcher: Watcher) -> dict[str, Any]:
    """Train what is not trained yet, choose a recipe for each task by val, and open the test images of its best run.

    Args:
        path: of the suite. runs_dir: its runs go to <runs_dir>/<name of the suite>/.

    Returns: what `suite_summary.summarise` describes.

    Raises:
        RecipeError: when the suite or one of its recipes does not validate; nothing is trained then.
        RunStopped: on SIGTERM or Ctrl-C; the same command goes on later.
    """
    suite = read_suite(path)
    entries = plan_entries(suite, path.parent)
    home = runs_dir / path.stem
    home.mkdir(parents=True, exist_ok=True)
    with only_writer(home / "suite.log"):
        ledger = _Ledger(home, entries)
        recipes = {entry.task: entry.recipe for entry in entries}
        images = {name: _TaskImages(task, path.parent, recipes[name]) for name, task in suite.tasks.items()}
        for entry in entries:  # a path that does not exist is told before hours of training, not after
            with ledger.surviving(entry):
                images[entry.task].dataset  # noqa: B018 - reads the table
        watcher.planned(ledger.records)
        for entry in entries:
            if ledger.of(entry)["state"] != "failed":
                with ledger.surviving(entry):
                    _train(entry, images[entry.task], ledger, watcher)
            watcher.ended(ledger.of(entry))
        return _conclude(suite, ledger)


def _train(entry: Entry, images: _TaskImages, ledger: _Ledger, watcher: Watcher) -> None:
    record, definition = ledger.of(entry), images.definition(entry)
    run = RunFolder(ledger.home / record["run"]) if record.get("definition") == definition else None
    if run is None or not run.run_json.exists():
        prepared = classifier.prepare(images.dataset, entry.recipe, images.task.on_data_error, look=images.look)
        run = classifier.start(prepared, ledger.home, f"{entry.task}-{entry.variant}-{entry.seed}")
        earlier = [*record.get("earlier", []), *([record["run"]] if "run" in record else [])]
        record.update(run=run.id, definition=definition, seconds=0.0, earlier=earlier)
    elif run.read()["state"] == "finished" and run.evaluated("val"):
        record["state"] = "finished"
        return
    record["state"] = "running"
    ledger.write()
    begin = time.perf_counter()
    try:
        classifier.train(run, splits=("val",), observer=watcher.begun(record))
    finally:
        record["seconds"] = round(record["seconds"] + time.perf_counter() - begin, 1)
    record["state"] = "finished"


def _conclude(suite: Suite, ledger: _Ledger) -> dict[str, Any]:
    """Return the summary after the test images of each chosen run, and of no other, were opened."""
    summary = summarise(suite, ledger.records, ledger.home)
    for name, task in summary["tasks"].items():
        if task["chosen"]:
            run = RunFolder(ledger.home / task["chosen"]["run"])
            task["chosen"]["test"] = classifier.train(run, splits=("test",))["metrics"][summary["metric"]]
            task["chosen"]["opened"] = ledger.count_openings(name)
    ledger.write(summary)
    write_text(ledger.home / "summary.md", describe_summary(summary))
    return summary


class _Ledger:
    """What became of each entry: the records of suite.json, in the order of the suite."""

    def __init__(self, home: Path, entries: Sequence[Entry]) -> None:
        self.home = home
        self._path = home / "suite.json"
        known = {}
        if self._path.exists():
            known = {(each["task"], each["recipe"], each["seed"]): each for each in read_json(self._path)["entries"]}
        self._records: dict[str, Record] = {}
        for entry in entries:
            task, recipe, seed = entry.task, entry.variant, entry.seed
            new = {"task": task, "recipe": recipe, "seed": seed}
            record = {**known.pop((task, recipe, seed), new), "state": "waiting"}
            record.pop("error", None)
            self._records[entry.key] = record
        self._dropped = list(known.values())  # of entries that the suite no longer has: their runs are still there

    @property
    def records(self) -> list[Record]:
        return list(self._records.values())

    def of(self, entry: Entry) -> Record:
        return self._records[entry.key]

    def count_openings(self, task: str) -> int:
        """Return how many runs of `task`, those that the suite no longer has among them, have seen its test images."""
        begun = [each for each in [*self.records, *self._dropped] if each["task"] == task and "run" in each]
        runs = [run for each in begun for run in (each["run"], *each["earlier"])]
        return sum(RunFolder(self.home / run).evaluated("test") for run in runs)

    def write(self, summary: dict[str, Any] | None = None) -> None:
        write_json(self._path, {"written": now(), "entries": [*self.records, *self._dropped], "summary": summary})

    @contextmanager
    def surviving(self, entry: Entry) -> Iterator[None]:
        """Write down how the entry ends; an error is its end, not that of the suite."""
        record = self._records[entry.key]
        try:
            yield
        except (RunStopped, KeyboardInterrupt) as stopped:
            record["state"] = "interrupted"
            if isinstance(stopped, RunStopped):
                stopped.fix = "go on with the same command."
            raise
        except FitwellError as error:
            record.update(state="failed", error={"found": error.found, "expected": error.expected, "fix": error.fix})
        except Exception as error:
            trace = traceback.format_exc()
            with (self.home / "suite.log").open("a", encoding="utf-8") as log:
                log.write(f"{now()} {entry.task} {entry.variant} {entry.seed}\n{trace}\n")
            fix = f"report it with the lines at the end of {self.home / 'suite.log'}."
            record.update(state="failed", error={"found": repr(error), "expected": "no bug in fitwell.", "fix": fix})
        finally:
            self.write()


@dataclass
class _TaskImages:
    """The images of a task, read and opened once for all recipes and seeds."""

    task: Task
    folder: Path
    recipe: Recipe  # any of the task: all have one target

    @cached_property
    def dataset(self) -> Dataset:
        root = self.folder / self.task.image_root if self.task.image_root else None
        return classifier.read_dataset(self.folder / self.task.data, root, self.task.group_by, recipe=self.recipe)

    @cached_property
    def look(self) -> Look:
        from fitwell.data.check.inspection import look_at

        return look_at(self.dataset)

    def definition(self, entry: Entry) -> str:
        """Return a hash of the recipe, and of which images there are, with which labels."""
        table = self.dataset.images.to_csv(index=False).encode("utf-8", "surrogateescape")
        return hashlib.sha256(table + entry.definition(self.task, self.folder).encode()).hexdigest()
