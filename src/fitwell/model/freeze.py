"""What trains in a phase: the freeze levels `head`, `last: N`, `stages: N`, `all`. The head always trains."""

from __future__ import annotations

from collections import defaultdict

from timm.models._manipulate import group_with_matcher
from torch import nn

from fitwell.errors import RecipeError
from fitwell.model.network import Network, build_network, create_backbone, leaf_layers
from fitwell.recipe.phase import Gradual, Last, Phase, Stages
from fitwell.recipe.schema import Head

FreezeLevel = str | Last | Stages | Gradual


def prepare_to_train(network: Network, phase: Phase) -> None:
    """Free what `phase` trains, with BatchNorm and depthwise kernels as it says.

    Raises:
        RecipeError: as `set_trainable`.
    """
    set_trainable(network, phase.train)
    network.updates_statistics = phase.batch_norm == "updated"
    if phase.depthwise == "frozen":
        for layer in network.backbone.modules():
            if is_depthwise(layer):
                layer.requires_grad_(False)


def is_depthwise(layer: nn.Module) -> bool:
    """Return whether each output channel of a convolution reads one input channel."""
    return isinstance(layer, nn.Conv2d) and 1 < layer.groups == layer.in_channels


def set_trainable(network: Network, level: FreezeLevel) -> None:
    """Freeze the backbone, then free what `level` names.

    Raises:
        RecipeError: when the backbone has fewer layers or stages than asked.
    """
    network.requires_grad_(False)
    network.head.requires_grad_(True)
    if level == "all":
        network.requires_grad_(True)
    elif isinstance(level, Last):
        _free_last_layers(network, level.last)
    elif isinstance(level, Stages):
        _free_last_stages(network, level.stages)
    elif level != "head":
        raise ValueError(f"the freeze level is {level!r}; expected a resolved recipe.")


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
    stages = parameters_by_stage(network)
    if count > len(stages):
        raise RecipeError(
            found=f"a phase trains the last {count} stages.",
            expected=f"at most {len(stages)}, the stages that this backbone has, its stem included.",
            fix=f"set train to {{stages: {len(stages)}}} or fewer, or to all.",
        )
    for parameters in stages[-count:]:
        for parameter in parameters:
            parameter.requires_grad_(True)


def num_stages_of(backbone: str) -> int:
    """Return how many stages the timm model `backbone` has, its stem included.

    Raises:
        UsageError: when timm has no such model.
    """
    return len(parameters_by_stage(build_network(create_backbone(backbone), 2, Head())))


def parameters_by_stage(network: Network) -> list[list[nn.Parameter]]:
    """Return the backbone's parameters, stage by stage; outside the known families these are timm's coarse groups."""
    stages: dict[int, list[nn.Parameter]] = defaultdict(list)
    for block, stage in zip(network.backbone, network.stages, strict=True):
        if stage >= 0:
            stages[stage] += block.parameters()
            continue
        groups = group_with_matcher(block.named_parameters(), block.group_matcher(coarse=True))  # type: ignore[operator]
        for number, names in groups.items():
            stages[number] += [block.get_parameter(name) for name in names]
    return [stages[stage] for stage in sorted(stages) if stages[stage]]
