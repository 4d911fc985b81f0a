"""The network: an ordered chain of backbone blocks, then a head.

Freezing, and caching what flows out of the frozen part, are then plain slicing. Backbones of families without
a known chain become a chain of one block: they train the same way, but only the head phase can be cached.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

import timm
import torch
from timm.models.efficientnet import EfficientNet
from timm.models.resnet import ResNet
from torch import Tensor, nn

from fitwell.errors import RecipeError, UsageError
from fitwell.model.head import build_head
from fitwell.model.small_nets import SMALL_NETS, SMALL_SIZE, SmallNet
from fitwell.recipe.schema import Head


@dataclass(frozen=True)
class Block:
    """One link of the chain."""

    name: str
    module: nn.Module
    stage: int  # -1 where the family's stages are not known


class Network(nn.Module):
    """Images (B, 3, H, W) float32 to logits (B, C).

    Args:
        blocks: the backbone in forward order; the last one gives (B, D).
        head: (B, D) to (B, C).
    """

    def __init__(self, blocks: list[Block], head: nn.Sequential) -> None:
        super().__init__()
        self.backbone = nn.Sequential()
        for block in blocks:
            self.backbone.add_module(block.name, block.module)
        self.head = head
        self.stages = tuple(block.stage for block in blocks)
        self.updates_statistics = True

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (B, C) for images (B, 3, H, W)."""
        logits: Tensor = self.head(self.backbone(images))
        return logits

    def train(self, mode: bool = True) -> Self:
        """Switch to training, but leave what is frozen as it is at evaluation.

        A frozen BatchNorm in training mode would go on changing its statistics, and a frozen block's dropout
        would make its output differ from the cached one. Without `updates_statistics` no BatchNorm changes its own.
        """
        super().train(mode)
        for block in self.backbone:
            if not _trains(block):
                block.eval()
            for layer in leaf_layers(block):
                is_norm = isinstance(layer, nn.modules.batchnorm._BatchNorm)
                if not _trains(layer) or (is_norm and not self.updates_statistics):
                    layer.eval()
        return self

    def boundary(self) -> int:
        """Return how many leading blocks hold nothing that trains."""
        blocks = list(self.backbone)
        trainable = [index for index, block in enumerate(blocks) if _trains(block)]
        return trainable[0] if trainable else len(blocks)

    def prefix(self, boundary: int) -> nn.Sequential:
        """Return the first `boundary` blocks as one module that shares their weights."""
        return self.between(0, boundary)

    def between(self, start: int, end: int) -> nn.Sequential:
        """Return the blocks from `start` up to, not including, `end`; empty when they are equal."""
        return nn.Sequential(*list(self.backbone)[start:end])

    def tail(self, boundary: int) -> nn.Sequential:
        """Return what follows the first `boundary` blocks, head included, sharing the weights."""
        return nn.Sequential(*list(self.backbone)[boundary:], self.head)


def learns_statistics(network: Network) -> bool:
    """Return whether a BatchNorm of `network`, in training mode, changes its statistics: one image has none."""
    mode = network.training
    network.train()
    norms = [layer for layer in network.modules() if isinstance(layer, nn.modules.batchnorm._BatchNorm)]
    learns = any(norm.training for norm in norms)
    network.train(mode)
    return learns


def leaf_layers(module: nn.Module) -> Iterator[nn.Module]:
    """Yield the layers in `module` that own parameters themselves, in forward order."""
    for layer in module.modules():
        if next(layer.parameters(recurse=False), None) is not None:
            yield layer


def build_network(backbone: nn.Module, num_classes: int, head: Head) -> Network:
    """Join a timm `backbone` without classifier, as `create_backbone` gives it, and a new `head`."""
    # timm's num_features are those before layers that some families, as VGG, have between pooling and classifier.
    num_features = int(getattr(backbone, "head_hidden_size", backbone.num_features))  # type: ignore[arg-type]
    return Network(_chain(backbone), build_head(head, num_features, num_classes))


def create_backbone(name: str, *, pretrained: bool = False) -> nn.Module:
    """Return the timm model or small net `name` without a classifier: images (B, 3, H, W) to pooled features (B, D).

    Raises:
        UsageError: when there is no such model; names the nearest ones.
    """
    if name in SMALL_NETS and not pretrained:
        return SMALL_NETS[name]()
    _require_model(name)
    backbone: nn.Module = timm.create_model(name, pretrained=pretrained, num_classes=0)
    return backbone


