"""What the machine does while a run trains: processor, memory and GPU, in machine.jsonl and in TensorBoard.

A thread looks every few seconds. It warns, once for each, when memory or heat comes near its limit.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psutil
import torch
from torch.utils.tensorboard import SummaryWriter

from fitwell.files import appending
from fitwell.run_folder import RunFolder, now
from fitwell.training.observer import EpochDone, Event, Observer, StepDone

SECONDS_BETWEEN_LOOKS = 5.0
NEAR = 0.9  # share of a limit
HOT_CELSIUS = 85.0  # NVIDIA's data-centre GPUs slow themselves down between 87 and 95
Figures = dict[str, float]

log = logging.getLogger(__name__)


@contextmanager
def watching_machine(run: RunFolder, device: str, *, seconds: float = SECONDS_BETWEEN_LOOKS) -> Iterator[Observer]:
    """Yield an observer beside which a thread watches the machine until the block ends.

    Args:
        device: that trains; a GPU is watched too.
        seconds: between looks.
    """
    process = psutil.Process()
    limit = run.read()["memory"]["limit_bytes"]
    with appending(run.machine) as append, SummaryWriter(str(run.tensorboard("_machine"))) as board:
        watch = _Watch(lambda: look(process, device), limit, append, board)
        ended = threading.Event()

        def keep_looking() -> None:
            while not ended.wait(seconds):
                watch.take()

        thread = threading.Thread(target=keep_looking, name="watching-machine", daemon=True)
        thread.start()
        try:
            yield watch
        finally:
            ended.set()
            thread.join()
            watch.take()  # so that a short run has one look as well


def look(process: psutil.Process, device: str) -> Figures:
    """Return what the machine does now.

    Returns:
        processor_percent: of all cores, since the last look; process_memory_bytes: of the process and its workers;
        free_memory_bytes; processor_celsius where the system tells it; and of a CUDA device gpu_percent,
        gpu_memory_bytes, gpu_memory_limit_bytes and gpu_celsius.
    """
    held = process.memory_info().rss
    for child in process.children(recursive=True):
        try:
            held += child.memory_info().rss
        except psutil.NoSuchProcess:
            continue
    figures: Figures = {
        "processor_percent": psutil.cpu_percent(),
        "process_memory_bytes": held,
        "free_memory_bytes": psutil.virtual_memory().available,
    }
    if heat := [each.current for sensors in _temperatures().values() for each in sensors]:
        figures["processor_celsius"] = max(heat)
    return figures | (_look_at_gpu(device) if device.startswith("cuda") else {})


def _temperatures() -> dict[str, Any]:
    """Return the sensors that the system offers; only Linux and FreeBSD do."""
    read: Callable[[], dict[str, Any]] = getattr(psutil, "sensors_temperatures", dict)
    return read()


def _look_at_gpu(device: str) -> Figures:
    free, total = torch.cuda.mem_get_info(device)
    return {
        "gpu_percent": torch.cuda.utilization(device),
        "gpu_memory_bytes": total - free,
        "gpu_memory_limit_bytes": total,
        "gpu_celsius": torch.cuda.temperature(device),
    }


def find_dangers(figures: Figures, limit_bytes: int) -> dict[str, str]:
    """Return what is near its limit, by kind, in a sentence."""
    dangers = {}
    if figures["process_memory_bytes"] > NEAR * limit_bytes:
        held = f"{figures['process_memory_bytes'] / 1e9:.1f} of at most {limit_bytes / 1e9:.1f} GB"
        dangers["memory"] = f"the run holds {held}; lower execution.batch_size or execution.workers."
    if figures.get("gpu_memory_bytes", 0) > NEAR * figures.get("gpu_memory_limit_bytes", 1):
        held = f"{figures['gpu_memory_bytes'] / 1e9:.1f} of {figures['gpu_memory_limit_bytes'] / 1e9:.1f} GB"
        dangers["gpu_memory"] = f"the GPU holds {held}; lower execution.batch_size, or set execution.micro_batch."
    for place in ("processor", "gpu"):
        if figures.get(f"{place}_celsius", 0) > HOT_CELSIUS:
            dangers[f"{place}_heat"] = f"the {place} has {figures[f'{place}_celsius']:.0f} °C and may slow itself down."
    return dangers


class _Watch:
    """Takes looks and writes each with the step that was the last."""

    def __init__(
        self,
        look_now: Callable[[], Figures],
        limit_bytes: int,
        append: Callable[[dict[str, Any]], None],
        board: SummaryWriter,
    ) -> None:
        self._look, self._limit, self._append, self._board = look_now, limit_bytes, append, board
        self._step, self._warned = 0, set[str]()

    def __call__(self, event: Event) -> None:
        if isinstance(event, StepDone):
            self._step = event.step
        elif isinstance(event, EpochDone):
            self._step = event.record["step"]
            self._board.add_scalar("images_per_second", event.record["images_per_second"], self._step)
            self._board.add_scalar("seconds_of_epoch", sum(event.record["seconds"].values()), self._step)

    def take(self) -> None:
        """Look once and write it down."""
        try:
            figures = self._look()
        except Exception as error:
            self._warn("watch", f"the machine cannot be watched: {error!r}")
            return
        self._append({"time": now(), "step": self._step, **figures})
        for name, value in figures.items():
            self._board.add_scalar(name, value, self._step)
        for kind, danger in find_dangers(figures, self._limit).items():
            self._warn(kind, danger)

    def _warn(self, kind: str, sentence: str) -> None:
        if kind not in self._warned:
            self._warned.add(kind)
            log.warning(sentence)
