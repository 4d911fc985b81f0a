"""Names every file of a run: the contract between stages.

A run is one folder, readable without fitwell. Whoever writes it holds its lock; readers need none.
"""

from __future__ import annotations

import fcntl
import os
import platform
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from importlib import metadata
from pathlib import Path
from typing import Any

from fitwell.errors import RunError, RunLockedError, UsageError
from fitwell.files import read_json, write_json

VERSIONED_PACKAGES = ("fitwell", "torch", "torchvision", "timm", "numpy", "pillow", "scikit-learn")


@dataclass(frozen=True)
class RunFolder:
    """The paths of one run. `path` need not exist yet."""

    path: Path

    @cached_property
    def id(self) -> str:
        """The folder's name: `<yyyymmdd-hhmmss>-<slug>`."""
        return self.path.name

    @property
    def run_json(self) -> Path:
        return self.path / "run.json"

    @property
    def recipe(self) -> Path:
        return self.path / "recipe.yaml"

    @property
    def split(self) -> Path:
        return self.path / "split.csv"

    @property
    def history(self) -> Path:
        return self.path / "history.jsonl"

    @property
    def epochs_csv(self) -> Path:
        return self.path / "epochs.csv"

    @property
    def machine(self) -> Path:
        return self.path / "machine.jsonl"

    @property
    def findings(self) -> Path:
        return self.path / "findings.jsonl"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def best_weights(self) -> Path:
        return self.checkpoints / "best.safetensors"

    @property
    def latest_checkpoint(self) -> Path:
        return self.checkpoints / "latest.json"

    @property
    def augmentation(self) -> Path:
        """The sheet of augmented training pictures."""
        return self.path / "augmentation.jpg"

    @property
    def report_html(self) -> Path:
        return self.path / "report.html"

    @property
    def results_json(self) -> Path:
        return self.path / "results.json"

    @property
    def report_json(self) -> Path:
        return self.path / "report.json"

    @property
    def model_card(self) -> Path:
        return self.path / "model_card.md"

    @property
    def log(self) -> Path:
        return self.path / "run.log"

    def tensorboard(self, phase: str) -> Path:
        return self.path / "tensorboard" / phase

    def evaluation(self, split: str) -> Path:
        return self.path / "evaluation" / split

    def robustness(self, split: str) -> Path:
        return self.evaluation(split) / "robustness.json"

    def corrupted_picture(self, split: str, corruption: str, severity: int) -> Path:
        """What one of the judged images looks like under a corruption; "clean" is one, of severity 0."""
        return self.evaluation(split) / "corruptions" / f"{corruption}-{severity}.jpg"

    def evaluated(self, split: str) -> bool:
        """Return whether the run was judged on `split`."""
        return (self.evaluation(split) / "metrics.json").is_file()

    def read(self) -> dict[str, Any]:
        """Return run.json."""
        return read_json(self.run_json)

    def members(self) -> list[dict[str, Any]]:
        """Return the runs that answer together in this one, as run.json names them; none in a run that trained."""
        return list(self.read().get("members", ()))

    def member(self, path: str) -> RunFolder:
        """Return the run at `path`, seen from this one: a folder of runs can be moved as a whole."""
        return RunFolder((self.path / path).resolve())

    def update(self, **changes: object) -> dict[str, Any]:
        """Merge `changes` into run.json, refresh the heartbeat, and return the whole record."""
        record = {**(self.read() if self.run_json.exists() else {}), **changes, "heartbeat": now()}
        record.pop("schema_version", None)
        write_json(self.run_json, record)
        return record

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the run for writing.

        The lock sits on run.log, which is never replaced, and the system frees it when the process dies.

        Raises:
            RunLockedError: when another process holds it.
        """
        with only_writer(self.log):
            yield


@contextmanager
def only_writer(path: Path) -> Iterator[None]:
    """Hold the file at `path`, made when it is not there, as the only writer of its folder.

    Raises:
        RunLockedError: when another process holds it.
    """
    with path.open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RunLockedError(
                found=f"another process is writing {path.parent}.",
                expected="one writer per folder.",
                fix="wait for that process or stop it, then run the same command again.",
            ) from None
        yield


def create_run_folder(runs_dir: Path, name: str) -> RunFolder:
    """Make a new, empty run folder `<runs_dir>/<yyyymmdd-hhmmss>-<slug of name>`.

    Raises:
        UsageError: when `runs_dir` cannot be written.
    """
    slug = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:40] or "run"
    stem = f"{datetime.now():%Y%m%d-%H%M%S}-{slug}"
    try:
        runs_dir.mkdir(parents=True, exist_ok=True)
        path = _make_unused(runs_dir, stem)
        for child in ("checkpoints", "tensorboard", "evaluation"):
            (path / child).mkdir()
        for child in ("history.jsonl", "findings.jsonl", "run.log"):
            (path / child).touch()
    except OSError as error:
        raise UsageError(
            found=f"{runs_dir} cannot be written: {error.strerror}.",
            expected="a folder in which runs can be kept.",
            fix="give another one with --runs-dir.",
        ) from error
    return RunFolder(path)


def open_run_folder(path: Path) -> RunFolder:
    """Return the run in `path`.

    Raises:
        RunError: when `path` holds no run.json.
    """
    run = RunFolder(path.resolve())
    if not run.run_json.is_file():
        raise RunError(
            found=f"{path} holds no run.json.",
            expected="a run folder, as `fitwell train` prints it.",
            fix="give the path of a run, for example the newest folder under runs/.",
        )
    return run


def describe_environment() -> dict[str, Any]:
    """Return the versions, the git commit of the working folder, the machine and the command."""
    versions = {"python": platform.python_version()}
    for package in VERSIONED_PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return {
        "versions": versions,
        "git": _git_commit(),
        "machine": {"system": platform.platform(), "processor": platform.machine(), "cores": os.cpu_count()},
        "command": sys.argv,
    }


def now() -> str:
    """Return this moment in UTC, as ISO 8601 to the second."""
    return datetime.fromtimestamp(time.time(), UTC).isoformat(timespec="seconds")


def _make_unused(runs_dir: Path, stem: str) -> Path:
    for attempt in range(1, 1000):
        path = runs_dir / (stem if attempt == 1 else f"{stem}-{attempt}")
        try:
            path.mkdir()
        except FileExistsError:
            continue
        return path
    raise FileExistsError(17, "a thousand runs of the same second and name", str(runs_dir / stem))


def _git_commit() -> dict[str, Any] | None:
    """Return commit and dirtiness of the working folder's repository, or None outside one."""
    try:
        commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True, timeout=5)
        status = subprocess.run(["git", "status", "--porcelain"], capture_output=True, text=True, check=True, timeout=5)
    except (OSError, subprocess.SubprocessError):
        return None
    return {"commit": commit.stdout.strip(), "dirty": bool(status.stdout.strip())}
