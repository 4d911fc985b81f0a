"""Parameter groups, the optimizer, and what of it outlives a phase."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from timm.optim.lion import Lion
from timm.optim.muon import Muon
from torch import Tensor, nn

from fitwell.model.freeze import parameters_by_stage
from fitwell.model.network import Network
from fitwell.recipe.schema import Optimizer

SMALL = 1e-6  # beside a norm of gradients; keeps the quotient finite


class FusedAdamW(torch.optim.AdamW):
    """torch's AdamW on one device: the same numbers with less around the kernel, which weighs where tensors are small.

    The kernel reads weights, gradients and moments in the order of memory, so their layout must not change while the
    optimizer lives.
    """

    def __init__(self, groups: list[dict[str, Any]]) -> None:
        super().__init__(groups, lr=0.0, fused=True)  # the loop sets the rate of every step

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Move every weight that has a gradient, as Loshchilov & Hutter 2019, arXiv:1711.05101, algorithm 2."""
        for group in self.param_groups:
            moved = [parameter for parameter in group["params"] if parameter.grad is not None]
            if not moved:
                continue
            states = [self.state[parameter] or self._begin(parameter) for parameter in moved]
            steps = [state["step"] for state in states]
            torch._foreach_add_(steps, 1)
            torch._fused_adamw_(
                moved,
                [parameter.grad for parameter in moved],
                [state["exp_avg"] for state in states],
                [state["exp_avg_sq"] for state in states],
                [],
                steps,
                lr=group["lr"],
                beta1=group["betas"][0],
                beta2=group["betas"][1],
                weight_decay=group["weight_decay"],
                eps=group["eps"],
                amsgrad=False,
                maximize=False,
            )

    def _begin(self, parameter: nn.Parameter) -> dict[str, Tensor]:
        step, moments = torch.zeros((), device=parameter.device), ("exp_avg", "exp_avg_sq")
        state = {"step": step, **{name: torch.zeros_like(parameter) for name in moments}}
        self.state[parameter] = state
        return state


def build_optimizer(network: Network, settings: Optimizer) -> torch.optim.Optimizer:
    """Return the optimizer over what trains in `network`.

    Its groups are the head and, where stages learn at rates of their own, each stage of the backbone, else all of it:
    each with and without weight decay, because biases and norm scales, which have fewer than two dimensions, are not
    decayed. A group's `factor` is the share of the learning rate that it takes.
    """
    groups = []
    for part, factor, parameters in _parts(network, settings.layer_decay):
        trainable = [parameter for parameter in parameters if parameter.requires_grad]
        for decay in (settings.weight_decay, 0.0):
            chosen = [parameter for parameter in trainable if (parameter.ndim >= 2) == (decay > 0)]
            if settings.weight_decay == 0.0:
                chosen, trainable = trainable, []
            if chosen:
                groups.append({"params": chosen, "weight_decay": decay, "part": part, "factor": factor})
    # The loop sets the rate of every step.
    if settings.kind == "sgd":
        return torch.optim.SGD(groups, lr=0.0, momentum=settings.momentum, nesterov=settings.momentum > 0)
    if settings.kind == "lion":
        return Lion(groups, lr=0.0)
    if settings.kind == "muon":
        # It makes all directions of a matrix count alike, which a few classes' weights do not bear: the head, as all
        # that is no matrix, has NAdamW's steps.
        return Muon([{**group, "use_fallback": group["part"] == "head"} for group in groups], lr=0.0, nesterov=True)
    return FusedAdamW(groups)


def _parts(network: Network, layer_decay: float) -> Iterator[tuple[str, float, list[nn.Parameter]]]:
    """Yield a name, a share of the learning rate and parameters; the last stage learns `layer_decay` times as fast as
    the head, the one before it so many times as fast as the last."""
    yield "head", 1.0, list(network.head.parameters())
    if layer_decay == 1.0:
        yield "backbone", 1.0, list(network.backbone.parameters())
        return
    for distance, parameters in enumerate(reversed(parameters_by_stage(network)), start=1):
        yield "backbone", layer_decay**distance, parameters


def set_learning_rate(
    optimizer: torch.optim.Optimizer, learning_rate: float, head_factor: float = 1.0
) -> dict[str, float]:
    """Give the head `head_factor` times `learning_rate`, and every group its share; return each part's largest."""
    for group in optimizer.param_groups:
        group["lr"] = learning_rate * group["factor"] * (head_factor if group["part"] == "head" else 1.0)
    return largest_rates(optimizer)


def largest_rates(optimizer: torch.optim.Optimizer) -> dict[str, float]:
    """Return the largest learning rate in the head and in the backbone, for the records."""
    largest: dict[str, float] = {}
    for group in optimizer.param_groups:
        largest[group["part"]] = max(group["lr"], largest.get(group["part"], 0.0))
    return largest


def trained_parameters(optimizer: torch.optim.Optimizer) -> list[nn.Parameter]:
    """Return what `optimizer` moves, in the order of its groups."""
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


def clip_gradients(trained: Sequence[nn.Parameter], settings: Optimizer) -> Tensor:
    """Scale the gradients of `trained` as `settings` bound them; return their Euclidean norm before, a scalar."""
    gradients = [parameter.grad for parameter in trained if parameter.grad is not None]
    # Half the time of torch.nn.utils.clip_grad_norm_ in a step of a small head.
    norms = torch.stack([torch.linalg.vector_norm(gradient) for gradient in gradients])
    norm: Tensor = torch.linalg.vector_norm(norms)
    if settings.clip_norm is not None:
        factor = (settings.clip_norm / ((norms if settings.clip_each else norm) + SMALL)).clamp(max=1.0)
        factors = factor.unbind() if settings.clip_each else [factor] * len(gradients)
        for gradient, each in zip(gradients, factors, strict=True):
            gradient.mul_(each)
    return norm


def moments_of(optimizer: torch.optim.Optimizer, network: Network) -> dict[str, dict[str, Any]]:
    """Return what the optimizer remembers of each parameter, by its name."""
    names = {id(parameter): name for name, parameter in network.named_parameters()}
    return {names[id(parameter)]: state for parameter, state in optimizer.state.items()}


def give_moments(optimizer: torch.optim.Optimizer, network: Network, moments: dict[str, dict[str, Any]]) -> None:
    """Let `optimizer` go on with `moments`; a parameter that has none begins anew."""
    content = optimizer.state_dict()
    parameters = dict(network.named_parameters())
    places = {
        id(parameter): place
        for ours, group in zip(optimizer.param_groups, content["param_groups"], strict=True)
        for parameter, place in zip(ours["params"], group["params"], strict=True)
    }
    wanted = {places[id(parameters[name])]: state for name, state in moments.items() if id(parameters[name]) in places}
    optimizer.load_state_dict({**content, "state": wanted})
