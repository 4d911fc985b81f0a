"""The loss beside PyTorch's, torchvision's and numbers worked by hand."""

import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F
from torchvision.ops import sigmoid_focal_loss

from fitwell.recipe.schema import Loss
from fitwell.training.loss import Targets, batch_loss, class_losses, count_right, image_losses, targets_of
from fitwell.training.mixing import Mix

PLAIN = Loss(label_smoothing=0.0)


def test_the_loss_is_the_hand_worked_mean():
    logits = torch.log(torch.tensor([[0.5, 0.5], [0.9, 0.1]]))
    loss = batch_loss(logits, Targets(torch.tensor([0, 1]), torch.tensor([1.0, 3.0])), PLAIN, 2)
    assert float(loss) == pytest.approx((np.log(2) + 3 * np.log(10)) / 2)


def test_smoothing_spreads_its_share_over_all_classes():
    logits = torch.log(torch.tensor([[0.7, 0.2, 0.1]]))
    loss = batch_loss(logits, Targets(torch.tensor([0]), torch.ones(1)), Loss(label_smoothing=0.3), 1)
    target = np.array([0.7 + 0.1, 0.1, 0.1])
    assert float(loss) == pytest.approx(-(target * np.log([0.7, 0.2, 0.1])).sum())


@pytest.mark.parametrize("label_smoothing", [0.0, 0.1])
def test_the_loss_of_a_blend_is_the_cross_entropy_with_the_blended_target(label_smoothing: float):
    torch.manual_seed(0)
    logits, labels, weights = torch.randn(4, 3), torch.tensor([0, 2, 1, 1]), torch.ones(4)
    mix = Mix(0.7, torch.tensor([2, 0, 3, 1]))
    target = mix.blend(F.one_hot(labels, 3).float())
    expected = F.cross_entropy(logits, target, label_smoothing=label_smoothing)
    found = batch_loss(logits, targets_of(labels, weights, mix), Loss(label_smoothing=label_smoothing), 4)
    torch.testing.assert_close(found, expected)


def test_each_image_brings_its_own_weight_into_a_blend():
    logits, labels, weights = torch.zeros(2, 2), torch.tensor([0, 1]), torch.tensor([3.0, 0.0])
    mix = Mix(0.75, torch.tensor([1, 0]))
    # ln 2 for every label: (0.75 * (3 + 0) + 0.25 * (0 + 3)) / 2
    assert float(batch_loss(logits, targets_of(labels, weights, mix), PLAIN, 2)) == pytest.approx(1.5 * math.log(2))


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 1.5, 2.0, 5.0])
def test_focal_loss_equals_a_float64_reference(gamma: float):
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(scale=4, size=(200, 5)), rng.integers(5, size=200)
    probs = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    right = probs[np.arange(200), labels]
    found = image_losses(
        torch.from_numpy(logits),
        torch.from_numpy(labels),
        Loss(kind="focal", focal_gamma=gamma, label_smoothing=0.0),
    )
    np.testing.assert_allclose(found, -((1 - right) ** gamma) * np.log(right), rtol=2e-5, atol=1e-7)


def test_ordinal_loss_expects_neighbours_by_their_distance():
    # Five grades, sharpness 2, the right one is 1: shares exp(-2 n^2) for n = 1, 0, 1, 2, 3 steps.
    shares = np.exp([-2.0, 0.0, -2.0, -8.0, -18.0])
    expected = shares / shares.sum()
    logits = np.random.default_rng(0).normal(scale=3, size=5)
    log_probs = logits - np.log(np.exp(logits).sum())
    settings = Loss(kind="ordinal", label_smoothing=0.0)
    found = image_losses(torch.from_numpy(logits)[None], torch.tensor([1]), settings)
    assert float(found) == pytest.approx(-(expected * log_probs).sum(), rel=1e-5)
    smoothed = image_losses(
        torch.from_numpy(logits)[None], torch.tensor([1]), Loss(kind="ordinal", label_smoothing=0.1)
    )
    assert float(smoothed) == pytest.approx(-((0.9 * expected + 0.02) * log_probs).sum(), rel=1e-5)


def test_a_sharp_ordinal_loss_is_cross_entropy():
    torch.manual_seed(0)
    logits, labels = torch.randn(20, 4), torch.randint(4, (20,))
    found = image_losses(logits, labels, Loss(kind="ordinal", ordinal_sharpness=200, label_smoothing=0.1))
    torch.testing.assert_close(found, F.cross_entropy(logits, labels, reduction="none", label_smoothing=0.1))


@pytest.mark.parametrize(("gamma", "alpha"), [(1.5, 0.75), (1.0, 0.85), (2.0, 0.25)])
def test_focal_loss_of_two_classes_with_alpha_as_class_weights_equals_torchvisions(gamma: float, alpha: float):
    # The screening team's gamma and alpha. Softmax over (0, z) is the sigmoid of z.
    torch.manual_seed(0)
    z, labels = 3 * torch.randn(64), (torch.rand(64) < 0.2).long()
    expected = sigmoid_focal_loss(z, labels.float(), alpha=alpha, gamma=gamma, reduction="mean")
    settings = Loss(kind="focal", focal_gamma=gamma, label_smoothing=0.0)
    weights = torch.tensor([1 - alpha, alpha])[labels]
    found = batch_loss(torch.stack([torch.zeros(64), z], dim=1), Targets(labels, weights), settings, 64)
    torch.testing.assert_close(found, expected)


