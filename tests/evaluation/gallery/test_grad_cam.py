import pytest
import timm
import torch
from captum.attr import LayerGradCam
from timm.models.mlp_mixer import MlpMixer
from timm.models.swin_transformer import SwinTransformer
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from fitwell.evaluation.gallery.grad_cam import grad_cam, weigh_maps
from fitwell.model.network import Block, Network, build_network, create_backbone
from fitwell.recipe.schema import Head

NUM_CLASSES = 3
WANTED = torch.tensor([[0, 2], [1, 0]])


def network_of(backbone):
    torch.manual_seed(0)
    network = build_network(backbone, NUM_CLASSES, Head()).eval()
    for layer in network.modules():  # without training every map is alike
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.uniform_(layer.weight, 0.5, 1.5)
            nn.init.uniform_(layer.bias, -0.5, 0.5)
    return network.requires_grad_(False)


def pictures(size):
    return torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(1))


def by_captum(network, layer, images):
    """The heat maps (B, T, h, w) of `layer`, whose output is maps."""
    network.requires_grad_(True)
    reference = LayerGradCam(network, layer)
    maps = [reference.attribute(images, numbers, relu_attributions=True) for numbers in WANTED.T]
    return torch.cat(maps, dim=1).detach()


def test_a_map_counts_by_the_mean_of_its_gradient_and_what_is_negative_is_nothing():
    maps = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]], [[1.0, 0.0], [0.0, 5.0]]]])
    gradients = torch.tensor([[[[4.0, 0.0], [0.0, 0.0]], [[0.0, -8.0], [0.0, 0.0]]]])  # means 1 and -2
    assert weigh_maps(maps, gradients).tolist() == [[[0.0, 2.0], [3.0, 0.0]]]


@pytest.mark.parametrize(
    ("name", "size", "layer"),
    [
        ("small_resnet", 96, lambda backbone: backbone.stage4),
        ("small_squeezenet", 96, lambda backbone: backbone.stage4),
        ("test_efficientnet", 160, lambda backbone: backbone.bn2),
        ("test_resnet", 160, lambda backbone: backbone.stage4_0),
        ("test_convnext", 160, lambda backbone: backbone.body.norm_pre),
        ("test_nfnet", 160, lambda backbone: backbone.body.final_act),
    ],
)
def test_of_a_cnn_the_heat_maps_are_those_of_captum_for_its_last_maps(name, size, layer):
    network, images = network_of(create_backbone(name)), pictures(size)
    heats, logits = grad_cam(network, images, WANTED)
    torch.testing.assert_close(logits, network(images))
    assert heats.amax() > 0
    torch.testing.assert_close(heats, by_captum(network, layer(network.backbone), images), rtol=1e-4, atol=1e-7)


def test_maps_whose_channels_come_last_are_turned():
    swin = SwinTransformer(
        img_size=32, patch_size=4, window_size=4, embed_dim=8, depths=(1, 1), num_heads=(1, 2), num_classes=0
    )
    network, images = network_of(swin), pictures(32)
    heats, _ = grad_cam(network, images, WANTED)
    body = network.backbone.body
    features = body.forward_features(images).requires_grad_()  # (2, 4, 4, 16)
    scores = network.head(body.forward_head(features)).gather(1, WANTED[:, :1]).sum()
    (gradient,) = torch.autograd.grad(scores, features)
    expected = (features * gradient.mean(dim=(1, 2), keepdim=True)).sum(dim=3).relu()
    torch.testing.assert_close(heats[:, 0], expected)


def transformer(**changes):
    settings = {"img_size": 32, "patch_size": 8, "embed_dim": 16, "depth": 1, "num_heads": 2, "num_classes": 0}
    return VisionTransformer(**{**settings, **changes})


