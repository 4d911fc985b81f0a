"""The execution plan: device, memory format, precision and engine, measured on this machine and model, not assumed."""

from __future__ import annotations

import copy
import os
import platform
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property, partial
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fitwell.device import choose_device
from fitwell.model.compute import Compute
from fitwell.model.engine import available_engines, build_engine
from fitwell.model.fixed_norms import absorb_norms, without_norms
from fitwell.model.freeze import prepare_to_train, set_trainable
from fitwell.model.network import Network
from fitwell.model.own_statistics import adapt_statistics
from fitwell.model.weights import load_network
from fitwell.recipe.phase import Phase
from fitwell.recipe.resolve import most_epochs
from fitwell.recipe.schema import Recipe, Resolution
from fitwell.training.figures import Figure, KeptFigures, race
from fitwell.training.pictures import resident_bytes
from fitwell.training.trial_pictures import MOST, TrialPictures

TRAINING_IMAGES = 4  # of a probe
TRAINING_MAPS = MOST  # of a probe on kept activations: smaller maps, in batches that parallelise as a real one does
EXTRACTION_IMAGES = 8
RESIDENT_SHARE = 0.5  # of an accelerator's free memory
NEEDED_GAIN = 1.05  # a candidate within the noise of an earlier one is not worth leaving it
BUILD_SECONDS = {"compiled": 60.0, "onnxruntime": 2.0, "openvino": 2.0, "openvino_bfloat16": 2.0}
VERSIONED = ("fitwell", "torch", "timm", "onnxruntime", "openvino")


@dataclass(frozen=True)
class Extraction:
    """What a run computes once with frozen blocks.

    Attributes:
        boundary: how many leading blocks of the backbone; at least 1.
        views: pictures that are made of each training image.
        num_images: pictures that go through the blocks in all.
    """

    boundary: int
    views: int
    num_images: int


def plan_execution(
    network: Network,
    recipe: Recipe,
    pictures: TrialPictures,
    *,
    num_train: int = 0,
    extraction: Extraction | None = None,
    plans: Path | None = None,
) -> tuple[Recipe, list[dict[str, Any]]]:
    """Fill every `auto` left in `recipe.execution`; return the recipe and each candidate's figures.

    Args:
        pictures: what ways to compute are tried on, and must agree on.
        num_train: training images, which the memory of an accelerator may be able to hold.
        extraction: None when the run extracts nothing; else the engine for it is measured too.
        plans: file that keeps figures for later runs on this machine.

    Raises:
        UsageError: when the asked device is not there.
    """
    asked = recipe.execution
    device, reason = choose_device(asked.device)
    held = KeptFigures(plans, {**_machine(recipe, device), "pictures": pictures.fingerprint})
    planner = _Planner(network, recipe, pictures, held)
    planner.reasons["device"] = reason
    phase = _most_training(network, recipe)
    compute = planner.compute(asked.memory_format, asked.precision, device, phase, keeps=extraction is not None)
    set_trainable(network, "all")
    engine = planner.engine(compute, extraction) if asked.engine == "auto" else asked.engine
    planner.reasons["workers"] = "half of the cores that this process leaves; the result is the same for any number"
    used = {
        "device": device,
        "memory_format": compute.memory_format,
        "precision": compute.precision,
        "engine": engine,
        "pictures": planner.pictures(recipe, device, num_train) if asked.pictures == "auto" else asked.pictures,
        "workers": default_workers() if asked.workers == "auto" else asked.workers,
    }
    resolutions = tuple(
        Resolution(key=f"execution.{key}", asked="auto", used=value, reason=planner.reasons[key])
        for key, value in used.items()
        if getattr(asked, key) == "auto"
    )
    planned = recipe.model_copy(
        update={"execution": asked.model_copy(update=used), "resolved": recipe.resolved + resolutions}
    )
    return planned, planner.candidates


def explain_plan(
    recipe: Recipe, pictures: TrialPictures, *, num_classes: int, num_train: int, num_val: int, plans: Path | None
) -> tuple[Recipe, list[dict[str, Any]]]:
    """Plan a run that is not started, as `plan_execution` does it for one that is."""
    network = load_network(recipe, num_classes)
    extraction = find_extraction(network, recipe, num_train, num_val)
    return plan_execution(network, recipe, pictures, num_train=num_train, extraction=extraction, plans=plans)


def find_extraction(network: Network, recipe: Recipe, num_train: int, num_val: int) -> Extraction | None:
    """Return what the phases of `recipe` let a run compute once, or None; the network is left trainable as a whole."""
    size = int(recipe.images.size)
    boundaries = [_boundary(network, phase) for phase in recipe.phases if not phase.sees_smaller(size)]
    set_trainable(network, "all")
    boundary = min((found for found in boundaries if found > 0), default=0)
    if boundary == 0 or recipe.execution.cache == "none":
        return None
    views = min(int(recipe.augment.views), most_epochs(recipe))
    return Extraction(boundary, views, views * num_train + num_val)


