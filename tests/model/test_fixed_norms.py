import pytest
import torch
from torch import nn

from fitwell.model.fixed_norms import absorb_norms, without_norms
from fitwell.model.freeze import prepare_to_train
from fitwell.model.network import build_network, create_backbone
from fitwell.recipe.phase import Last, Phase, Stages
from fitwell.recipe.schema import Head

SIZE = 32


def make_network(name):
    """A network whose norms have statistics, scales and biases of their own."""
    torch.manual_seed(0)
    network = build_network(create_backbone(name), 3, Head(dropout=0.2))
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.normal_(layer.running_mean, std=0.3)
            nn.init.uniform_(layer.running_var, 0.5, 2.0)
            nn.init.uniform_(layer.weight, 0.5, 1.5)
            nn.init.normal_(layer.bias, std=0.3)
    return network.eval()


def phase(**settings):
    return Phase(**{"name": "a", "train": "all", "epochs": 1, "learning_rate": 1e-3, "batch_norm": "fixed", **settings})


def images():
    return torch.randn(4, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", ["test_efficientnet", "test_resnet", "resnet10t", "test_vit"])
@pytest.mark.parametrize("train", ["all", Last(last=3)])
def test_the_network_computes_the_same_with_and_without_its_absorbed_norms(name, train):
    network = make_network(name)
    prepare_to_train(network, phase(train=train))
    with torch.no_grad():
        before = network(images())
        pairs = absorb_norms(network, SIZE)
        torch.testing.assert_close(network.eval()(images()), before, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(without_norms(network, pairs)(images()), before, rtol=1e-4, atol=1e-5)


def test_every_norm_of_the_trained_blocks_is_gone_from_what_trains_and_stays_in_the_network():
    network = make_network("test_efficientnet")
    prepare_to_train(network, phase(train=Stages(stages=1)))
    tail = network.tail(network.boundary())
    count = sum(isinstance(layer, nn.BatchNorm2d) for layer in tail.modules())
    pairs = absorb_norms(network, SIZE)
    trained = without_norms(tail, pairs)
    assert count == len(pairs) > 0
    assert not any(isinstance(layer, nn.BatchNorm2d) for layer in trained.modules())
    assert sum(isinstance(layer, nn.BatchNorm2d) for layer in tail.modules()) == count


def test_absorbing_again_changes_no_bit():
    network = make_network("test_efficientnet")
    prepare_to_train(network, phase())
    absorb_norms(network, SIZE)
    once = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    prepare_to_train(network, phase())
    absorb_norms(network, SIZE)
    assert all(torch.equal(tensor, once[name]) for name, tensor in network.state_dict().items())


def test_a_step_without_the_norms_moves_the_network_and_leaves_statistics_and_scales():
    network = make_network("test_efficientnet")
    prepare_to_train(network, phase())
    pairs = absorb_norms(network, SIZE)
    trained = without_norms(network, pairs)
    optimizer = torch.optim.SGD([each for each in network.parameters() if each.requires_grad], lr=0.1)
    network.train()
    trained(images()).square().sum().backward()
    optimizer.step()
    network.eval()
    with torch.no_grad():
        torch.testing.assert_close(trained(images()), network(images()), rtol=1e-4, atol=1e-5)
    for pair in pairs:
        assert pair.norm.running_mean.count_nonzero() == 0
        assert pair.norm.weight.eq(1).all()
        assert pair.norm.bias.grad is not None


def test_gradients_are_those_through_the_norms_in_evaluation_mode():
    network = make_network("test_efficientnet")
    prepare_to_train(network, phase())
    pairs = absorb_norms(network, SIZE)
    head = network.head[1].weight
    through_norms = torch.autograd.grad(network.eval()(images()).square().sum(), [pairs[0].convolution.weight, head])
    without = torch.autograd.grad(
        without_norms(network, pairs)(images()).square().sum(), [pairs[0].convolution.weight, head]
    )
    for one, other in zip(through_norms, without, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-3)


def test_frozen_blocks_keep_their_norms_and_their_weights():
    network = make_network("test_efficientnet")
    prepare_to_train(network, phase(train=Stages(stages=1)))
    prefix = network.prefix(network.boundary())
    before = {name: tensor.clone() for name, tensor in prefix.state_dict().items()}
    absorb_norms(network, SIZE)
    assert all(torch.equal(tensor, before[name]) for name, tensor in prefix.state_dict().items())


def test_frozen_depthwise_kernels_take_part_but_do_not_train():
    network = make_network("test_efficientnet")
    prepare_to_train(network, phase(depthwise="frozen"))
    pairs = absorb_norms(network, SIZE)
    depthwise = [pair for pair in pairs if pair.convolution.groups > 1]
    assert depthwise
    assert not any(pair.convolution.weight.requires_grad for pair in depthwise)
    assert all(pair.norm.bias.requires_grad for pair in depthwise)


def test_what_holds_no_absorbed_norm_is_the_same_object_so_that_the_network_switches_its_mode():
    network = make_network("test_efficientnet")
    prepare_to_train(network, phase(train=Stages(stages=1)))
    trained = without_norms(network, absorb_norms(network, SIZE))
    assert trained is not network
    assert trained.head is network.head
    assert trained.backbone.conv_stem is network.backbone.conv_stem
    assert without_norms(network, []) is network
