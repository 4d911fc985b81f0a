import pytest
import torch
from timm.optim import NAdamW
from torch import nn

from fitwell.model.freeze import set_trainable
from fitwell.model.network import Network, build_network, create_backbone
from fitwell.recipe.phase import Last
from fitwell.recipe.schema import Head, Optimizer
from fitwell.training.optimizer import (
    FusedAdamW,
    build_optimizer,
    clip_gradients,
    give_moments,
    moments_of,
    set_learning_rate,
    trained_parameters,
)


def network():
    net = build_network(create_backbone("test_efficientnet"), 2, Head(dropout=0.0))
    set_trainable(net, Last(last=2))  # a convolution and its norm
    return net


def test_biases_and_norms_are_not_decayed_and_frozen_weights_are_not_there():
    net = network()
    groups = build_optimizer(net, Optimizer(weight_decay=0.05)).param_groups
    found = [(group["part"], group["weight_decay"], [p.ndim for p in group["params"]]) for group in groups]
    assert found == [("head", 0.05, [2]), ("head", 0.0, [1]), ("backbone", 0.05, [4]), ("backbone", 0.0, [1, 1])]


def test_without_decay_there_is_one_group_for_each_part():
    groups = build_optimizer(network(), Optimizer(weight_decay=0.0)).param_groups
    assert [(group["part"], len(group["params"])) for group in groups] == [("head", 2), ("backbone", 3)]


def test_every_group_gets_the_rate():
    optimizer = build_optimizer(network(), Optimizer())
    assert set_learning_rate(optimizer, 0.01) == {"head": 0.01, "backbone": 0.01}
    assert {group["lr"] for group in optimizer.param_groups} == {0.01}


def test_the_head_can_have_a_rate_of_its_own():
    optimizer = build_optimizer(network(), Optimizer())
    assert set_learning_rate(optimizer, 0.01, head_factor=3) == {"head": 0.03, "backbone": 0.01}
    assert [group["lr"] for group in optimizer.param_groups if group["part"] == "head"] == [0.03, 0.03]
    assert [group["lr"] for group in optimizer.param_groups if group["part"] == "backbone"] == [0.01, 0.01]


def test_each_stage_learns_so_many_times_as_fast_as_what_follows_it():
    net = build_network(create_backbone("resnet18"), 2, Head())
    set_trainable(net, "all")
    optimizer = build_optimizer(net, Optimizer(layer_decay=0.5))
    assert set_learning_rate(optimizer, 1.0, head_factor=10) == {"head": 10.0, "backbone": 0.5}
    names = {id(parameter): name for name, parameter in net.named_parameters()}
    rates = {names[id(parameter)]: group["lr"] for group in optimizer.param_groups for parameter in group["params"]}
    assert rates["backbone.stage4_0.conv1.weight"] == rates["backbone.stage4_1.bn2.bias"] == 0.5
    assert rates["backbone.stage3_0.conv1.weight"] == 0.25
    assert rates["backbone.conv1.weight"] == rates["backbone.bn1.weight"] == 0.5**5
    assert len(rates) == len(list(net.parameters()))


def one_step(settings, gradient=(0.5, -2.0), steps=3):
    module = Network([], nn.Sequential(nn.Linear(2, 1, bias=False)))
    nn.init.ones_(module.head[0].weight)
    optimizer = build_optimizer(module, settings)
    set_learning_rate(optimizer, 0.1)
    for _ in range(steps):
        module.head[0].weight.grad = torch.tensor([gradient])
        optimizer.step()
    return module.head[0].weight.detach()[0]


def test_adamw_without_decay_is_torchs_adam():
    # The plants, X-ray and screening teams take Adam.
    weight = nn.Parameter(torch.ones(2))
    adam = torch.optim.Adam([weight], lr=0.1)
    for _ in range(3):
        weight.grad = torch.tensor([0.5, -2.0])
        adam.step()
    torch.testing.assert_close(one_step(Optimizer(weight_decay=0.0)), weight.detach())


def test_adamw_is_torchs_fused_one_bit_for_bit():
    net, twin = network(), network()
    twin.load_state_dict(net.state_dict())
    groups = build_optimizer(twin, Optimizer(weight_decay=0.05)).param_groups
    plain = ({"params": group["params"], "weight_decay": group["weight_decay"]} for group in groups)
    torchs, ours = torch.optim.AdamW(list(plain), lr=0.01, fused=True), build_optimizer(net, Optimizer())
    set_learning_rate(ours, 0.01)
    for step in range(3):
        for optimizer in (ours, torchs):
            torch.manual_seed(step)
            for parameter in trained_parameters(optimizer):
                parameter.grad = torch.randn_like(parameter)
            optimizer.step()
    assert isinstance(ours, FusedAdamW)
    for weight, torchs_weight in zip(net.parameters(), twin.parameters(), strict=True):
        assert torch.equal(weight, torchs_weight)


def test_adamw_leaves_what_has_no_gradient_as_it_is():
    moved, unused = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2))
    optimizer = FusedAdamW([{"params": [moved, unused]}, {"params": [nn.Parameter(torch.ones(1))]}])
    optimizer.param_groups[0]["lr"] = 0.1
    moved.grad = torch.ones(2)
    optimizer.step()
    assert moved.tolist() == pytest.approx([0.9 - 0.1 * 0.01] * 2)
    assert unused.tolist() == [1.0, 1.0]
    assert list(optimizer.state) == [moved]


