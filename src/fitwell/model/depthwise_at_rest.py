"""A depthwise convolution whose kernels rest, for training: its gradient is a convolution with mirrored kernels.

On a CPU PyTorch computes the gradient of the kernels, the slowest of all, also where only that of the bias is asked
for, and in bfloat16 it has no fast gradient of a convolution with a stride.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from timm.layers.conv2d_same import Conv2dSame
from timm.layers.padding import pad_same
from torch import Tensor, nn
from torch.nn import functional as F

Pair = tuple[int, int]


class DepthwiseAtRest(nn.Module):
    """Computes what `convolution` computes; on a CPU, with the gradients of its input and bias alone.

    Args:
        convolution: depthwise, with a bias; its kernels do not train.
    """

    def __init__(self, convolution: nn.Conv2d) -> None:
        super().__init__()
        self.convolution = convolution

    def forward(self, maps: Tensor) -> Tensor:
        """Return what the convolution makes of `maps` (B, C, H, W)."""
        layer = self.convolution
        if maps.device.type != "cpu" or layer.padding_mode != "zeros" or not _margin_within_reach(layer):
            return layer(maps)  # type: ignore[no-any-return]
        if isinstance(layer, Conv2dSame):
            maps = pad_same(maps, list(layer.kernel_size), list(layer.stride), list(layer.dilation))
        tensors: list[Tensor] = [maps, *layer.parameters()]
        if torch.is_autocast_enabled("cpu"):
            tensors = [each.to(torch.get_autocast_dtype("cpu")) for each in tensors]
        result: Tensor = _Convolved.apply(*tensors, layer.stride, layer.padding, layer.dilation)
        return result


def _margin_within_reach(layer: nn.Conv2d) -> bool:
    if isinstance(layer.padding, str):
        return False
    return all(pad <= far for pad, far in zip(layer.padding, _reach(layer.kernel_size, layer.dilation), strict=True))


def _reach(kernel_size: Sequence[int], dilation: Sequence[int]) -> list[int]:
    """Return how many rows and columns lie between the first and the last that one output sees."""
    return [step * (size - 1) for step, size in zip(dilation, kernel_size, strict=True)]


class _Convolved(torch.autograd.Function):
    @staticmethod
    def forward(
        context: Any,  # noqa: ANN401  # torch's own has no type for what is put there
        maps: Tensor,
        weight: Tensor,
        bias: Tensor,
        stride: Pair,
        padding: Pair,
        dilation: Pair,
    ) -> Tensor:
        context.save_for_backward(maps, weight)
        context.geometry = stride, padding, dilation
        return F.conv2d(maps, weight, bias, stride, padding, dilation, groups=len(weight))

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        of_maps = None
        if context.needs_input_grad[0]:
            of_maps = _gradient_of_maps(gradient, *context.saved_tensors, *context.geometry)
        return of_maps, None, gradient.sum((0, 2, 3)), None, None, None


def _gradient_of_maps(
    gradient: Tensor, maps: Tensor, weight: Tensor, stride: Pair, padding: Pair, dilation: Pair
) -> Tensor:
    """Return the gradient (B, C, H, W) of `maps` for one (B, C, h, w) of what the convolution made of them.

    Each picture element gets from every output that it entered, by the weight that it entered with.
    """
    if stride != (1, 1) and gradient.dtype != torch.bfloat16:  # faster than room for the outputs that strides left out
        wanted = torch.ops.aten.convolution_backward(
            gradient, maps, weight, None, stride, padding, dilation, False, (0, 0), len(weight), (True, False, False)
        )
        return wanted[0]  # type: ignore[no-any-return]
    reach = _reach(weight.shape[2:], dilation)
    if stride != (1, 1):
        height, width = (size + 2 * pad - far for size, pad, far in zip(maps.shape[2:], padding, reach, strict=True))
        is_last = gradient.is_contiguous(memory_format=torch.channels_last)
        layout = torch.channels_last if is_last else torch.contiguous_format
        spread = torch.empty(*gradient.shape[:2], height, width, dtype=gradient.dtype, memory_format=layout).zero_()
        spread[:, :, :: stride[0], :: stride[1]] = gradient
        gradient = spread
    margin = [far - pad for far, pad in zip(reach, padding, strict=True)]
    return F.conv2d(gradient, weight.flip(2, 3), None, 1, margin, dilation, groups=len(weight))
