import pytest
import torch
from torch import nn

from fitwell.errors import RecipeError
from fitwell.model.freeze import num_stages_of, prepare_to_train, set_trainable
from fitwell.model.network import build_network, create_backbone
from fitwell.recipe.phase import Last, Phase, Stages
from fitwell.recipe.schema import Head


def trainable(network):
    return {name for name, parameter in network.named_parameters() if parameter.requires_grad}


def resnet():
    torch.manual_seed(0)
    return build_network(create_backbone("resnet18"), 2, Head(dropout=0.0))


def test_head_trains_the_head_alone():
    network = resnet()
    set_trainable(network, "head")
    assert trainable(network) == {"head.1.weight", "head.1.bias"}


def test_all_trains_everything():
    network = resnet()
    set_trainable(network, "head")
    set_trainable(network, "all")
    assert trainable(network) == {name for name, _ in network.named_parameters()}


def test_last_counts_layers_that_own_parameters_from_the_end_and_adds_the_head():
    network = resnet()
    set_trainable(network, Last(last=3))
    block = "backbone.stage4_1"
    assert trainable(network) == {
        "head.1.weight",
        "head.1.bias",
        f"{block}.bn1.weight",
        f"{block}.bn1.bias",
        f"{block}.conv2.weight",
        f"{block}.bn2.weight",
        f"{block}.bn2.bias",
    }


def test_a_narrower_level_freezes_again_what_a_wider_one_freed():
    network = resnet()
    set_trainable(network, "all")
    set_trainable(network, Stages(stages=1))
    names = trainable(network) - {"head.1.weight", "head.1.bias"}
    assert names
    assert all(name.startswith("backbone.stage4_") for name in names)


def test_stages_are_counted_from_the_end():
    network = resnet()
    set_trainable(network, Stages(stages=5))
    assert trainable(network) == {name for name, _ in network.named_parameters()}


@pytest.mark.parametrize(
    ("level", "message"),
    [
        (Last(last=999), "last 999 layers.*at most 40"),
        (Stages(stages=9), "last 9 stages.*at most 5"),
    ],
)
def test_more_than_the_backbone_has_is_refused_with_the_number_it_has(level, message):
    with pytest.raises(RecipeError, match=f"(?s){message}"):
        set_trainable(resnet(), level)


@pytest.mark.parametrize(
    ("name", "stages", "expected"),
    [
        ("test_vit", 1, {"blocks.5", "norm"}),
        ("mobilenetv3_small_050", 2, {"blocks.5", "conv_head"}),
        ("test_convnext", 2, {"stages.3", "head.norm"}),
    ],
)
def test_the_last_stages_of_other_families_are_those_that_timm_groups(name, stages, expected):
    network = build_network(create_backbone(name), 2, Head(dropout=0.0))
    set_trainable(network, Stages(stages=stages))
    names = {parameter.removeprefix("backbone.body.") for parameter in trainable(network)} - {
        "head.1.weight",
        "head.1.bias",
    }
    assert {
        ".".join(each.split(".")[: 1 if each.startswith(("norm", "conv_head")) else 2]) for each in names
    } == expected


def test_depthwise_kernels_stay_frozen_when_a_phase_says_so():
    network = build_network(create_backbone("test_efficientnet"), 2, Head(dropout=0.0))
    phase = Phase(name="a", train="all", epochs=1, learning_rate=1e-3, depthwise="frozen")
    prepare_to_train(network, phase)
    convolutions = [layer for layer in network.backbone.modules() if isinstance(layer, nn.Conv2d)]
    assert {layer.weight.requires_grad for layer in convolutions if layer.groups == 1} == {True}
    assert {layer.weight.requires_grad for layer in convolutions if layer.groups > 1} == {False}
    prepare_to_train(network, phase.model_copy(update={"depthwise": "trained"}))
    assert all(parameter.requires_grad for parameter in network.parameters())


