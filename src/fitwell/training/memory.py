"""How much memory a run will take at its peak, said before it trains, and kept below `limits.memory`.

Only what the network makes of all images at once grows with the data: the rest is known from one picture and one batch.
Counted is the memory of the machine, not that of a GPU.
"""

from __future__ import annotations

import os
import resource
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fitwell.device import choose_device
from fitwell.errors import ResourceError
from fitwell.model.activations import EXTRACTION_BATCH
from fitwell.model.freeze import prepare_to_train, set_trainable
from fitwell.model.head import output_layer
from fitwell.model.network import Network, count_parameters
from fitwell.recipe.phase import Phase
from fitwell.recipe.schema import Recipe
from fitwell.training.head_search import default_settings
from fitwell.training.pictures import resident_bytes
from fitwell.training.plan import TRAINING_IMAGES, default_workers, find_extraction

FREE_SHARE = 0.8  # of what the machine has free, for `auto`
FLOAT, DOUBLE = 4, 8  # bytes
LIBRARY_BYTES = 700_000_000  # imported later, and kept by allocators: set to cover the 0.64 GB left over in one run
WORKER_BYTES = 100_000_000  # that a loading process does not share with its parent
RESAMPLING_BYTES = 100_000_000  # of the bootstrap, see CHUNK_CELLS in evaluation/intervals.py
INDEX_BYTES = 300  # of each kept array
LIVE_OUTPUTS = 3  # of the largest layer, while nothing is kept for a backward pass
WEIGHT_COPIES = 6  # the network, the best so far, a checkpoint; and three while an engine is built
AVERAGE_COPIES = 2  # of what trains: the average, and the weights themselves while val judges it
SEARCH_COPIES = 5  # of the features: as read, gathered, standardised; and two more while the paths are solved
CURES = {
    "features": "give the phase a learning_rate instead of search",
    "batch": "lower execution.batch_size or images.size",
    "workers": "lower execution.workers",
    "pictures": "set execution.pictures to stream",
}


@dataclass(frozen=True)
class MemoryPlan:
    """What a run may take, and what it will.

    Attributes:
        limit_bytes, limit_reason: the most it may take, and why.
        parts: bytes by what they are for, in the moment that takes most.
        holds_features: whether what lies between kept activations and a phase's own boundary is computed once and
            held, or once an epoch.
    """

    limit_bytes: int
    limit_reason: str
    parts: dict[str, int]
    holds_features: bool

    @property
    def expected_bytes(self) -> int:
        """The expected peak of the process and those it starts."""
        return sum(self.parts.values())

    def record(self) -> dict[str, Any]:
        """Return what run.json keeps of it."""
        return {**self.__dict__, "expected_bytes": self.expected_bytes}

    def sentence(self) -> str:
        """Return the peak and the limit in words."""
        parts = ", ".join(f"{name} {_in_words(size)}" for name, size in self.parts.items() if size)
        return f"{_in_words(self.expected_bytes)} at its peak ({parts}) of {_in_words(self.limit_bytes)}"


def plan_memory(network: Network, recipe: Recipe, *, num_train: int, num_val: int) -> MemoryPlan:
    """Return what a run of the resolved `recipe` takes, holding features only where they fit.

    Args:
        network: as the run begins; only its shapes count.

    Raises:
        ResourceError: when the limit is too low for any way to train.
    """
    limit, reason = find_limit(recipe)
    need = _Need(network, recipe, num_train, num_val)
    for holds_features in (True, False):
        phases = [need.of_phase(phase, holds_features) for phase in recipe.phases]
        plan = MemoryPlan(limit, reason, max(phases, key=lambda parts: sum(parts.values())), holds_features)
        if plan.expected_bytes <= limit:
            return plan
    largest = max(CURES, key=lambda name: plan.parts[name])
    raise ResourceError(
        found=f"training would take {plan.sentence()}.",
        expected=f"room for all of it: {reason}.",
        fix=f"{CURES[largest]}, or raise limits.memory.",
    )


def find_limit(recipe: Recipe) -> tuple[int, str]:
    """Return the most bytes that the process may hold, and why; by default a share of what is free besides its own."""
    if recipe.limits.memory != "auto":
        return int(recipe.limits.memory), "limits.memory was given"
    held, free = held_bytes(), free_bytes()
    reason = f"{_in_words(held)} that the process holds and {FREE_SHARE:.0%} of {_in_words(free)} that are free"
    return held + int(FREE_SHARE * free), reason