def test_class_weighted_loss_of_two_classes_equals_weighted_binary_cross_entropy():
    # The screening team's fallback: class weights 1 : 8 with plain cross-entropy.
    torch.manual_seed(0)
    z, labels = torch.randn(64), (torch.rand(64) < 0.2).long()
    expected = F.binary_cross_entropy_with_logits(z, labels.float(), pos_weight=torch.tensor(8.0))
    weights = torch.tensor([1.0, 8.0])[labels]
    found = batch_loss(torch.stack([torch.zeros(64), z], dim=1), Targets(labels, weights), PLAIN, 64)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("gamma", [0.0, 0.3, 2.0])
def test_an_answer_that_is_sure_and_right_leaves_the_gradient_finite(gamma: float):
    logits = torch.tensor([[80.0, 0.0]], requires_grad=True)
    settings = Loss(kind="focal", focal_gamma=gamma, label_smoothing=0.1)
    batch_loss(logits, Targets(torch.tensor([0]), torch.ones(1)), settings, 1).backward()
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()


def test_the_losses_of_parts_add_up_to_that_of_the_batch():
    torch.manual_seed(0)
    logits, labels, weights = torch.randn(5, 3), torch.tensor([0, 2, 1, 1, 0]), torch.rand(5)
    targets = targets_of(labels, weights, Mix(0.7, torch.tensor([2, 0, 3, 1, 4])))
    whole = batch_loss(logits, targets, PLAIN, 5)
    parts = [
        batch_loss(logits[start:end], targets.part(start, end), PLAIN, 5) for start, end in ((0, 2), (2, 4), (4, 6))
    ]
    torch.testing.assert_close(sum(parts), whole)


def several(num_images=64, num_classes=5, seed=0):
    torch.manual_seed(seed)
    return 3 * torch.randn(num_images, num_classes), torch.rand(num_images, num_classes) < 0.3


def test_the_loss_of_several_classes_is_torchs_mean_binary_cross_entropy():
    logits, labels = several()
    found = batch_loss(logits, Targets(labels, torch.ones(64, 5)), PLAIN, 64)
    torch.testing.assert_close(found, F.binary_cross_entropy_with_logits(logits, labels.float()))


def test_weights_of_several_classes_are_torchs_positive_weights():
    logits, labels = several()
    positive = torch.tensor([1.0, 2.0, 8.0, 0.5, 3.0])
    found = batch_loss(logits, Targets(labels, torch.where(labels, positive, 1.0)), PLAIN, 64)
    expected = F.binary_cross_entropy_with_logits(logits, labels.float(), pos_weight=positive)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("gamma", [0.0, 1.5, 2.0])
def test_the_focal_loss_of_several_classes_is_torchvisions(gamma: float):
    logits, labels = several()
    settings = Loss(kind="focal", focal_gamma=gamma, label_smoothing=0.0)
    found = batch_loss(logits, Targets(labels, torch.ones(64, 5)), settings, 64)
    torch.testing.assert_close(
        found, sigmoid_focal_loss(logits, labels.float(), alpha=-1, gamma=gamma, reduction="mean")
    )


def test_smoothing_of_several_classes_takes_half_of_its_share_from_each_target():
    logits, labels = several()
    target = torch.where(labels, 0.85, 0.15)
    found = class_losses(logits, labels, Loss(label_smoothing=0.3)).sum(dim=1)
    torch.testing.assert_close(found, F.binary_cross_entropy_with_logits(logits, target, reduction="none").mean(dim=1))


def test_the_loss_of_a_blend_of_several_classes_is_that_of_the_blended_target():
    logits, labels = several(num_images=4)
    mix = Mix(0.7, torch.tensor([2, 0, 3, 1]))
    expected = F.binary_cross_entropy_with_logits(logits, mix.blend(labels.float()))
    torch.testing.assert_close(batch_loss(logits, targets_of(labels, torch.ones(4, 5), mix), PLAIN, 4), expected)


def test_the_losses_of_parts_add_up_for_several_classes_too():
    logits, labels = several(num_images=5)
    targets = targets_of(labels, torch.rand(5, 5), Mix(0.7, torch.tensor([2, 0, 3, 1, 4])))
    parts = [batch_loss(logits[start:end], targets.part(start, end), PLAIN, 5) for start, end in ((0, 2), (2, 5))]
    torch.testing.assert_close(sum(parts), batch_loss(logits, targets, PLAIN, 5))


def test_an_image_of_several_classes_is_recognised_when_each_is():
    logits = torch.tensor([[2.0, -1.0], [2.0, 1.0], [-1.0, -1.0]])
    labels = torch.tensor([[True, False], [True, False], [False, False]])
    assert int(count_right(logits, labels)) == 2
    assert int(count_right(logits, torch.tensor([0, 1, 0]))) == 2