def test_fixed_norms_keep_their_statistics_while_their_scale_trains():
    network = build_network(create_backbone("test_efficientnet"), 2, Head(dropout=0.0))
    prepare_to_train(network, Phase(name="a", train="all", epochs=1, learning_rate=1e-3, batch_norm="fixed"))
    before = network.backbone.bn1.running_mean.clone()
    network.train()(torch.randn(2, 3, 32, 32))
    assert torch.equal(network.backbone.bn1.running_mean, before)
    assert network.backbone.bn1.weight.requires_grad
    prepare_to_train(network, Phase(name="a", train="all", epochs=1, learning_rate=1e-3))
    network.train()(torch.randn(2, 3, 32, 32))
    assert not torch.equal(network.backbone.bn1.running_mean, before)


@pytest.mark.parametrize(("backbone", "stages"), [("resnet18", 5), ("tf_efficientnet_lite0", 8)])
def test_stages_are_counted_with_the_stem(backbone, stages):
    assert num_stages_of(backbone) == stages


LAST_LAYERS = {  # by hand from each family's paper and timm's names; a layer is what owns parameters itself
    "vgg19": (4, ["features.32", "features.34", "pre_logits.fc1", "pre_logits.fc2"]),
    "resnet50": (
        10,
        [f"layer4.1.{layer}" for layer in ("conv2", "bn2", "conv3", "bn3")]
        + [f"layer4.2.{layer}" for layer in ("conv1", "bn1", "conv2", "bn2", "conv3", "bn3")],
    ),
    "densenet121": (
        12,
        [f"features.denseblock4.denselayer14.{layer}" for layer in ("conv1", "norm2", "conv2")]
        + [
            f"features.denseblock4.denselayer{n}.{layer}"
            for n in (15, 16)
            for layer in ("norm1", "conv1", "norm2", "conv2")
        ]
        + ["features.norm5"],
    ),
    "mobilenetv2_100": (
        8,
        [f"blocks.6.0.{layer}" for layer in ("conv_pw", "bn1", "conv_dw", "bn2", "conv_pwl", "bn3")]
        + ["conv_head", "bn2"],
    ),
    "mobilenetv3_large_100": (3, ["blocks.6.0.conv", "blocks.6.0.bn1", "conv_head"]),
    "efficientnet_b0": (
        10,
        [f"blocks.6.0.{layer}" for layer in ("conv_pw", "bn1", "conv_dw", "bn2")]
        + ["blocks.6.0.se.conv_reduce", "blocks.6.0.se.conv_expand", "blocks.6.0.conv_pwl", "blocks.6.0.bn3"]
        + ["conv_head", "bn2"],
    ),
    "convnext_tiny": (
        6,
        ["stages.3.blocks.2"]  # its layer scale
        + [f"stages.3.blocks.2.{layer}" for layer in ("conv_dw", "norm", "mlp.fc1", "mlp.fc2")]
        + ["head.norm"],
    ),
    "vit_tiny_patch16_224": (
        7,
        [f"blocks.11.{layer}" for layer in ("norm1", "attn.qkv", "attn.proj", "norm2", "mlp.fc1", "mlp.fc2")]
        + ["norm"],
    ),
}


@pytest.mark.parametrize("name", LAST_LAYERS)
def test_the_last_layers_of_each_family_are_those_counted_by_hand(name):
    count, layers = LAST_LAYERS[name]
    with torch.device("meta"):
        backbone = create_backbone(name)
        network = build_network(backbone, 2, Head())
    names = {id(parameter): owner for owner, parameter in backbone.named_parameters()}
    set_trainable(network, Last(last=count))
    freed = [names[id(each)] for each in network.backbone.parameters() if each.requires_grad]
    assert list(dict.fromkeys(owner.rpartition(".")[0] for owner in freed)) == layers
    assert all(parameter.requires_grad for parameter in network.head.parameters())
    set_trainable(network, "all")
    assert all(parameter.requires_grad for parameter in network.parameters())