@pytest.mark.parametrize("pooling", ["token", "avg"])
def test_of_a_transformer_the_heat_maps_are_of_the_patches_that_enter_its_last_block(pooling):
    network, images = network_of(transformer(global_pool=pooling)), pictures(32)
    body = network.backbone.body
    nn.init.zeros_(body.pos_embed)  # then the patches that enter the only block are those of the convolution
    nn.init.normal_(body.cls_token) if body.cls_token is not None else None
    heats, _ = grad_cam(network, images, WANTED)
    assert heats.shape == (2, 2, 4, 4)
    assert heats.amax() > 0
    torch.testing.assert_close(heats, by_captum(network, body.patch_embed.proj, images), rtol=1e-4, atol=1e-7)


def test_of_timms_transformer_the_heat_maps_follow_from_its_last_block_and_what_is_behind():
    network, images = network_of(create_backbone("test_vit")), pictures(160)
    heats, _ = grad_cam(network, images, WANTED)
    body = network.backbone.body
    tokens = body.norm_pre(body.patch_drop(body._pos_embed(body.patch_embed(images))))
    tokens = body.blocks[:-1](tokens).requires_grad_()
    scores = network.head(body.forward_head(body.norm(body.blocks[-1](tokens)))).gather(1, WANTED[:, 1:]).sum()
    (gradient,) = torch.autograd.grad(scores, tokens)
    expected = (tokens[:, 1:] @ gradient[:, 1:].mean(dim=1)[..., None]).relu()
    torch.testing.assert_close(heats[:, 1], expected.reshape(2, 10, 10))


def test_the_heat_map_is_brightest_in_the_corner_that_holds_the_evidence():
    red_finder = nn.Conv2d(3, 1, kernel_size=8, stride=8, bias=False)
    with torch.no_grad():
        red_finder.weight.copy_(torch.tensor([1.0, -1.0, -1.0]).view(1, 3, 1, 1).expand(1, 3, 8, 8))
    head = nn.Sequential(nn.Linear(1, 2, bias=False))
    with torch.no_grad():
        head[0].weight.copy_(torch.tensor([[1.0], [-1.0]]))
    blocks = [Block("find", red_finder, 0), Block("pool", nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()), 0)]
    images = torch.full((1, 3, 32, 32), 0.5)
    images[0, :, 24:, :8] = torch.tensor([1.0, 0.0, 0.0]).view(3, 1, 1)  # below, on the left
    heats, logits = grad_cam(Network(blocks, head), images, torch.tensor([[0, 1]]))
    assert heats[0, 0].flatten().argmax() == 3 * 4 + 0
    assert heats[0, 0].count_nonzero() == 1
    assert heats[0, 1].count_nonzero() == 15  # what is not red speaks for the other class
    assert logits.shape == (1, 2)


def test_the_pictures_of_a_batch_do_not_touch_one_another():
    network, images = network_of(create_backbone("small_mobilenet")), pictures(96)
    together, _ = grad_cam(network, images, WANTED)
    alone, _ = grad_cam(network, images[1:], WANTED[1:])
    torch.testing.assert_close(together[1:], alone)


def test_of_small_pictures_the_last_map_of_more_than_one_cell_is_taken():
    network = network_of(create_backbone("test_resnet"))
    assert network.backbone(pictures(32)).shape == (2, 96)
    assert [block.shape[-1] for block in outputs(network, pictures(32)) if block.ndim == 4][-1] == 1
    heats, _ = grad_cam(network, pictures(32), WANTED)
    assert heats.shape == (2, 2, 2, 2)


def outputs(network, values):
    for block in network.backbone:
        values = block(values)
        yield values


@pytest.mark.parametrize(
    "backbone",
    [
        pytest.param(lambda: MlpMixer(img_size=32, patch_size=8, num_blocks=1, embed_dim=8, num_classes=0), id="mixer"),
        pytest.param(lambda: timm.create_model("cait_xxs24_224", depth=1, num_classes=0), id="class token apart"),
        pytest.param(lambda: create_backbone("test_convnext"), id="one cell"),
    ],
)
def test_a_backbone_without_a_known_map_has_no_heat_map(backbone):
    network = network_of(backbone())
    size = 224 if hasattr(network.backbone.body, "blocks_token_only") else 32
    assert grad_cam(network, pictures(size), WANTED) is None
