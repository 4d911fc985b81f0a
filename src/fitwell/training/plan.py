"""The execution plan: device, memory format and precision, measured on this machine and model, not assumed."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from fitwell.device import choose_device
from fitwell.model.compute import Compute
from fitwell.model.network import Network
from fitwell.recipe.schema import Execution, Recipe, Resolution

PROBE_IMAGES = 4
PROBE_SECONDS = 6.0  # of one comparison; a slow network gets fewer rounds, not a longer wait
PROBE_ROUNDS = 5
NEEDED_GAIN = 1.05  # a candidate within the noise of the plain choice is not worth leaving it
NEEDED_AGREEMENT = 0.999  # cosine of the features with those in float32


@dataclass(frozen=True)
class Candidate:
    """One measured way to compute: images a second of a forward pass plus a training step."""

    compute: Compute
    images_per_second: float
    agreement: float

    def record(self) -> dict[str, Any]:
        """Return what run.json keeps of it."""
        return {
            "precision": self.compute.precision,
            "memory_format": self.compute.memory_format,
            "images_per_second": round(self.images_per_second, 2),
            "agreement": round(self.agreement, 6),
        }


def plan_execution(network: Network, recipe: Recipe) -> tuple[Recipe, list[dict[str, Any]]]:
    """Fill every `auto` left in `recipe.execution`; return the recipe and each candidate's figures.

    Raises:
        UsageError: when the asked device is not there.
    """
    asked = recipe.execution
    device, device_reason = choose_device(asked.device)
    compute = Compute(device, *(_plain(value, plain) for value, plain in _asked_computation(asked)))
    reasons = {"device": device_reason, "workers": "one for every two cores; the result is the same for any number"}
    images = torch.randn(PROBE_IMAGES, 3, int(recipe.images.size), int(recipe.images.size))
    measured: list[Candidate] = []
    for key, faster in (("memory_format", "channels_last"), ("precision", "bfloat16")):
        if getattr(asked, key) == "auto":
            pair = _compare(network, images, [compute, replace(compute, **{key: faster})])
            measured += pair
            compute, reasons[key] = _choose(pair, key)
    workers = (os.cpu_count() or 1) // 2 if asked.workers == "auto" else asked.workers
    used = {
        "device": device,
        "memory_format": compute.memory_format,
        "precision": compute.precision,
        "workers": workers,
    }
    resolutions = tuple(
        Resolution(key=f"execution.{key}", asked="auto", used=value, reason=reasons[key])
        for key, value in used.items()
        if getattr(asked, key) == "auto"
    )
    planned = recipe.model_copy(
        update={"execution": asked.model_copy(update=used), "resolved": recipe.resolved + resolutions}
    )
    return planned, [candidate.record() for candidate in measured]


def _asked_computation(asked: Execution) -> tuple[tuple[str, str], tuple[str, str]]:
    return (asked.precision, "float32"), (asked.memory_format, "contiguous")


def _plain(value: str, plain: str) -> str:
    return plain if value == "auto" else value


def _compare(network: Network, images: Tensor, computes: list[Compute]) -> list[Candidate]:
    """Time the candidates in turn, A B A B, and keep each one's fastest round."""
    seconds: dict[Compute, list[float]] = {compute: [] for compute in computes}
    features: dict[Compute, Tensor] = {}
    deadline = time.monotonic() + PROBE_SECONDS
    for round_number in range(PROBE_ROUNDS + 1):
        if round_number > 1 and time.monotonic() > deadline:
            break
        for compute in computes:
            compute.move_module(network)
            started = time.monotonic()
            features[compute] = _work(network, images, compute)
            if round_number > 0:  # the first round pays for allocation and kernel selection
                seconds[compute].append(time.monotonic() - started)
    reference = features[computes[0]]
    return [
        Candidate(compute, len(images) / min(seconds[compute]), _cosine(features[compute], reference))
        for compute in computes
    ]


def _work(network: Network, images: Tensor, compute: Compute) -> Tensor:
    """Run one forward pass and one training step; return the features (B, D) float32 of the forward pass."""
    inputs = compute.move(images)
    network.eval()
    with torch.inference_mode(), compute.autocast():
        features: Tensor = network.backbone(inputs).float().cpu()
    with compute.autocast():
        loss = F.cross_entropy(network(inputs), torch.zeros(len(images), dtype=torch.int64, device=compute.device))
    parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
    torch.autograd.grad(loss, parameters)
    if compute.device != "cpu":
        torch.cuda.synchronize() if compute.device.startswith("cuda") else torch.mps.synchronize()
    return features


def _cosine(features: Tensor, reference: Tensor) -> float:
    return float(F.cosine_similarity(features.flatten(), reference.flatten(), dim=0))


def _choose(pair: list[Candidate], key: str) -> tuple[Compute, str]:
    plain, faster = pair
    ratio = faster.images_per_second / plain.images_per_second
    figures = (
        f"{getattr(faster.compute, key)} {faster.images_per_second:.1f} images/s, "
        f"{getattr(plain.compute, key)} {plain.images_per_second:.1f}, ratio {ratio:.2f}"
    )
    if not faster.agreement >= NEEDED_AGREEMENT:
        return plain.compute, f"measured: {figures}; but its features agree only to cosine {faster.agreement:.4f}"
    if ratio < NEEDED_GAIN:
        return plain.compute, f"measured: {figures}; {NEEDED_GAIN} is needed to leave the plain choice"
    return faster.compute, f"measured: {figures}"
