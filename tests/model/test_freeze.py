import pytest
import torch
from torch import nn

from fitwell.errors import RecipeError
from fitwell.model.freeze import num_stages_of, prepare_to_train, set_trainable
from fitwell.model.network import build_network, create_backbone
from fitwell.recipe.phase import Last, Phase, Stages
from fitwell.recipe.schema import Head, Hidden


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
    "mobilenetv1_100": (
        8,
        [f"blocks.4.{block}.{layer}" for block in (0, 1) for layer in ("conv_dw", "bn1", "conv_pw", "bn2")],
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


def hollow(name, head=None):
    """A network without values, and timm's names of what trains in its backbone, in order."""
    with torch.device("meta"):
        backbone = create_backbone(name)
        network = build_network(backbone, 2, head or Head())
    names = {id(parameter): owner for owner, parameter in backbone.named_parameters()}
    return network, lambda: [names[id(each)] for each in network.backbone.parameters() if each.requires_grad]


def layers_of(names):
    return list(dict.fromkeys(name.rpartition(".")[0] for name in names))


@pytest.mark.parametrize("name", LAST_LAYERS)
def test_the_last_layers_of_each_family_are_those_counted_by_hand(name):
    count, layers = LAST_LAYERS[name]
    network, freed = hollow(name)
    set_trainable(network, Last(last=count))
    assert layers_of(freed()) == layers
    assert all(parameter.requires_grad for parameter in network.head.parameters())
    set_trainable(network, "head")
    assert freed() == []
    assert all(parameter.requires_grad for parameter in network.head.parameters())
    set_trainable(network, "all")
    assert all(parameter.requires_grad for parameter in network.parameters())


LAST_STAGES = {  # how many, and with what their parameters' names begin
    "vgg19": (3, ("features.32.", "features.34.", "pre_logits.")),  # each convolution is one; there are no others
    "resnet50": (1, ("layer4.",)),
    "densenet121": (2, ("features.denseblock4.", "features.norm5.")),
    "mobilenetv1_100": (1, ("blocks.4.",)),
    "mobilenetv2_100": (1, ("blocks.6.", "conv_head.", "bn2.")),
    "mobilenetv3_large_100": (3, ("blocks.5.", "blocks.6.", "conv_head.")),
    "efficientnet_b0": (2, ("blocks.5.", "blocks.6.", "conv_head.", "bn2.")),
    "convnext_tiny": (2, ("stages.3.", "head.norm.")),
    "vit_tiny_patch16_224": (1, ("blocks.11.", "norm.")),
}


@pytest.mark.parametrize("name", LAST_STAGES)
def test_the_last_stages_of_each_family_are_whole_and_nothing_else_trains(name):
    count, beginnings = LAST_STAGES[name]
    network, freed = hollow(name)
    set_trainable(network, "all")
    expected = [owner for owner in freed() if owner.startswith(beginnings)]
    set_trainable(network, Stages(stages=count))
    assert freed() == expected


# The plants team's `layers[-n:]` of keras.applications without their top, by hand from its source. A dash is a layer
# without weights: an activation, a sum, a concatenation.
KERAS_ENDS = {
    "resnet50": (10, 6, "layer4.2.", "conv1 bn1 - conv2 bn2 - conv3 bn3 - -"),
    "densenet121": (12, 6, "features.", "- {15}.conv2 - {16}.norm1 - {16}.conv1 {16}.norm2 - {16}.conv2 - norm5 -"),
    "mobilenetv1_100": (8, 5, "blocks.4.", "0.bn2 - 1.conv_dw 1.bn1 - 1.conv_pw 1.bn2 -"),
}


@pytest.mark.parametrize("name", KERAS_ENDS)
def test_keras_counts_layers_without_weights_too(name):
    num_keras, num_ours, place, listed = KERAS_ENDS[name]
    layers = listed.replace("{", "denseblock4.denselayer").replace("}", "").split()
    assert len(layers) == num_keras
    network, freed = hollow(name)
    set_trainable(network, Last(last=num_ours))
    assert layers_of(freed()) == [place + layer for layer in layers if layer != "-"]


def test_the_x_ray_teams_network_is_timms_and_frozen_its_head_alone_trains():
    # 1,464,113 parameters by Keras' count, which has BatchNorm's statistics among them, and one logit.
    network, freed = hollow("mobilenetv2_075", Head(hidden=(Hidden(units=64),)))
    set_trainable(network, "head")
    assert freed() == []
    backbone = sum(each.numel() for each in network.backbone.parameters())
    statistics = sum(each.numel() for each in network.backbone.buffers() if each.is_floating_point())
    head = sum(each.numel() for each in network.parameters() if each.requires_grad)
    assert head == 1280 * 64 + 64 + 2 * 64 + 2
    assert backbone + statistics + head - (64 + 1) == 1_464_113
