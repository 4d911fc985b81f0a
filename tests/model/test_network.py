import pytest
import timm
import torch
from torch import nn

from fitwell.errors import UsageError
from fitwell.model.freeze import set_trainable
from fitwell.model.network import (
    build_network,
    count_parameters,
    create_backbone,
    input_size_of,
    leaf_layers,
    normalisation,
)
from fitwell.recipe.phase import Last
from fitwell.recipe.schema import Head


def lite0(num_classes=3):
    torch.manual_seed(0)
    return build_network(create_backbone("tf_efficientnet_lite0"), num_classes, Head(dropout=0.2))


@pytest.mark.parametrize("name", ["tf_efficientnet_lite0", "mobilenetv2_050", "resnet18", "mobilenetv3_small_050"])
def test_the_chain_of_blocks_computes_what_timm_computes(name):
    torch.manual_seed(0)
    backbone = create_backbone(name).eval()
    images = torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        expected = backbone(images)
        chained = build_network(backbone, 3, Head(dropout=0.0)).eval().backbone(images)
    assert torch.equal(chained, expected)


def test_a_head_takes_what_a_backbone_gives_where_layers_follow_its_pooling():
    network = build_network(create_backbone("mobilenetv3_small_050"), 3, Head()).eval()
    with torch.inference_mode():
        assert network(torch.randn(2, 3, 64, 64)).shape == (2, 3)


def test_prefix_and_tail_together_are_the_network():
    network = lite0().eval()
    images = torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        for boundary in (0, 5, len(network.backbone)):
            assert torch.equal(network.tail(boundary)(network.prefix(boundary)(images)), network(images))


def test_the_boundary_is_the_first_block_that_trains():
    network = lite0()
    set_trainable(network, "head")
    assert network.boundary() == len(network.backbone)
    set_trainable(network, Last(last=2))  # the norm and the convolution after the stages
    assert [name for name, _ in network.backbone.named_children()][network.boundary()] == "conv_head"
    set_trainable(network, "all")
    assert network.boundary() == 0


def test_frozen_batch_norm_keeps_its_statistics_while_the_rest_trains():
    network = lite0()
    set_trainable(network, Last(last=2))
    network.train()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    network(torch.randn(4, 3, 64, 64) + 3.0)
    changed = {name for name, tensor in network.state_dict().items() if not torch.equal(tensor, before[name])}
    assert changed == {f"backbone.bn2.{name}" for name in ("running_mean", "running_var", "num_batches_tracked")}


def test_a_frozen_block_is_not_random_in_training():
    backbone = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Dropout(0.9), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    backbone.num_features = 4
    network = build_network(backbone, 2, Head(dropout=0.0))
    set_trainable(network, "head")
    network.train()
    images = torch.randn(2, 3, 8, 8)
    assert torch.equal(network(images), network(images))


def test_leaf_layers_are_those_that_own_parameters():
    module = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.Sequential(nn.BatchNorm2d(4), nn.Linear(4, 2)))
    assert [type(layer).__name__ for layer in leaf_layers(module)] == ["Conv2d", "BatchNorm2d", "Linear"]


def test_parameters_are_counted():
    module = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2, bias=False))
    module[0].requires_grad_(False)
    assert count_parameters(module) == (3 * 4 + 4 + 4 * 2, 4 * 2)


def test_a_backbone_name_with_a_typo_is_answered_with_the_nearest_names():
    with pytest.raises(UsageError, match=r"(?s)'tf_eficientnet_lite0', which timm .*such as .*tf_efficientnet_lite0"):
        create_backbone("tf_eficientnet_lite0")


def test_facts_and_normalisation_are_those_of_the_pretraining():
    settings = timm.get_pretrained_cfg("resnet18")
    assert normalisation("resnet18").mean == settings.mean
    assert input_size_of("tf_efficientnet_lite0") == 224
    assert input_size_of("tf_efficientnet_lite2") == 260
    assert normalisation("tf_efficientnet_lite0").std == (0.5, 0.5, 0.5)
