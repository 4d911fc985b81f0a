"""Where and how tensors are computed with: device, memory layout, and the precision of training."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fitwell.recipe.schema import Recipe


@dataclass(frozen=True)
class Compute:
    """Device, precision and memory format of one pass.

    Args:
        device: such as "cpu" or "cuda:0".
        precision: "float32" or "bfloat16", of products in training; weights stay float32. What judges or is computed
            once multiplies as its engine does.
        memory_format: "contiguous" or "channels_last".
    """

    device: str = "cpu"
    precision: str = "float32"
    memory_format: str = "contiguous"

    def move(self, batch: Tensor) -> Tensor:
        """Return `batch` on the device as float32; pictures and maps (B, C, H, W) in the memory format."""
        on_device = batch.to(self.device, non_blocking=True)  # before it widens: kept activations are float16
        if batch.ndim == 4:
            return on_device.to(torch.float32, memory_format=self._layout())
        return on_device.to(torch.float32)

    def move_module(self, module: nn.Module) -> None:
        """Put the weights of `module` on the device, in the memory format."""
        layout = self._layout()
        module.to(self.device)
        for parameter in module.parameters():
            if parameter.ndim == 4:
                parameter.data = parameter.data.contiguous(memory_format=layout)

    def _layout(self) -> torch.memory_format:
        return torch.channels_last if self.memory_format == "channels_last" else torch.contiguous_format

    def autocast(self) -> AbstractContextManager[object]:
        """Return the context in which products run in the precision."""
        if self.precision == "float32":
            return nullcontext()
        return torch.autocast(torch.device(self.device).type, dtype=torch.bfloat16)


def compute_of(recipe: Recipe) -> Compute:
    """Return the computation that a planned `recipe` names."""
    execution = recipe.execution
    return Compute(execution.device, execution.precision, execution.memory_format)
