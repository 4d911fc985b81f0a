"""BatchNorm that keeps the statistics of pretraining, without its cost: the convolution before it does its work.

With statistics that stay, `norm(convolution(x))` is one convolution with other weights and a bias. Training those
spares every pass over the activations that a BatchNorm makes, forward and backward.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fitwell.model.depthwise_at_rest import DepthwiseAtRest
from fitwell.model.freeze import is_depthwise
from fitwell.model.network import Network


@dataclass(frozen=True)
class NormedConvolution:
    """A convolution without bias and the BatchNorm that alone reads its output."""

    convolution: nn.Conv2d
    norm: nn.BatchNorm2d


def absorb_norms(network: Network, image_size: int) -> list[NormedConvolution]:
    """Move scale and statistics of the BatchNorms that train into the convolutions before them, in place.

    What remains of such a norm is its bias: scale 1, mean 0, variance 1 - eps. The network computes the same in
    evaluation, and absorbing again changes nothing. Convolutions outside the trained blocks stay as they are,
    because their activations may be kept.

    Returns: the pairs, for `without_norms`.
    """
    pairs = _find_pairs(network, image_size)
    with torch.no_grad():
        for pair in pairs:
            norm = pair.norm
            running_mean, running_var = _statistics(norm)
            scale = norm.weight / torch.sqrt(running_var + norm.eps)
            pair.convolution.weight.mul_(scale[:, None, None, None])
            norm.bias.sub_(running_mean * scale)
            norm.weight.fill_(1.0)
            running_mean.zero_()
            running_var.fill_(1.0 - norm.eps)
            norm.weight.requires_grad_(False)
    return pairs


def without_norms(module: nn.Module, pairs: Sequence[NormedConvolution]) -> nn.Module:
    """Return `module` with each absorbed norm left out; all parameters, and all parts without one, are shared.

    Args:
        pairs: as `absorb_norms` gave them; those outside `module` do not matter.
    """
    norms = {id(pair.norm): pair for pair in pairs}
    replaced: dict[int, object] = {id(pair.convolution): _with_bias(pair) for pair in pairs}
    replaced |= {key: _what_follows(pair.norm) for key, pair in norms.items()}
    untouched = (part for part in module.modules() if not any(id(each) in replaced for each in part.modules()))
    shared: dict[int, object] = {id(part): part for part in (*untouched, *module.parameters(), *module.buffers())}
    return copy.deepcopy(module, memo={**shared, **replaced})


def _with_bias(pair: NormedConvolution) -> nn.Module:
    convolution = copy.copy(pair.convolution)
    convolution._parameters = dict(pair.convolution._parameters, bias=pair.norm.bias)
    return convolution if convolution.weight.requires_grad else DepthwiseAtRest(convolution)


def _what_follows(norm: nn.BatchNorm2d) -> nn.Module:
    """Return the dropout and the activation that timm's norms carry with them."""
    followers = [getattr(norm, name) for name in ("drop", "act") if hasattr(norm, name)]
    return nn.Sequential(*(follower for follower in followers if not isinstance(follower, nn.Identity)))


def _find_pairs(network: Network, image_size: int) -> list[NormedConvolution]:
    """Find which norm reads which convolution by watching one picture pass through the blocks that train."""
    tail = network.tail(network.boundary())
    made_by: dict[int, nn.Conv2d] = {}
    kept: list[Tensor] = []  # an id is free again when its tensor is gone
    pairs: list[NormedConvolution] = []

    def after(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        if isinstance(module, nn.Conv2d):
            made_by[id(output)] = module
            kept.append(output)
        elif isinstance(module, nn.BatchNorm2d) and (maker := made_by.get(id(inputs[0]))) is not None:
            pairs.append(NormedConvolution(maker, module))

    watched = [layer for layer in tail.modules() if isinstance(layer, nn.Conv2d | nn.BatchNorm2d)]
    hooks = [layer.register_forward_hook(after) for layer in watched]
    network.eval()
    try:
        with torch.no_grad():
            network(torch.zeros((1, 3, image_size, image_size), device=next(network.parameters()).device))
    finally:
        for hook in hooks:
            hook.remove()
    return [pair for pair in pairs if _is_absorbable(pair.norm, pair.convolution)]


def _is_absorbable(norm: nn.BatchNorm2d, convolution: nn.Conv2d) -> bool:
    return (
        norm.affine
        and norm.running_mean is not None
        and convolution.bias is None
        and norm.bias.requires_grad
        and (convolution.weight.requires_grad or is_depthwise(convolution))
    )


def _statistics(norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    return norm.running_mean, norm.running_var  # type: ignore[return-value]
