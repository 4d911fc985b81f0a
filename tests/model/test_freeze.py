import pytest
import torch

from fitwell.errors import RecipeError
from fitwell.model.freeze import set_trainable
from fitwell.model.network import build_network, create_backbone
from fitwell.recipe.schema import Last, Stages


def trainable(network):
    return {name for name, parameter in network.named_parameters() if parameter.requires_grad}


def resnet():
    torch.manual_seed(0)
    return build_network(create_backbone("resnet18"), num_classes=2, dropout=0.0)


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


def test_stages_of_an_unknown_family_are_refused_with_the_way_out():
    network = build_network(create_backbone("mobilenetv3_small_050"), num_classes=2, dropout=0.0)
    with pytest.raises(RecipeError, match=r"(?s)EfficientNet or ResNet family.*train: \{last: 20\}"):
        set_trainable(network, Stages(stages=1))
