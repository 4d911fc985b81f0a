"""The head: what turns a backbone's features into logits."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fitwell.recipe.schema import Head

SMALL_STD = 0.01  # of the last layer's weights, so that at first all classes are about equally likely


def build_head(settings: Head, num_features: int, num_classes: int) -> nn.Sequential:
    """Return the layers from features (B, D) to logits (B, C), with new random weights."""
    layers: list[nn.Module] = []
    width = num_features
    for hidden in settings.hidden:
        layers += [nn.Dropout(hidden.dropout), nn.Linear(width, hidden.units)]
        layers += [nn.BatchNorm1d(hidden.units)] if hidden.batch_norm else []
        layers.append(nn.ReLU())
        width = hidden.units
    head = nn.Sequential(*layers, nn.Dropout(settings.dropout), nn.Linear(width, num_classes))
    draw_head(head, settings)
    return head


def draw_head(head: nn.Sequential, settings: Head) -> None:
    """Give all layers of `head` new random weights; biases are zero.

    Source: He et al. 2015, arXiv:1502.01852, eq. 10, for layers before a ReLU; Glorot & Bengio 2010, eq. 16.
    """
    last = output_layer(head)
    for layer in head:
        if isinstance(layer, nn.BatchNorm1d):
            layer.reset_parameters()
        if not isinstance(layer, nn.Linear):
            continue
        nn.init.zeros_(layer.bias)
        if layer is not last:
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        elif settings.initialisation == "glorot":
            nn.init.xavier_uniform_(layer.weight)
        else:
            nn.init.normal_(layer.weight, std=SMALL_STD)


def set_prior(head: nn.Sequential, logits: Tensor) -> None:
    """Let the head begin with the same `logits` (C,), those of the classes' shares, as its answer to every image.

    A rare class is then no surprise, and the first steps are not spent on learning how rare it is.
    Source: Lin et al. 2017, arXiv:1708.02002, section 3.3.
    """
    with torch.no_grad():
        output_layer(head).bias.copy_(logits)


def output_layer(head: nn.Sequential) -> nn.Linear:
    """Return the layer that gives the logits."""
    last: nn.Linear = head[-1]  # type: ignore[assignment]
    return last


def weight_penalty(head: nn.Sequential, factor: float) -> Tensor | float:
    """Return `factor` times the sum of the squares of all weights of the linear layers, without biases: a scalar.

    As Keras' `kernel_regularizer=L2(factor)` on each of them.
    """
    if factor == 0:
        return 0.0
    return factor * torch.stack([layer.weight.square().sum() for layer in head if isinstance(layer, nn.Linear)]).sum()
