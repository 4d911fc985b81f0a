import pytest
import torch
from torch import nn

from fitwell.errors import RecipeError
from fitwell.model.network import build_network, create_backbone
from fitwell.model.own_statistics import adapt_statistics
from fitwell.recipe.schema import Head


def network_of(name):
    torch.manual_seed(0)
    network = build_network(create_backbone(name), 2, Head())
    for norm in norms_of(network):
        norm.running_mean.normal_()
        norm.running_var.uniform_(0.5, 2)
    return network.eval()


def norms_of(network):
    return [layer for layer in network.modules() if isinstance(layer, nn.BatchNorm2d)]


@pytest.fixture
def dark_pictures():
    return 0.1 * torch.rand(64, 3, 64, 64, generator=torch.Generator().manual_seed(0)) - 0.9


def test_with_all_of_them_its_own_every_norm_has_what_torch_counts_in_training(dark_pictures):
    ours, theirs = network_of("resnet18"), network_of("resnet18")
    one_part = dark_pictures[:32]
    adapt_statistics(ours, one_part, 1.0)
    for norm in norms_of(theirs):
        norm.momentum = 1.0
    theirs.train()
    with torch.no_grad():
        theirs(one_part)
    for mine, reference in zip(norms_of(ours), norms_of(theirs), strict=True):
        torch.testing.assert_close(mine.running_mean, reference.running_mean, rtol=1e-2, atol=1e-2)
        torch.testing.assert_close(mine.running_var, reference.running_var, rtol=2e-2, atol=1e-3)


def test_a_share_of_two_parts_lies_between_the_two(dark_pictures):
    network = network_of("resnet18")
    first = norms_of(network)[0]
    mean, variance = first.running_mean.clone(), first.running_var.clone()
    with torch.no_grad():
        seen = network.backbone[0](dark_pictures)
    adapt_statistics(network, dark_pictures, 0.25)
    torch.testing.assert_close(first.running_mean, 0.75 * mean + 0.25 * seen.mean((0, 2, 3)))
    torch.testing.assert_close(first.running_var, 0.75 * variance + 0.25 * seen.var((0, 2, 3)))


def test_nothing_else_changes_and_no_hook_stays(dark_pictures):
    network = network_of("resnet18")
    before = {name: value.clone() for name, value in network.named_parameters()}
    adapt_statistics(network, dark_pictures, 0.5)
    assert all(torch.equal(value, before[name]) for name, value in network.named_parameters())
    with torch.no_grad():
        first = network(dark_pictures)
        assert torch.equal(network(dark_pictures), first)
    assert not network.training


def test_a_backbone_without_batch_norm_is_refused(dark_pictures):
    with pytest.raises(RecipeError, match=r"own_statistics is above 0, and the backbone has no BatchNorm"):
        adapt_statistics(network_of("test_vit"), dark_pictures, 0.5)
