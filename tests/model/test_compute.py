import torch
from torch import nn

from fitwell.model.compute import Compute, compute_of
from fitwell.recipe.schema import Execution, Recipe


def test_channels_last_changes_the_layout_of_pictures_and_convolutions_but_no_value():
    compute = Compute("cpu", "float32", "channels_last")
    module, images = nn.Conv2d(3, 4, 3), torch.randn(2, 3, 8, 8)
    weight = module.weight.detach().clone()
    compute.move_module(module)
    moved = compute.move(images)
    assert moved.is_contiguous(memory_format=torch.channels_last)
    assert module.weight.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(moved, images)
    assert torch.equal(module.weight, weight)


def test_features_without_width_are_left_as_they_are():
    features = torch.randn(2, 5)
    assert Compute("cpu", "float32", "channels_last").move(features).is_contiguous()


def test_bfloat16_multiplies_in_bfloat16_and_float32_does_not():
    linear, inputs = nn.Linear(3, 2), torch.randn(4, 3)
    with Compute("cpu", "bfloat16").autocast():
        assert linear(inputs).dtype == torch.bfloat16
    with Compute("cpu", "float32").autocast():
        assert linear(inputs).dtype == torch.float32


def test_a_planned_recipe_names_its_computation():
    execution = Execution(device="cpu", precision="bfloat16", memory_format="channels_last")
    assert compute_of(Recipe(execution=execution)) == Compute("cpu", "bfloat16", "channels_last")
