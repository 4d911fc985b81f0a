"""Grad-CAM: where in a picture a network finds what speaks for a class. Nobody has to choose a layer.

Source: Selvaraju et al. 2017, arXiv:1610.02391, section 3.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from fitwell.model.network import Network

Arrange = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Pass:
    """What a network made of B pictures.

    Attributes:
        features: the last that still knows places; the logits were computed from it.
        arrange: makes maps (B, K, h, w) of `features`, or of their gradient.
        logits: (B, C).
    """

    features: Tensor
    arrange: Arrange
    logits: Tensor


def grad_cam(network: Network, images: Tensor, classes: Tensor) -> tuple[Tensor, Tensor] | None:
    """Return heat maps (B, T, h, w) of T classes a picture, and the logits (B, C) of the same pass, on the CPU.

    A map is from 0, where nothing speaks for the class, upwards; its scale differs from picture to picture. It may be 0
    everywhere. None where the backbone has no map that is known.

    Args:
        network: its parameters need not train. images: (B, 3, S, S). classes: (B, T) numbers of classes.
    """
    network.eval()
    device = next(network.parameters()).device
    seen = _run(network, images.to(device))
    if seen is None:
        return None
    maps = []
    for numbers in classes.to(device).unbind(dim=1):
        scores = seen.logits.gather(1, numbers[:, None]).sum()  # no picture touches the logits of another
        (gradient,) = torch.autograd.grad(scores, seen.features, retain_graph=True)
        maps.append(weigh_maps(seen.arrange(seen.features), seen.arrange(gradient)))
    return torch.stack(maps, dim=1).detach().cpu(), seen.logits.detach().cpu()


def weigh_maps(maps: Tensor, gradients: Tensor) -> Tensor:
    """Return (B, h, w) what is positive in the sum of `maps` (B, K, h, w), each times the mean of its gradient.

    Source: Selvaraju et al. 2017, equations 1 and 2.
    """
    weights = gradients.mean(dim=(2, 3), keepdim=True)  # (B, K, 1, 1)
    return (weights * maps).sum(dim=1).relu()


def _run(network: Network, images: Tensor) -> Pass | None:
    """Return what `network` makes of the pictures; None without a map.

    The features begin the graph anew, so that nothing is kept of what computes them.
    """
    body: Any = network.backbone[0]
    if len(network.backbone) > 1:
        return _run_chain(network, images)
    if hasattr(body, "num_prefix_tokens"):
        return _run_transformer(network, body, images)
    with torch.no_grad():
        features = body.forward_features(images)  # timm: what is not pooled yet
    arrange = _rows_first if getattr(body, "output_fmt", "NCHW") == "NHWC" else _as_they_are
    if not _is_map(arrange(features)):
        return None
    features.requires_grad_()
    return Pass(features, arrange, network.head(body.forward_head(features)))


def _run_chain(network: Network, images: Tensor) -> Pass | None:
    """Return the pass with the last block's map that has more than one cell."""
    values, features, after = images, None, 0
    with torch.no_grad():
        for number, block in enumerate(network.backbone, start=1):
            values = block(values)
            if _is_map(values):
                features, after = values, number
    if features is None:
        return None
    features.requires_grad_()
    return Pass(features, _as_they_are, network.tail(after)(features))


def _run_transformer(network: Network, body: Any, images: Tensor) -> Pass | None:  # noqa: ANN401
    """Return the pass with the tokens of patches that enter the last block.

    What leaves it would not do: where the class token alone goes on, no other token has a gradient there.
    """
    grid = getattr(getattr(body, "patch_embed", None), "grid_size", None)
    if grid is None:
        return None
    entering: list[Tensor] = []

    def begin_anew(block: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        entering.append(inputs[0].detach().requires_grad_())
        return (entering[0], *inputs[1:])

    hook = body.blocks[-1].register_forward_pre_hook(begin_anew)
    try:
        logits = network(images)
    finally:
        hook.remove()
    tokens = entering[0].shape[1] - body.num_prefix_tokens  # of entering (B, tokens, K)
    if tokens != math.prod(grid):
        return None
    return Pass(entering[0], lambda values: values[:, -tokens:].mT.reshape(len(values), -1, *grid), logits)


def _is_map(values: Tensor) -> bool:
    """Return whether `values` are maps (B, K, h, w) over a square picture, of more than one cell."""
    return values.ndim == 4 and values.shape[2] == values.shape[3] > 1


def _as_they_are(values: Tensor) -> Tensor:
    return values


def _rows_first(values: Tensor) -> Tensor:
    """Return (B, K, h, w) of (B, h, w, K), as Swin and its like give them."""
    return values.permute(0, 3, 1, 2)