def _require_model(name: str) -> None:
    if not timm.is_model(name):
        nearest = difflib.get_close_matches(name, [*SMALL_NETS, *timm.list_models()], n=3)
        raise UsageError(
            found=f"model.backbone is {name!r}, which timm {timm.__version__} does not have.",
            expected="the name of a timm model or a small net"
            + (f", such as {', '.join(nearest)}." if nearest else "."),
            fix="set model.backbone to one of these names, or to auto.",
        )


@dataclass(frozen=True)
class Normalisation:
    """What the backbone's pretraining did to pixels in [0, 1]."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    interpolation: str


def input_size_of(name: str) -> int:
    """Return the side in pixels of the images that the timm model `name` was pretrained on."""
    return int(_pretraining(name).input_size[-1])


def normalisation(name: str) -> Normalisation:
    """Return the pixel statistics and interpolation that the timm model `name` was pretrained with."""
    settings = _pretraining(name)
    mean, std = tuple(settings.mean), tuple(settings.std)
    if len(mean) != 3 or len(std) != 3:
        raise UsageError(
            found=f"model.backbone {name} reads {len(mean)} colour channels.",
            expected="a backbone that reads the three channels of an RGB image.",
            fix="choose another backbone.",
        )
    return Normalisation(mean, std, settings.interpolation)


def hub_repository(name: str) -> str | None:
    """Return the hub's repository of the weights of the timm model `name`; None where it has none.

    Raises:
        UsageError: when timm has no such model; names the nearest ones.
    """
    _require_model(name)
    return _pretraining(name).hf_hub_id or None


def _pretraining(name: str) -> timm.models.PretrainedCfg:
    if name in SMALL_NETS:
        return timm.models.PretrainedCfg(input_size=(3, SMALL_SIZE, SMALL_SIZE))
    settings = timm.get_pretrained_cfg(name)
    return settings if settings is not None else timm.models.PretrainedCfg()


def _trains(module: nn.Module) -> bool:
    return any(parameter.requires_grad for parameter in module.parameters())


def _chain(backbone: nn.Module) -> list[Block]:
    if isinstance(backbone, EfficientNet):
        return _efficientnet_chain(backbone)
    if isinstance(backbone, ResNet):
        return _resnet_chain(backbone)
    if isinstance(backbone, SmallNet):
        last = len(backbone) - 2  # the pool belongs to the last stage
        return [Block(name, part, min(stage, last)) for stage, (name, part) in enumerate(backbone.named_children())]
    return [Block("body", backbone, stage=-1)]


def _efficientnet_chain(backbone: EfficientNet) -> list[Block]:
    last = len(backbone.blocks)  # the head convolution belongs to the last stage
    chain = [Block("conv_stem", backbone.conv_stem, 0), Block("bn1", backbone.bn1, 0)]
    for stage, blocks in enumerate(backbone.blocks.children(), start=1):
        chain += [Block(f"stage{stage}_{index}", block, stage) for index, block in enumerate(blocks.children())]
    chain += [Block("conv_head", backbone.conv_head, last), Block("bn2", backbone.bn2, last)]
    return [*chain, Block("pool", backbone.global_pool, last)]


def _resnet_chain(backbone: ResNet) -> list[Block]:
    chain = [Block(name, getattr(backbone, name), 0) for name in ("conv1", "bn1", "act1", "maxpool")]
    for stage in (1, 2, 3, 4):
        blocks = getattr(backbone, f"layer{stage}")
        chain += [Block(f"stage{stage}_{index}", block, stage) for index, block in enumerate(blocks)]
    return [*chain, Block("pool", backbone.global_pool, 4)]


def require_image_size(network: Network, size: int, key: str) -> None:
    """Make sure that the backbone takes pictures of `size` x `size` pixels.

    Args:
        key: the recipe key that the size comes from, for the error.

    Raises:
        RecipeError: when it does not.
    """
    network.eval()
    try:
        with torch.inference_mode():
            network.backbone(torch.zeros((1, 3, size, size), device=next(network.parameters()).device))
    except (AssertionError, RuntimeError, ValueError) as error:  # what timm's models raise
        raise RecipeError(
            found=f"{key} is {size}, and the backbone fails on pictures of that size: {error}",
            expected="a size that the backbone takes; a transformer takes only the one that it was pretrained at.",
            fix=f"leave {key} out, or choose another backbone.",
        ) from error


def count_parameters(module: nn.Module) -> tuple[int, int]:
    """Return how many parameters `module` has, and how many of them train."""
    sizes = [(parameter.numel(), parameter.requires_grad) for parameter in module.parameters()]
    return sum(size for size, _ in sizes), sum(size for size, trains in sizes if trains)
