import math

import numpy as np
import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight
from torch.nn import functional as F

from fitwell.training.loss import balanced_class_weights, mixed_loss, weighted_cross_entropy
from fitwell.training.mixing import Mix


def test_balanced_weights_equal_scikit_learns():
    labels = np.random.default_rng(0).choice(4, size=200, p=[0.6, 0.2, 0.15, 0.05])
    expected = compute_class_weight("balanced", classes=np.arange(4), y=labels)
    np.testing.assert_allclose(balanced_class_weights(labels, 4), expected, rtol=1e-12)


def test_balanced_weights_have_mean_one_over_the_images():
    labels = np.array([0, 0, 0, 1])
    np.testing.assert_allclose(balanced_class_weights(labels, 2), [4 / 6, 4 / 2])
    assert balanced_class_weights(labels, 2)[labels].mean() == 1.0


def test_the_loss_is_the_hand_worked_mean():
    logits = torch.log(torch.tensor([[0.5, 0.5], [0.9, 0.1]]))
    loss = weighted_cross_entropy(logits, torch.tensor([0, 1]), torch.tensor([1.0, 3.0]), 0.0)
    assert float(loss) == pytest.approx((np.log(2) + 3 * np.log(10)) / 2)


def test_smoothing_spreads_its_share_over_all_classes():
    logits = torch.log(torch.tensor([[0.7, 0.2, 0.1]]))
    loss = weighted_cross_entropy(logits, torch.tensor([0]), torch.ones(1), 0.3)
    target = np.array([0.7 + 0.1, 0.1, 0.1])
    assert float(loss) == pytest.approx(-(target * np.log([0.7, 0.2, 0.1])).sum())


@pytest.mark.parametrize("label_smoothing", [0.0, 0.1])
def test_the_loss_of_a_blend_is_the_cross_entropy_with_the_blended_target(label_smoothing):
    torch.manual_seed(0)
    logits, labels, weights = torch.randn(4, 3), torch.tensor([0, 2, 1, 1]), torch.ones(4)
    mix = Mix(0.7, torch.tensor([2, 0, 3, 1]))
    target = mix.blend(F.one_hot(labels, 3).float())
    expected = F.cross_entropy(logits, target, label_smoothing=label_smoothing)
    torch.testing.assert_close(mixed_loss(logits, labels, weights, label_smoothing, mix), expected)


def test_each_image_brings_its_own_weight_into_a_blend():
    logits, labels, weights = torch.zeros(2, 2), torch.tensor([0, 1]), torch.tensor([3.0, 0.0])
    mix = Mix(0.75, torch.tensor([1, 0]))
    # ln 2 for every label: (0.75 * (3 + 0) + 0.25 * (0 + 3)) / 2
    assert float(mixed_loss(logits, labels, weights, 0.0, mix)) == pytest.approx(1.5 * math.log(2))


def test_what_is_not_blended_has_the_plain_loss():
    logits, labels, weights = torch.tensor([[1.0, 2.0]]), torch.tensor([0]), torch.tensor([2.0])
    assert mixed_loss(logits, labels, weights, 0.1, None) == weighted_cross_entropy(logits, labels, weights, 0.1)
