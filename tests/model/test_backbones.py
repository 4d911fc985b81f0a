import timm

from fitwell.model.backbones import published_backbones
from fitwell.model.network import create_backbone, input_size_of


def test_every_entry_is_a_timm_model_under_its_default_weights_at_its_own_size():
    for name, published in published_backbones().items():
        assert timm.get_pretrained_cfg(name).tag == published.weights
        assert input_size_of(name) == published.size


def test_the_parameters_are_those_that_timm_counts():
    for name in ("tf_efficientnet_lite0", "resnet18"):
        classifier = create_backbone(name).num_features * 1000 + 1000
        found = sum(each.numel() for each in create_backbone(name).parameters()) + classifier
        assert round(found / 1e6, 2) == published_backbones()[name].params


def test_the_best_top1_comes_first():
    top1 = [published.top1 for published in published_backbones().values()]
    assert top1 == sorted(top1, reverse=True)
    assert published_backbones()["tf_efficientnet_lite2"].top1 == 77.464
