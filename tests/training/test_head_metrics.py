import numpy as np
import pytest
import torch

from fitwell.evaluation.metrics import METRICS, ORDERED_METRICS, all_metrics, softmax
from fitwell.evaluation.multi_label import RANKING_METRICS, ranking_metrics, sigmoid
from fitwell.training.head_metrics import metric_of_heads


def stack_of_logits(num_heads=6, num_classes=4, num_images=80, seed=0):
    """Logits on a coarse grid, so that scores tie; head 1 is sure enough to saturate."""
    random = np.random.default_rng(seed)
    logits = np.round(random.normal(size=(num_heads, num_classes, num_images)) * 2).astype(np.float32) / 2
    logits[1] *= 100
    return logits


@pytest.mark.parametrize("metric", METRICS + ORDERED_METRICS)
@pytest.mark.parametrize("num_classes", [2, 4])
@pytest.mark.parametrize("empty_class", [False, True])
def test_many_heads_get_the_numbers_of_one(metric, num_classes, empty_class):
    logits = stack_of_logits(num_classes=num_classes)
    labels = np.random.default_rng(1).integers(num_classes - empty_class, size=logits.shape[2])
    found = metric_of_heads(metric, torch.from_numpy(logits), torch.from_numpy(labels))
    expected = [all_metrics(softmax(each.T), labels, ordered=True)[metric] for each in logits]
    expected = [np.nan if value is None else value for value in expected]
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-12)


@pytest.mark.parametrize("metric", METRICS + ORDERED_METRICS)
@pytest.mark.parametrize("broken", [np.nan, np.inf])
def test_a_head_with_a_broken_logit_has_no_metric_and_spoils_no_other(metric, broken):
    logits = stack_of_logits()
    labels = torch.from_numpy(np.random.default_rng(1).integers(4, size=logits.shape[2]))
    whole = metric_of_heads(metric, torch.from_numpy(logits), labels)
    logits[2, 3, 5] = broken
    found = metric_of_heads(metric, torch.from_numpy(logits), labels)
    assert found.isnan().tolist() == [False, False, True, False, False, False]
    assert found[[0, 1, 3, 4, 5]].tolist() == whole[[0, 1, 3, 4, 5]].tolist()


@pytest.mark.parametrize("metric", RANKING_METRICS)
@pytest.mark.parametrize("empty_class", [False, True])
def test_many_heads_of_several_classes_get_the_numbers_of_one(metric, empty_class):
    logits = stack_of_logits()
    targets = np.random.default_rng(1).random((80, 4)) < (0.5, 0.3, 0.2, 0.0 if empty_class else 0.1)
    found = metric_of_heads(metric, torch.from_numpy(logits), torch.from_numpy(targets))
    expected = [ranking_metrics(sigmoid(each.T), targets)[metric] for each in logits]
    expected = [np.nan if value is None else value for value in expected]
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-12)
