"""What trains in a phase: the freeze levels `head`, `last: N`, `stages: N`, `all`. The head always trains."""

from __future__ import annotations

from fitwell.errors import RecipeError
from fitwell.model.network import Network, leaf_layers
from fitwell.recipe.schema import Last, Stages

FreezeLevel = str | Last | Stages


def set_trainable(network: Network, level: FreezeLevel) -> None:
    """Freeze the backbone, then free what `level` names.

    Raises:
        RecipeError: when the backbone has fewer layers or stages than asked, or its stages are not known.
    """
    network.requires_grad_(False)
    network.head.requires_grad_(True)
    if level == "all":
        network.requires_grad_(True)
    elif isinstance(level, Last):
        _free_last_layers(network, level.last)
    elif isinstance(level, Stages):
        _free_last_stages(network, level.stages)


def _free_last_layers(network: Network, count: int) -> None:
    layers = list(leaf_layers(network.backbone))
    if count > len(layers):
        raise RecipeError(
            found=f"a phase trains the last {count} layers.",
            expected=f"at most {len(layers)}, the layers with parameters that this backbone has.",
            fix=f"set train to {{last: {len(layers)}}} or fewer, or to all.",
        )
    for layer in layers[-count:]:
        for parameter in layer.parameters(recurse=False):
            parameter.requires_grad_(True)


def _free_last_stages(network: Network, count: int) -> None:
    stages = sorted(set(network.stages))
    if stages == [-1]:
        raise RecipeError(
            found=f"a phase trains the last {count} stages.",
            expected="a backbone of the EfficientNet or ResNet family; where the stages of others begin is not known.",
            fix="name the layers instead: train: {last: 20}.",
        )
    if count > len(stages):
        raise RecipeError(
            found=f"a phase trains the last {count} stages.",
            expected=f"at most {len(stages)}, the stages that this backbone has, its stem included.",
            fix=f"set train to {{stages: {len(stages)}}} or fewer, or to all.",
        )
    for block, stage in zip(network.backbone, network.stages, strict=True):
        if stage in stages[-count:]:
            block.requires_grad_(True)
