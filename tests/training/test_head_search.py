import math

import numpy as np
import pytest
import torch

from fitwell.errors import RunError
from fitwell.evaluation.metrics import all_metrics, softmax
from fitwell.evaluation.multi_label import ranking_metrics, sigmoid
from fitwell.training.head_search import PathSetting, default_settings, search_heads, solve_heads
from fitwell.training.head_stack import HeadData, HeadSetting

GOOD = HeadSetting(learning_rate=1e-2, weight_decay=0.1)
STILL = HeadSetting(learning_rate=0.0, weight_decay=0.0)
DIVERGES = HeadSetting(learning_rate=1e38, weight_decay=1e10)


def problem(num_train=120, num_val=60, width=6, num_views=2, dtype=torch.float32):
    """Two classes that overlap, in features of unequal scale, one of which never varies."""
    random = np.random.default_rng(0)
    labels = random.integers(2, size=num_train + num_val)
    scales, offsets = 10.0 ** np.arange(width) / 100, np.arange(width)
    features = (random.normal(size=(len(labels), width)) + 0.6 * labels[:, None]) * scales + offsets
    features[:, 0] = 7.0
    return HeadData(
        train_views=[torch.tensor(features[:num_train], dtype=dtype) for _ in range(num_views)],
        train_labels=torch.from_numpy(labels[:num_train]),
        image_weights=torch.ones(num_train),
        val_features=torch.tensor(features[num_train:], dtype=dtype),
        val_labels=torch.from_numpy(labels[num_train:]),
        num_classes=2,
    )


def search(data, settings, *, metric="log_loss", epochs=4, on_epoch=lambda epoch, value: None):
    return search_heads(data, settings, epochs=epochs, batch_size=32, metric=metric, seed=0, on_epoch=on_epoch)


def is_path(row):
    return "kind" in row


@pytest.mark.parametrize("metric", ["accuracy", "balanced_accuracy", "macro_f1", "auc", "log_loss"])
def test_every_head_reaches_its_val_value_on_the_features_as_they_came(metric):
    data = problem()
    found = search(data, (GOOD, STILL), metric=metric)
    assert len(found.table) == len(found.heads.weight) == 2 + 7 + 7
    for logits, row in zip(found.heads.logits(data.val_features), found.table, strict=True):
        expected = all_metrics(softmax(logits.T.numpy()), data.val_labels.numpy())[metric]
        assert row["val_value"] == pytest.approx(expected, abs=0.02 if metric != "log_loss" else 1e-3)


def test_the_best_comes_first_by_the_direction_of_the_metric():
    values = [row["val_value"] for row in search(problem(), (GOOD, STILL)).table]
    assert values == sorted(values)
    values = [row["val_value"] for row in search(problem(), (GOOD, STILL), metric="auc").table]
    assert values == sorted(values, reverse=True)


def test_the_planted_best_head_is_found_at_its_epoch():
    data = problem()
    flipped = HeadData(**{**vars(data), "val_labels": 1 - data.val_labels})  # whatever is learnt makes it worse
    table = search(flipped, (GOOD, STILL)).table
    assert table[0] == {**vars(STILL), "epoch": 1, "val_value": pytest.approx(math.log(2))}
    trained = next(row for row in table if row.get("learning_rate") == GOOD.learning_rate)
    assert trained["epoch"] == 1


def test_of_equals_the_earlier_wins_and_what_is_solved_for_comes_before_what_is_trained():
    data = problem()
    easy = HeadData(
        **{
            **vars(data),
            "train_views": [data.train_labels[:, None].float()],
            "val_features": data.val_labels[:, None].float(),
        }
    )
    table = search(easy, (GOOD, HeadSetting(learning_rate=2e-2, weight_decay=0.1)), metric="accuracy").table
    tied = [row for row in table if row["val_value"] == 1.0]
    assert [row["epoch"] for row in tied] == sorted(row["epoch"] for row in tied)
    assert [row["kind"] for row in tied[:-2]] == sorted((row["kind"] for row in tied[:-2]), reverse=True)
    assert [row["learning_rate"] for row in tied[-2:]] == [1e-2, 2e-2]


def test_a_head_that_diverges_comes_last_without_a_value():
    found = search(problem(), (DIVERGES, GOOD))
    assert found.table[-1] == {**vars(DIVERGES), "epoch": None, "val_value": None}
    assert len(found.heads.weight) == len(found.table) - 1
    assert found.heads.weight.isfinite().all()


