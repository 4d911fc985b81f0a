"""Parameter groups and the optimizer."""

from __future__ import annotations

import torch
from torch import Tensor

from fitwell.model.network import Network
from fitwell.recipe.schema import Optimizer

SMALL = 1e-6  # beside a norm of gradients; keeps the quotient finite


def build_optimizer(network: Network, settings: Optimizer) -> torch.optim.AdamW:
    """Return AdamW over what trains in `network`, in up to four groups.

    The groups are head and backbone, each with and without weight decay: biases and norm scales, which have
    fewer than two dimensions, are not decayed.
    """
    groups = []
    for part, module in (("head", network.head), ("backbone", network.backbone)):
        trainable = [parameter for parameter in module.parameters() if parameter.requires_grad]
        for decay in (settings.weight_decay, 0.0):
            chosen = [parameter for parameter in trainable if (parameter.ndim >= 2) == (decay > 0)]
            if settings.weight_decay == 0.0:
                chosen, trainable = trainable, []
            if chosen:
                groups.append({"params": chosen, "weight_decay": decay, "part": part})
    # Fused: one call for a group instead of a dozen for each parameter. It reads weights, gradients and moments in the
    # order of memory, so their layout must not change while the optimizer lives. The loop sets the rate of every step.
    return torch.optim.AdamW(groups, lr=0.0, fused=True)


def set_learning_rate(
    optimizer: torch.optim.Optimizer, learning_rate: float, head_factor: float = 1.0
) -> dict[str, float]:
    """Give the backbone `learning_rate` and the head so many times that; return each part's, for the records."""
    for group in optimizer.param_groups:
        group["lr"] = learning_rate * (head_factor if group["part"] == "head" else 1.0)
    return {str(group["part"]): group["lr"] for group in optimizer.param_groups}


def clip_gradients(optimizer: torch.optim.Optimizer, clip_norm: float | None) -> Tensor:
    """Scale all gradients of `optimizer` to at most `clip_norm`; return their Euclidean norm before, a scalar."""
    parameters = (parameter for group in optimizer.param_groups for parameter in group["params"])
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    # Half the time of torch.nn.utils.clip_grad_norm_ in a step of a small head.
    norm: Tensor = torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(gradient) for gradient in gradients]))
    if clip_norm is not None:
        factor = (clip_norm / (norm + SMALL)).clamp(max=1.0)
        for gradient in gradients:
            gradient.mul_(factor)
    return norm