def held_bytes(status: Path = Path("/proc/self/statm")) -> int:
    """Return what this process holds now, or where the system does not tell, the most that it ever held."""
    if status.exists():
        return int(status.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def free_bytes(proc: Path = Path("/proc"), cgroups: Path = Path("/sys/fs/cgroup")) -> int:
    """Return the bytes that the machine and every control group around this process have free.

    Source: man 5 proc (MemAvailable), man 7 cgroups; kernel documentation, cgroup-v2 and cgroup-v1/memory.
    """
    if not (proc / "meminfo").exists():
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    lines = (line.split() for line in (proc / "meminfo").read_text().splitlines())
    free = [next(int(words[1]) * 1024 for words in lines if words[0] == "MemAvailable:")]
    for line in (proc / "self" / "cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers in ("", "memory"):
            root = cgroups / controllers
            group = root / path.strip("/")
            free += [_free_in(folder) for folder in (group, *group.parents) if folder.is_relative_to(root)]
    return max(0, min(free))


def _free_in(group: Path) -> int:
    """Return the bytes below the limit of one control group of either version; cached files count as free."""
    for limit, used, cached in (
        ("memory.max", "memory.current", "inactive_file"),
        ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    ):
        if (group / limit).exists() and (text := (group / limit).read_text().strip()) != "max":
            counts = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
            return int(text) - int((group / used).read_text()) + int(counts[cached])
    return sys.maxsize


class _Need:
    """Bytes by what they are for, from the sizes of one picture's outputs."""

    def __init__(self, network: Network, recipe: Recipe, num_train: int, num_val: int) -> None:
        self.network, self.recipe, self.num_train, self.num_val = network, recipe, num_train, num_val
        self.extraction = find_extraction(network, recipe, num_train, num_val)
        self.outputs, self.widths = _output_sizes(network, int(recipe.images.size))
        self.largest = max(max(sizes, default=0) for sizes in self.outputs)
        self.num_classes = output_layer(network.head).out_features
        self.on_cpu = choose_device(recipe.execution.device)[0] == "cpu"

    def of_phase(self, phase: Phase, holds_features: bool) -> dict[str, int]:
        """Return the parts while `phase` trains, or what it trained is judged."""
        prepare_to_train(self.network, phase)
        boundary, (total, trained) = self.network.boundary(), count_parameters(self.network)
        set_trainable(self.network, "all")
        batch, averages = int(self.recipe.execution.batch_size), self.recipe.averaging.ema > 0
        predictions = RESAMPLING_BYTES + 4 * DOUBLE * self.num_classes * max(self.num_train, self.num_val)
        outputs = sum(sum(sizes) for sizes in self.outputs[boundary:])
        passes = (
            batch * outputs + EXTRACTION_BATCH * LIVE_OUTPUTS * self.largest,
            TRAINING_IMAGES * sum(sum(sizes) for sizes in self.outputs),  # while the plan is measured
        )
        workers = self.recipe.execution.workers
        count = default_workers() if workers == "auto" else workers
        picture = FLOAT * 3 * int(self.recipe.images.size) ** 2
        loaded = 2 * picture * max(EXTRACTION_BATCH, batch)  # two batches ahead
        return {
            "process": held_bytes() + LIBRARY_BYTES,
            "weights": FLOAT * (WEIGHT_COPIES * total + (3 + AVERAGE_COPIES * averages) * trained),
            "batch": FLOAT * max(passes) if self.on_cpu else 0,
            "features": max(self._features(phase, boundary, holds_features), predictions),
            "pictures": self._pictures(),
            "workers": count * (WORKER_BYTES + loaded) + loaded,
        }

    def _features(self, phase: Phase, boundary: int, holds_features: bool) -> int:
        """Return the bytes of what grows with the data."""
        kept = INDEX_BYTES * self.extraction.num_images if self.extraction else 0
        if phase.learning_rate == "search":
            return kept + self._search()
        if self.extraction is None or boundary == self.extraction.boundary or not holds_features:
            return kept
        return kept + FLOAT * self.widths[boundary - 1] * self.extraction.num_images

    def _pictures(self) -> int:
        """Return the bytes of training pictures that a run holds in this machine's own memory."""
        holds = self.on_cpu and self.recipe.execution.pictures == "resident"
        return resident_bytes(self.recipe, self.num_train) if holds else 0

    def _search(self) -> int:
        heads, classes = len(default_settings()), self.num_classes
        features = SEARCH_COPIES * FLOAT * self.widths[-1] * (self.num_train + self.num_val)
        logits = 4 * DOUBLE * classes * (self.num_train + heads * self.num_val)
        return features + logits + 6 * FLOAT * heads * classes * self.widths[-1]  # AdamW, the gradient, the best


def _output_sizes(network: Network, size: int) -> tuple[list[list[int]], list[int]]:
    """Return for each block the numbers that its layers make of one picture, and how many leave the block."""
    outputs: list[list[int]] = []
    widths: list[int] = []
    hooks = [
        layer.register_forward_hook(lambda _layer, _inputs, output: outputs[-1].append(int(output.numel())))
        for layer in network.backbone.modules()
        if not list(layer.children()) and not isinstance(layer, nn.Identity)
    ]
    network.eval()
    with torch.inference_mode():
        values: Tensor = torch.zeros((1, 3, size, size), device=next(network.parameters()).device)
        for block in network.backbone:
            outputs.append([])
            values = block(values)
            widths.append(int(values.numel()))
    for hook in hooks:
        hook.remove()
    return outputs, widths


def _in_words(num_bytes: int) -> str:
    return f"{num_bytes / 1e9:.2f} GB"
