"""Small nets that are trained from scratch, for many small pictures and few classes.

Each is a chain of a stem, stages and a pool, images (B, 3, H, W) to features (B, D); the head brings the dropout. They
keep the ideas of their models, not their sizes: stages of 32, 64, 128 and 256 channels, each half as wide and high as
the one before it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

WIDTHS = (32, 64, 128, 256)  # channels of the stages
SMALL_SIZE = 96  # side in pixels that they are meant for


class SmallNet(nn.Sequential):
    """A stem, the stages and a pool, by these names, one after the other."""

    num_features = WIDTHS[-1]

    def __init__(self, stage: Callable[[int, int], nn.Module]) -> None:
        layers = OrderedDict[str, nn.Module](stem=_convolution(3, WIDTHS[0], kernel=3, stride=2))
        width = WIDTHS[0]
        for number, wider in enumerate(WIDTHS, start=1):
            layers[f"stage{number}"] = stage(width, wider)
            width = wider
        layers["pool"] = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        super().__init__(layers)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):  # He et al. 2015, arXiv:1502.01852, eq. 10, but for what goes out
                nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")


def small_mobilenet() -> SmallNet:
    """Return a net of depthwise separable convolutions: Howard et al. 2017, arXiv:1704.04861, table 1."""

    def separable(width: int, wider: int, stride: int) -> nn.Module:
        return nn.Sequential(
            _convolution(width, width, kernel=3, stride=stride, groups=width), _convolution(width, wider, kernel=1)
        )

    return SmallNet(lambda width, wider: nn.Sequential(separable(width, wider, 2), separable(wider, wider, 1)))


def small_squeezenet() -> SmallNet:
    """Return a net of fire modules: Iandola et al. 2016, arXiv:1602.07360, section 3.2."""
    return SmallNet(
        lambda width, wider: nn.Sequential(
            _Fire(width, wider), _Fire(wider, wider), nn.MaxPool2d(3, stride=2, padding=1)
        )
    )


def small_resnet() -> SmallNet:
    """Return a net of residual blocks: He et al. 2016, arXiv:1512.03385, figure 2."""
    return SmallNet(lambda width, wider: nn.Sequential(_Residual(width, wider, 2), _Residual(wider, wider, 1)))


SMALL_NETS: dict[str, Callable[[], SmallNet]] = {
    "small_mobilenet": small_mobilenet,
    "small_squeezenet": small_squeezenet,
    "small_resnet": small_resnet,
}


class _Fire(nn.Module):
    """Squeeze to an eighth of the width by 1 x 1, then expand by 1 x 1 and by 3 x 3, half of it each."""

    def __init__(self, width: int, wider: int) -> None:
        super().__init__()
        self.squeeze = _convolution(width, wider // 8, kernel=1)
        self.expand1 = _convolution(wider // 8, wider // 2, kernel=1)
        self.expand3 = _convolution(wider // 8, wider // 2, kernel=3)

    def forward(self, values: Tensor) -> Tensor:
        """Return (B, wider, H, W) for (B, width, H, W)."""
        squeezed = self.squeeze(values)
        return torch.cat([self.expand1(squeezed), self.expand3(squeezed)], dim=1)


class _Residual(nn.Module):
    """Two 3 x 3 convolutions beside a shortcut, which is a 1 x 1 convolution where the shape changes."""

    def __init__(self, width: int, wider: int, stride: int) -> None:
        super().__init__()
        self.first = _convolution(width, wider, kernel=3, stride=stride)
        self.second = nn.Sequential(nn.Conv2d(wider, wider, 3, padding=1, bias=False), nn.BatchNorm2d(wider))
        same = stride == 1 and width == wider
        self.shortcut = (
            nn.Identity()
            if same
            else nn.Sequential(nn.Conv2d(width, wider, 1, stride, bias=False), nn.BatchNorm2d(wider))
        )

    def forward(self, values: Tensor) -> Tensor:
        """Return (B, wider, H / stride, W / stride) for (B, width, H, W)."""
        return F.relu(self.second(self.first(values)) + self.shortcut(values))


def _convolution(width: int, wider: int, *, kernel: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    """Return a convolution that keeps the size but for the stride, BatchNorm and ReLU."""
    return nn.Sequential(
        nn.Conv2d(width, wider, kernel, stride, padding=kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(wider),
        nn.ReLU(),
    )
