"""Small nets from scratch: their shapes, their sizes, and that they learn."""

import pytest
import torch
from torch import nn

from fitwell.errors import UsageError
from fitwell.model.freeze import num_stages_of, set_trainable
from fitwell.model.network import build_network, create_backbone, input_size_of, normalisation
from fitwell.model.small_nets import SMALL_NETS, small_mobilenet, small_resnet, small_squeezenet
from fitwell.recipe.phase import Stages
from fitwell.recipe.resolve import FROM_SCRATCH
from fitwell.recipe.schema import Head


def parameters(module):
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize("name", SMALL_NETS)
def test_a_small_net_gives_features_of_pictures_of_any_size(name):
    net = create_backbone(name)
    for side in (64, 96, 127):
        assert net(torch.rand(2, 3, side, side)).shape == (2, net.num_features)


def test_the_recipe_knows_every_small_net():
    assert set(FROM_SCRATCH) == set(SMALL_NETS)


def test_sizes_are_those_worked_by_hand():
    # A 3 x 3 convolution from a to b channels has 9 a b weights, a depthwise one 9 a, a 1 x 1 one a b; a norm has 2 b.
    stem = 27 * 32 + 64
    pairs = [(32, 32), (32, 64), (64, 128), (128, 256)]

    def separable(a, b):
        return 9 * a + 2 * a + a * b + 2 * b

    def residual(a, b, changes):
        return 9 * a * b + 9 * b * b + 4 * b + (a * b + 2 * b if changes else 0)

    def fire(a, b):
        squeezed, half = b // 8, b // 2
        return a * squeezed + 2 * squeezed + squeezed * half + 9 * squeezed * half + 4 * half

    assert parameters(small_mobilenet()) == stem + sum(separable(a, b) + separable(b, b) for a, b in pairs)
    assert parameters(small_squeezenet()) == stem + sum(fire(a, b) + fire(b, b) for a, b in pairs)
    assert parameters(small_resnet()) == stem + sum(residual(a, b, True) + residual(b, b, False) for a, b in pairs)


@pytest.mark.parametrize("name", SMALL_NETS)
def test_a_small_net_learns_from_scratch(name):
    torch.manual_seed(0)
    network = build_network(create_backbone(name), 2, Head(dropout=0.0))
    labels = torch.arange(16) % 2
    pictures = torch.rand(16, 3, 32, 32) + labels.view(-1, 1, 1, 1) * torch.linspace(0, 1, 32)
    optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3)
    losses = []
    for _ in range(12):
        loss = nn.functional.cross_entropy(network(pictures), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.3 * losses[0]


@pytest.mark.parametrize("name", SMALL_NETS)
def test_a_small_net_is_frozen_stage_by_stage(name):
    network = build_network(create_backbone(name), 2, Head())
    assert num_stages_of(name) == 5
    set_trainable(network, Stages(stages=2))
    trained = {key.split(".")[1] for key, value in network.backbone.named_parameters(prefix="b") if value.requires_grad}
    assert trained == {"stage3", "stage4"}
    pictures = torch.rand(1, 3, 64, 64)
    network.eval()
    torch.testing.assert_close(network.tail(3)(network.prefix(3)(pictures)), network(pictures))


def test_a_small_net_says_how_it_wants_its_pictures():
    assert input_size_of("small_resnet") == 96
    assert normalisation("small_resnet").mean == (0.485, 0.456, 0.406)


def test_there_are_no_weights_to_fetch():
    with pytest.raises(UsageError, match="small_resnet"):
        create_backbone("small_resnet", pretrained=True)