def _most_training(network: Network, recipe: Recipe) -> Phase:
    """Return the phase that trains most of the network."""
    return min(recipe.phases, key=lambda phase: _boundary(network, phase))


def _boundary(network: Network, phase: Phase) -> int:
    """Return how many leading blocks `phase` leaves alone; the network is then ready to train it."""
    prepare_to_train(network, phase)
    return network.boundary()


@dataclass(frozen=True)
class Probe:
    """What a run repeats most: the step that is timed.

    Attributes:
        module: blocks, and the head as its last part; what trains in it requires a gradient.
        inputs: (B, ...) float32, pictures or activations.
    """

    module: nn.Sequential
    inputs: Tensor


def build_probe(network: Network, phase: Phase, image_size: int, pictures: TrialPictures, *, keeps: bool) -> Probe:
    """Return a step of `phase` on a copy of `network`: of what follows the kept activations, where `keeps`.

    Pictures go through all blocks where every block trains, where the phase sees smaller ones, and where only the head
    trains: then the blocks take the time, once.
    """
    twin = copy.deepcopy(network)
    boundary = _boundary(twin, phase)
    fixed = absorb_norms(twin, image_size) if phase.batch_norm == "fixed" else []
    is_kept = keeps and boundary < len(twin.backbone) and not phase.sees_smaller(image_size)
    start = boundary if is_kept else 0
    twin.eval()
    with torch.no_grad():
        inputs = twin.prefix(start)(pictures.load(TRAINING_MAPS if start else TRAINING_IMAGES))
    return Probe(without_norms(twin.tail(start), fixed), inputs)  # type: ignore[arg-type]


class _Planner:
    """Decides one setting after the other, each on top of those before it."""

    def __init__(self, network: Network, recipe: Recipe, pictures: TrialPictures, kept: KeptFigures) -> None:
        self.candidates: list[dict[str, Any]] = []
        self.reasons: dict[str, str] = {}
        self._network = network
        self._image_size = int(recipe.images.size)
        self._own_statistics = float(recipe.model.own_statistics)
        self._pictures = pictures
        self._kept = kept

    @cached_property
    def _adapted(self) -> Network:
        """The network as a run will train it; made when something is measured: kept figures need no copy."""
        twin = copy.deepcopy(self._network)
        if self._own_statistics:
            adapt_statistics(twin, self._pictures.load(TRAINING_MAPS), self._own_statistics)
        return twin

    def compute(self, memory_format: str, precision: str, device: str, phase: Phase, *, keeps: bool) -> Compute:
        """Return how to compute; what is `auto` is measured with a forward pass and a step of what `phase` trains.

        Args:
            keeps: whether the activations of frozen blocks are kept.
        """
        plain = Compute(device, _plain(precision, "float32"), _plain(memory_format, "contiguous"))
        probe = cache(lambda: build_probe(self._adapted, phase, self._image_size, self._pictures, keeps=keeps))
        trains = {name: getattr(phase, name) for name in ("batch_norm", "depthwise", "image_size")}
        question = {"boundary": _boundary(self._network, phase), "keeps": keeps, **trains}
        if memory_format == "auto":
            plain = self._faster(probe, question, plain, "memory_format", "channels_last")
        return self._faster(probe, question, plain, "precision", "bfloat16") if precision == "auto" else plain

    def engine(self, compute: Compute, extraction: Extraction | None) -> str:
        """Return what runs the frozen blocks; an engine whose building would not be repaid is not tried."""
        if extraction is None:
            self.reasons["engine"] = "the run computes nothing once for all epochs"
            return "eager"
        images = cache(partial(self._pictures.load, EXTRACTION_IMAGES))

        @cache
        def make_ready(name: str) -> Callable[[], Tensor]:
            prefix = self._adapted.prefix(extraction.boundary)
            compute.move_module(prefix)
            return partial(build_engine(name, prefix, compute, (3, self._image_size, self._image_size)), images())

        question = {
            "boundary": extraction.boundary,
            "memory_format": compute.memory_format,
            "precision": compute.precision,
        }
        (eager,), _ = self._kept.recall(
            {**question, "engine": ["eager"]}, lambda: race(["eager"], make_ready, rounds=1)
        )
        seconds = extraction.num_images / eager.images_per_second
        available = available_engines(compute.device)
        if compute.precision != "bfloat16":  # training found it slower or otherwise: not worth another race
            available = tuple(name for name in available if name != "eager_bfloat16")
        if "onnxruntime" in available:  # about as fast as compiled code (2 CPU cores: 101 and 115 images/s), at once
            available = tuple(name for name in available if name != "compiled")
        # Twice, because an engine that is twice as fast saves half of the time.
        worth = [name for name in available if seconds > 2 * BUILD_SECONDS.get(name, 0)]
        if worth == ["eager"]:
            self.reasons["engine"] = f"eager extracts all in about {seconds:.1f} s, too little to repay another engine"
            return "eager"
        return self._choose("engine", worth, make_ready, question)

    def pictures(self, recipe: Recipe, device: str, num_train: int) -> str:
        """Return where the pictures lie that whole networks train on."""
        if not device.startswith("cuda"):
            self.reasons["pictures"] = (
                f"loaded for every batch: the device is {device}, and only on a CUDA device are they held"
            )
            return "stream"
        if recipe.augment.policy != "none":
            self.reasons["pictures"] = f"augment.policy {recipe.augment.policy} varies one picture at a time"
            return "stream"
        needed, free = resident_bytes(recipe, num_train), torch.cuda.mem_get_info(device)[0]
        fits = needed <= RESIDENT_SHARE * free
        self.reasons["pictures"] = (
            f"all training pictures take about {needed / 1e9:.1f} GB of the {free / 1e9:.1f} GB that are free there, "
            f"{'within' if fits else 'beyond'} the {RESIDENT_SHARE:.0%} that they may have"
        )
        return "resident" if fits else "stream"

    def _faster(
        self, probe: Callable[[], Probe], question: Mapping[str, object], plain: Compute, setting: str, value: str
    ) -> Compute:
        ways = {getattr(way, setting): way for way in (plain, replace(plain, **{setting: value}))}

        def make_ready(value: str) -> Callable[[], Tensor]:
            ways[value].move_module(probe().module)
            return partial(_forward_and_train, probe(), ways[value])

        other = "precision" if setting == "memory_format" else "memory_format"
        question = {other: getattr(plain, other), **question}
        return ways[self._choose(setting, list(ways), make_ready, question)]

    def _choose(
        self,
        setting: str,
        values: Sequence[str],
        make_ready: Callable[[str], Callable[[], Tensor]],
        question: Mapping[str, object],
    ) -> str:
        figures, source = self._kept.recall({**question, setting: list(values)}, lambda: race(values, make_ready))
        chosen, reason = choose(figures)
        self.reasons[setting] = f"{source}: {reason}"
        self.candidates += [
            {"setting": setting, **figure.model_dump(), "chosen": figure.value == chosen} for figure in figures
        ]
        return chosen


