"""A moving average of the weights: what is judged and kept, while the weights themselves go on training."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn


class WeightAverage:
    """The exponential moving average of what trains in a network, and of its floating buffers.

    Early steps count less, by the decay (1 + n) / (10 + n) while that is smaller, or the average would long remember
    the random head. Source: Polyak & Juditsky 1992; the warmup is that of TensorFlow's ExponentialMovingAverage.

    Args:
        decay: share of the average that stays at each step, in (0, 1).
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self._decay, self._num_steps = decay, 0
        trained = {name: parameter for name, parameter in network.named_parameters() if parameter.requires_grad}
        buffers = {name: buffer for name, buffer in network.named_buffers() if buffer.is_floating_point()}
        self._weights = {name: tensor.detach() for name, tensor in {**trained, **buffers}.items()}
        self._average = {name: tensor.clone() for name, tensor in self._weights.items()}

    @torch.no_grad()
    def update(self) -> None:
        """Take in the weights after one step."""
        self._num_steps += 1
        decay = min(self._decay, (1 + self._num_steps) / (10 + self._num_steps))
        torch._foreach_lerp_(list(self._average.values()), list(self._weights.values()), 1 - decay)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Put the average into the network while the context lasts."""
        trained = {name: tensor.clone() for name, tensor in self._weights.items()}
        _copy(self._average, self._weights)
        try:
            yield
        finally:
            _copy(trained, self._weights)

    def state(self) -> dict[str, Any]:
        """Return what a resume needs."""
        return {"num_steps": self._num_steps, "average": {name: value.cpu() for name, value in self._average.items()}}

    def load(self, state: dict[str, Any]) -> None:
        """Go on from `state`."""
        self._num_steps = state["num_steps"]
        _copy(state["average"], self._average)


@torch.no_grad()
def _copy(source: dict[str, Tensor], target: dict[str, Tensor]) -> None:
    for name, tensor in target.items():
        tensor.copy_(source[name])
