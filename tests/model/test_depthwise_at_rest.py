import copy

import pytest
import torch
from timm.layers import Conv2dSame
from torch import nn

from fitwell.model import depthwise_at_rest
from fitwell.model.depthwise_at_rest import DepthwiseAtRest

CHANNELS = 6
GEOMETRIES = {
    "square": {"kernel_size": 3, "padding": 1},
    "wide": {"kernel_size": (3, 5), "padding": (1, 2)},
    "without a margin": {"kernel_size": 5},
    "with a stride": {"kernel_size": 3, "padding": 1, "stride": 2},
    "with strides that leave rows out": {"kernel_size": 3, "stride": (3, 2)},
    "dilated": {"kernel_size": 3, "padding": 2, "dilation": 2, "stride": 2},
    "with a margin wider than its kernels": {"kernel_size": 3, "padding": 3},
    "with a margin by name": {"kernel_size": 3, "padding": "same"},
    "with a mirrored margin": {"kernel_size": 3, "padding": 1, "padding_mode": "reflect"},
}


def convolution(kind=nn.Conv2d, **geometry):
    torch.manual_seed(0)
    layer = kind(CHANNELS, CHANNELS, groups=CHANNELS, **geometry)
    layer.weight.requires_grad_(False)
    return layer


def gradients(module, maps, precision=torch.float32):
    """What the module gives, and the gradients of its input and of its bias, for gradients that are no constant."""
    module, maps = copy.deepcopy(module), maps.clone().requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=precision == torch.bfloat16):
        given = module(maps)
    given.float().square().sum().backward()
    bias = next(each for each in module.parameters() if each.requires_grad)
    return given, maps.grad, bias.grad


def maps(layout=torch.contiguous_format):
    return torch.randn(2, CHANNELS, 11, 14, generator=torch.Generator().manual_seed(1)).contiguous(memory_format=layout)


@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_it_computes_and_learns_what_the_convolution_does(geometry, layout):
    layer = convolution(**GEOMETRIES[geometry])
    expected = gradients(layer, maps(layout))
    for ours, theirs in zip(gradients(DepthwiseAtRest(layer), maps(layout)), expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("stride", [1, 2])
def test_a_convolution_that_pads_as_tensorflow_does_learns_the_same(stride):
    layer = convolution(Conv2dSame, kernel_size=5, stride=stride)
    for ours, theirs in zip(gradients(DepthwiseAtRest(layer), maps()), gradients(layer, maps()), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_in_bfloat16_its_gradients_are_those_of_float32_but_for_rounding(geometry):
    layer = convolution(**GEOMETRIES[geometry])
    given, of_maps, of_bias = gradients(DepthwiseAtRest(layer), maps(), torch.bfloat16)
    _, exact_of_maps, exact_of_bias = gradients(layer, maps())
    assert given.dtype == torch.bfloat16
    for ours, exact in ((of_maps, exact_of_maps), (of_bias, exact_of_bias)):
        assert ours.dtype == torch.float32
        assert float((ours - exact).norm() / exact.norm()) < 0.01


def test_its_gradients_are_the_slopes_of_what_it_computes():
    layer = convolution(kernel_size=3, padding=1, stride=2).double()
    assert torch.autograd.gradcheck(DepthwiseAtRest(layer), maps().double()[:, :, :5, :6].clone().requires_grad_())


def test_maps_that_need_no_gradient_cost_none(monkeypatch):
    computed = []
    monkeypatch.setattr(depthwise_at_rest, "_gradient_of_maps", lambda *parts: computed.append(parts))
    layer = convolution(kernel_size=3, padding=1)
    DepthwiseAtRest(layer)(maps()).sum().backward()
    assert not computed
    assert layer.bias.grad.tolist() == [2 * 11 * 14] * CHANNELS


def test_the_kernels_get_no_gradient():
    layer = convolution(kernel_size=3, padding=1)
    DepthwiseAtRest(layer)(maps().requires_grad_()).sum().backward()
    assert layer.weight.grad is None
    assert layer.bias.grad is not None
