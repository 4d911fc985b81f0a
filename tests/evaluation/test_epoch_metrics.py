import numpy as np
import pytest

from fitwell.evaluation.epoch_metrics import class_records, epoch_metrics, train_metrics
from fitwell.evaluation.metrics import METRICS, all_metrics, log_loss, recall_per_class, softmax
from fitwell.evaluation.multi_label import RANKING_METRICS, average_precisions, ranking_metrics, sigmoid

LOGITS = np.random.default_rng(0).normal(size=(40, 3))
LABELS = np.random.default_rng(1).integers(3, size=40)
TARGETS = np.random.default_rng(1).random((40, 3)) < 0.4


def test_single_classes_have_the_metrics_of_the_verdict():
    found = epoch_metrics(LOGITS, LABELS)
    assert list(found) == list(METRICS)
    assert found == all_metrics(softmax(LOGITS), LABELS)
    assert epoch_metrics(LOGITS, LABELS, ordered=True) == all_metrics(softmax(LOGITS), LABELS, ordered=True)


def test_several_classes_have_the_metrics_that_need_no_threshold():
    found = epoch_metrics(LOGITS, TARGETS)
    assert list(found) == list(RANKING_METRICS)
    assert found == ranking_metrics(sigmoid(LOGITS), TARGETS)


def test_on_train_the_share_of_recognised_images_is_told():
    assert train_metrics(LOGITS, LABELS) == {
        "loss": log_loss(softmax(LOGITS), LABELS),
        "accuracy": pytest.approx((LOGITS.argmax(axis=1) == LABELS).mean()),
    }
    found = train_metrics(LOGITS, TARGETS)
    assert found["exact_match"] == pytest.approx(((LOGITS > 0) == TARGETS).all(axis=1).mean())
    assert found["loss"] == ranking_metrics(sigmoid(LOGITS), TARGETS)["log_loss"]


def test_every_class_has_a_record():
    names = ("a", "b", "c")
    recalls = dict(zip(names, recall_per_class(softmax(LOGITS), LABELS), strict=True))
    assert class_records(LOGITS, LABELS, names) == {"val_per_class": recalls}
    precisions = dict(zip(names, average_precisions(sigmoid(LOGITS), TARGETS), strict=True))
    assert class_records(LOGITS, TARGETS, names) == {"val_average_precision": precisions}