def test_the_mean_of_the_best_has_the_mean_of_their_logits():
    data = problem()
    found = search(data, (GOOD,))
    weight, bias = found.mean(3)
    expected = found.heads.logits(data.val_features)[:3].mean(dim=0)
    np.testing.assert_allclose(weight @ data.val_features.T + bias[:, None], expected, atol=1e-4)


def test_paths_run_with_balanced_classes_as_the_settings_do():
    found = search(problem(), (GOOD, HeadSetting(learning_rate=1e-2, weight_decay=0.1, balanced=True)))
    assert sorted(row["balanced"] for row in found.table if is_path(row)) == [False] * 14 + [True] * 14
    found = search(problem(), (GOOD,))
    assert [row["balanced"] for row in found.table if is_path(row)] == [False] * 14


def test_views_are_no_new_images_to_the_paths():
    once, thrice = (search(problem(num_views=views), (STILL,)) for views in (1, 3))
    np.testing.assert_allclose(once.heads.weight, thrice.heads.weight, rtol=1e-3, atol=1e-4)
    assert [row.get("strength") for row in once.table] == [row.get("strength") for row in thrice.table]


def test_half_precision_features_give_nearly_the_same_heads():
    full, half = (search(problem(dtype=dtype), (STILL,)) for dtype in (torch.float32, torch.float16))
    assert half.heads.weight.dtype == torch.float32
    assert half.table[0]["val_value"] == pytest.approx(full.table[0]["val_value"], abs=2e-3)


def test_after_every_epoch_the_best_value_so_far_is_told():
    told = []
    found = search(problem(), (GOOD,), on_epoch=lambda epoch, value: told.append((epoch, value)))
    assert [epoch for epoch, _ in told] == [1, 2, 3, 4]
    assert told[-1][1] == found.table[0]["val_value"]
    assert [value for _, value in told] == sorted((value for _, value in told), reverse=True)


def test_the_search_can_be_stopped_from_outside():
    def stop(epoch, value):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        search(problem(), (GOOD,), on_epoch=stop)


def test_without_a_single_val_value_it_says_so():
    data = problem()
    one_class = HeadData(**{**vars(data), "val_labels": torch.zeros_like(data.val_labels)})
    told = []
    with pytest.raises(RunError, match=r"none of 15 heads has a val auc\.") as caught:
        search(one_class, (GOOD,), metric="auc", on_epoch=lambda epoch, value: told.append(value))
    assert caught.value.expected == "finite features, and val images of every class where the metric needs them."
    assert caught.value.fix == "choose by another metric: --select.metric log_loss"
    assert told == [None] * 4


def test_the_default_has_48_different_heads():
    assert len(set(default_settings())) == 48
    assert PathSetting(kind="ridge", strength=1.0, balanced=False) not in default_settings()


def test_what_is_solved_for_alone_is_what_competes_in_the_search():
    found = solve_heads(problem(), balanced=False, metric="auc")
    paths = [row for row in search(problem(), (STILL,), metric="auc").table if is_path(row)]
    assert found.table == paths
    assert len(found.heads.weight) == 7 + 7


def problem_of_several():
    """Three targets that may hold together, each with a feature of its own."""
    data, random = problem(), np.random.default_rng(2)
    features = torch.cat([data.train_views[0], data.val_features])
    scores = features[:, 1:4] / features[:, 1:4].std(dim=0)
    targets = scores - scores.mean(dim=0) + torch.from_numpy(random.normal(size=scores.shape)) > torch.tensor(
        [0, 0.5, 1]
    )
    split = {"train_labels": targets[:120], "val_labels": targets[120:], "num_classes": 3}
    return HeadData(**{**vars(data), **split})


@pytest.mark.parametrize("metric", ["auc", "average_precision", "log_loss"])
def test_heads_of_several_classes_reach_their_val_values_too(metric):
    data, balanced = problem_of_several(), HeadSetting(learning_rate=1e-2, weight_decay=0.1, balanced=True)
    found = search(data, (GOOD, balanced), metric=metric, epochs=10)
    assert [(row["kind"], row["balanced"]) for row in found.table if is_path(row)].count(("ridge", True)) == 0
    assert len(found.table) == 2 + 7 + 2 * 7
    targets = data.val_labels.numpy()
    for logits, row in zip(found.heads.logits(data.val_features), found.table, strict=True):
        expected = ranking_metrics(sigmoid(logits.T.numpy()), targets)[metric]
        assert row["val_value"] == pytest.approx(expected, abs=0.02 if metric != "log_loss" else 1e-3)
    if metric == "auc":
        assert found.table[0]["val_value"] > 0.75