def choose(figures: Sequence[Figure]) -> tuple[str, str]:
    """Return the fastest way that agrees with the first, but an earlier one that is as good as fast; and why."""
    usable = [figure for figure in figures if figure is figures[0] or not figure.objection()]
    chosen = usable[0]
    for figure in usable[1:]:
        if figure.images_per_second >= NEEDED_GAIN * chosen.images_per_second:
            chosen = figure
    runs = [figure for figure in figures if not figure.problem]
    told = [", ".join(f"{figure.value} {figure.images_per_second:.1f} images/s" for figure in runs)]
    if chosen is not max(usable, key=lambda figure: figure.images_per_second):
        told.append(f"{NEEDED_GAIN} times as fast is needed to leave {chosen.value}")
    told += [figure.objection() for figure in figures[1:] if figure.objection()]
    return chosen.value, "; ".join(told)


def default_workers() -> int:
    """Return how many processes load pictures; on 2 cores none: one made extraction slower, 82 against 100 images/s."""
    return ((os.cpu_count() or 1) - 1) // 2


def _plain(value: str, plain: str) -> str:
    return plain if value == "auto" else value


def _forward_and_train(probe: Probe, compute: Compute) -> Tensor:
    """Run one forward pass and one training step; return the features (B, D) float32 of the forward pass."""
    inputs = compute.move(probe.inputs)
    with torch.inference_mode(), compute.autocast():
        features: Tensor = probe.module[:-1](inputs).float().cpu()
    with compute.autocast():
        loss = F.cross_entropy(probe.module(inputs), torch.zeros(len(inputs), dtype=torch.int64, device=compute.device))
    parameters = [parameter for parameter in probe.module.parameters() if parameter.requires_grad]
    torch.autograd.grad(loss, parameters)
    if compute.device != "cpu":
        torch.cuda.synchronize() if compute.device.startswith("cuda") else torch.mps.synchronize()
    return features


def _machine(recipe: Recipe, device: str) -> dict[str, object]:
    """Return what figures depend on, besides what is measured."""
    return {
        "processor": _processor(),
        "device": torch.cuda.get_device_name(device) if device.startswith("cuda") else device,
        "threads": torch.get_num_threads(),
        "backbone": recipe.model.backbone,
        "weights": recipe.model.weights,
        "own_statistics": recipe.model.own_statistics,
        "image_size": recipe.images.size,
        "versions": {package: metadata.version(package) for package in VERSIONED if find_spec(package)},
    }


def _processor() -> str:
    """Return the processor's name; platform.processor() is empty on most Linux systems."""
    described = Path("/proc/cpuinfo")
    found = re.search(r"^model name\s*:\s*(.+)$", described.read_text(), re.MULTILINE) if described.exists() else None
    return found.group(1) if found else platform.processor() or platform.machine()
