import numpy as np
import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight

from fitwell.training.loss import balanced_class_weights, weighted_cross_entropy


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
