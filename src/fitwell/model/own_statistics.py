"""BatchNorm statistics of one's own pictures, in part, in place of those of the pretraining.

Pictures unlike ImageNet's, such as X-rays, reach a BatchNorm with another mean and another spread than it was trained
for; what follows then sees all of them in a corner of its range.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fitwell.errors import RecipeError
from fitwell.model.network import Network

NUM_PICTURES = 128  # of 49 places each where they are smallest: 6,000 values a channel


def adapt_statistics(network: Network, pictures: Tensor, share: float) -> None:
    """Replace `share` of every BatchNorm's mean and variance by those of `pictures`, layer after layer, in place.

    Source: Schneider et al. 2020, "Improving robustness against common corruptions by covariate shift adaptation",
    arXiv:2006.16971, eq. 1, with N / (N + n) as the share of the pretraining.

    Args:
        pictures: (B, 3, H, W) as evaluation sees them, on the network's device.
        share: in (0, 1].

    Raises:
        RecipeError: when the backbone has no BatchNorm.
    """
    norms = find_norms(network)

    def blend(norm: nn.BatchNorm2d, inputs: tuple[Tensor]) -> None:
        variance, mean = torch.var_mean(inputs[0].float(), dim=(0, 2, 3))
        for statistic, own in ((norm.running_mean, mean), (norm.running_var, variance)):
            if statistic is not None:
                statistic.lerp_(own, share)

    hooks = [norm.register_forward_pre_hook(blend) for norm in norms]
    network.eval()
    try:
        with torch.no_grad():
            network.backbone(pictures)
    finally:
        for hook in hooks:
            hook.remove()


def find_norms(network: Network) -> list[nn.BatchNorm2d]:
    """Return every BatchNorm of the backbone, in forward order.

    Raises:
        RecipeError: when it has none.
    """
    norms = [layer for layer in network.backbone.modules() if isinstance(layer, nn.BatchNorm2d)]
    if not norms:
        raise RecipeError(
            found="model.own_statistics is above 0, and the backbone has no BatchNorm.",
            expected="a backbone with BatchNorm.",
            fix="set model.own_statistics to 0, or choose another backbone.",
        )
    return norms
