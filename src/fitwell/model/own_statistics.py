"""BatchNorm statistics of one's own pictures, in part, in place of those of the pretraining.

Pictures unlike ImageNet's, such as X-rays, reach a BatchNorm with another mean and another spread than it was trained
for; what follows then sees all of them in a corner of its range.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fitwell.errors import RecipeError
from fitwell.model.network import Network, create_backbone

PART = 32  # pictures at a time: what more of them give rise to leaves the processor's caches


def adapt_statistics(network: Network, pictures: Tensor, share: float) -> None:
    """Replace `share` of every BatchNorm's mean and variance by those of `pictures`, layer after layer, in place.

    A part of the pictures at a time: what a layer sees went through layers that were blended with that part.

    Source: Schneider et al. 2020, "Improving robustness against common corruptions by covariate shift adaptation",
    arXiv:2006.16971, eq. 1, with N / (N + n) as the share of the pretraining.

    Args:
        pictures: (B, 3, H, W) as evaluation sees them, on the network's device.
        share: in (0, 1].

    Raises:
        RecipeError: when the backbone has no BatchNorm.
    """
    norms = [_Adapting(norm, share) for norm in require_norms(network)]
    num_parts = -(-len(pictures) // PART)
    network.eval()
    try:
        with torch.no_grad():
            for part in range(num_parts):
                network.backbone(pictures[part::num_parts])
    finally:
        for norm in norms:
            norm.hook.remove()
    for norm in norms:
        norm.blend(torch.stack(norm.means), torch.stack(norm.variances))


class _Adapting:
    """A BatchNorm, its pretraining, and what it has seen since."""

    def __init__(self, norm: nn.BatchNorm2d, share: float) -> None:
        self.norm, self.share = norm, share
        self.pretrained = tuple(statistic.clone() for statistic in self.statistics())
        self.means: list[Tensor] = []
        self.variances: list[Tensor] = []
        self.hook = norm.register_forward_pre_hook(self.see)

    def statistics(self) -> tuple[Tensor, Tensor]:
        """Return its mean and variance (C,) as they are now."""
        mean, variance = self.norm.running_mean, self.norm.running_var
        if mean is None or variance is None:
            raise ValueError("a BatchNorm without statistics cannot adapt.")
        return mean, variance

    def see(self, norm: nn.Module, inputs: tuple[Tensor]) -> None:
        """Blend with what comes through now."""
        values = inputs[0].float()  # (B, C, h, w)
        mean = values.mean(dim=(2, 3)).mean(dim=0)  # var_mean over three axes takes several times as long
        variance = (values.square().mean(dim=(2, 3)).mean(dim=0) - mean.square()).clamp(min=0)
        self.means.append(mean)
        self.variances.append(variance)
        self.blend(mean[None], variance[None])

    def blend(self, means: Tensor, variances: Tensor) -> None:
        """Set the statistics from (K, C) means and variances of K parts that are equally large."""
        own = (means.mean(dim=0), variances.mean(dim=0) + means.var(dim=0, correction=0))
        for statistic, before, now in zip(self.statistics(), self.pretrained, own, strict=True):
            statistic.copy_(before.lerp(now, self.share))


def num_norms_of(backbone: str) -> int:
    """Return how many BatchNorm layers the timm model or small net `backbone` has.

    Raises:
        UsageError: when there is no such model.
    """
    return len(_norms(create_backbone(backbone)))


def require_norms(network: Network) -> list[nn.BatchNorm2d]:
    """Return every BatchNorm of the backbone, in forward order.

    Raises:
        RecipeError: when it has none.
    """
    norms = _norms(network.backbone)
    if not norms:
        raise RecipeError(
            found="model.own_statistics is above 0, and the backbone has no BatchNorm.",
            expected="a backbone with BatchNorm.",
            fix="set model.own_statistics to 0, or choose another backbone.",
        )
    return norms


def _norms(module: nn.Module) -> list[nn.BatchNorm2d]:
    return [layer for layer in module.modules() if isinstance(layer, nn.BatchNorm2d) and layer.track_running_stats]