def test_sgd_is_nesterovs():
    # v = 0.9 v + g; w -= 0.1 (g + 0.9 v): for g = 0.5 the three steps are 0.1 * (0.95, 1.355, 1.7195).
    found = one_step(Optimizer(kind="sgd", momentum=0.9, weight_decay=0.0))
    assert float(found[0]) == pytest.approx(1 - 0.1 * (0.95 + 1.355 + 1.7195))


def test_lion_steps_by_the_sign_alone():
    found = one_step(Optimizer(kind="lion", weight_decay=0.0))
    assert found.tolist() == pytest.approx([1 - 3 * 0.1, 1 + 3 * 0.1])


def test_muon_moves_a_kernel_by_the_nearest_orthogonal_matrix_and_the_head_as_nadamw():
    torch.manual_seed(0)
    net = network()
    (kernel,) = (each for each in net.backbone.parameters() if each.requires_grad and each.ndim == 4)
    weights = net.head[-1].weight
    for parameter in (kernel, weights):
        parameter.grad = torch.randn_like(parameter)
    left, _, right = torch.linalg.svd(kernel.grad.flatten(1), full_matrices=False)
    size = 0.2 * max(left.shape[0], right.shape[1]) ** 0.5  # Liu et al. 2025, eq. 4
    moved = kernel.detach().flatten(1) * (1 - 0.01 * 0.05) - 0.01 * size * left @ right
    twin = nn.Parameter(weights.detach().clone())
    twin.grad = weights.grad.clone()
    nadamw = NAdamW([twin], lr=0.01, betas=(0.9, 0.95), eps=1e-7, weight_decay=0.05)
    optimizer = build_optimizer(net, Optimizer(kind="muon"))
    set_learning_rate(optimizer, 0.01)
    optimizer.step()
    nadamw.step()
    torch.testing.assert_close(kernel.flatten(1), moved, rtol=0, atol=3e-4)  # steps are 0.002; iterated in bfloat16
    torch.testing.assert_close(weights, twin)


@pytest.mark.parametrize("kind", ["adamw", "sgd", "lion", "muon"])
def test_an_optimizer_goes_on_with_what_another_remembers(kind):
    def moved(net, optimizer):
        for parameter in net.parameters():
            if parameter.requires_grad:
                parameter.grad = torch.full_like(parameter, 0.3)
        set_learning_rate(optimizer, 0.01)
        optimizer.step()

    torch.manual_seed(0)
    net, settings = network(), Optimizer(kind=kind)
    twin = network()
    twin.load_state_dict(net.state_dict())
    first, other = build_optimizer(net, settings), build_optimizer(twin, settings)
    for _ in range(2):
        moved(net, first)
    moved(twin, other)
    second = build_optimizer(twin, settings)
    give_moments(second, twin, moments_of(other, twin))
    moved(twin, second)
    for ours, theirs in zip(net.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=0)


def test_what_starts_to_train_later_begins_without_a_memory():
    net = network()
    optimizer = build_optimizer(net, Optimizer())
    for parameter in net.parameters():
        if parameter.requires_grad:
            parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    moments = moments_of(optimizer, net)
    set_trainable(net, Last(last=4))
    later = build_optimizer(net, Optimizer())
    give_moments(later, net, moments)
    assert moments_of(later, net).keys() == moments.keys()
    assert sum(len(group["params"]) for group in later.param_groups) > len(moments)


@pytest.mark.parametrize(("clip_norm", "expected"), [(1.0, [0.6, 0.8]), (None, [3.0, 4.0]), (10.0, [3.0, 4.0])])
def test_gradients_are_scaled_to_the_norm_and_their_norm_before_is_told(clip_norm, expected):
    module = nn.Linear(2, 1, bias=False)
    module.weight.grad = torch.tensor([[3.0, 4.0]])
    norm = clip_gradients([module.weight], Optimizer(clip_norm=clip_norm))
    assert float(norm) == pytest.approx(5.0)
    assert module.weight.grad[0].tolist() == pytest.approx(expected, rel=1e-5)


def with_gradients(sizes):
    torch.manual_seed(0)
    weights = [nn.Parameter(torch.zeros(2, 3)) for _ in sizes]
    for weight, size in zip(weights, sizes, strict=True):
        weight.grad = size * nn.functional.normalize(torch.randn(6), dim=0).view(2, 3)
    return weights


def test_all_gradients_together_are_clipped_as_torch_does():
    ours, torchs = with_gradients([0.5, 3.0, 4.0]), with_gradients([0.5, 3.0, 4.0])
    told = clip_gradients(ours, Optimizer(clip_norm=1.0))
    torch.testing.assert_close(told, nn.utils.clip_grad_norm_(torchs, 1.0))
    torch.testing.assert_close([weight.grad for weight in ours], [weight.grad for weight in torchs])


def test_each_gradient_is_clipped_by_itself_as_by_keras_clipnorm():
    # keras.optimizers: values * clipnorm / max(norm, clipnorm), for each variable.
    ours = with_gradients([0.5, 3.0, 0.0])
    expected = [each.grad * 1.0 / max(float(each.grad.norm()), 1.0) for each in ours]
    told = clip_gradients(ours, Optimizer(clip_norm=1.0, clip_each=True))
    assert float(told) == pytest.approx(9.25**0.5)
    torch.testing.assert_close([weight.grad for weight in ours], expected)
