import pytest
import torch
from torch import nn

from fitwell.model.freeze import set_trainable
from fitwell.model.network import build_network, create_backbone
from fitwell.recipe.phase import Last
from fitwell.recipe.schema import Head, Optimizer
from fitwell.training.optimizer import build_optimizer, clip_gradients, set_learning_rate


def network():
    net = build_network(create_backbone("test_efficientnet"), 2, Head(dropout=0.0))
    set_trainable(net, Last(last=2))  # a convolution and its norm
    return net


def test_biases_and_norms_are_not_decayed_and_frozen_weights_are_not_there():
    net = network()
    groups = build_optimizer(net, Optimizer(weight_decay=0.05)).param_groups
    found = [(group["part"], group["weight_decay"], [p.ndim for p in group["params"]]) for group in groups]
    assert found == [("head", 0.05, [2]), ("head", 0.0, [1]), ("backbone", 0.05, [4]), ("backbone", 0.0, [1, 1])]


def test_without_decay_there_is_one_group_for_each_part():
    groups = build_optimizer(network(), Optimizer(weight_decay=0.0)).param_groups
    assert [(group["part"], len(group["params"])) for group in groups] == [("head", 2), ("backbone", 3)]


def test_every_group_gets_the_rate():
    optimizer = build_optimizer(network(), Optimizer())
    assert set_learning_rate(optimizer, 0.01) == {"head": 0.01, "backbone": 0.01}
    assert {group["lr"] for group in optimizer.param_groups} == {0.01}


def test_the_head_can_have_a_rate_of_its_own():
    optimizer = build_optimizer(network(), Optimizer())
    assert set_learning_rate(optimizer, 0.01, head_factor=3) == {"head": 0.03, "backbone": 0.01}
    assert [group["lr"] for group in optimizer.param_groups if group["part"] == "head"] == [0.03, 0.03]
    assert [group["lr"] for group in optimizer.param_groups if group["part"] == "backbone"] == [0.01, 0.01]


@pytest.mark.parametrize(("clip_norm", "expected"), [(1.0, [0.6, 0.8]), (None, [3.0, 4.0]), (10.0, [3.0, 4.0])])
def test_gradients_are_scaled_to_the_norm_and_their_norm_before_is_told(clip_norm, expected):
    module = nn.Linear(2, 1, bias=False)
    module.weight.grad = torch.tensor([[3.0, 4.0]])
    assert float(clip_gradients(torch.optim.AdamW(module.parameters()), clip_norm)) == pytest.approx(5.0)
    assert module.weight.grad[0].tolist() == pytest.approx(expected, rel=1e-5)
