import csv
import io

import numpy as np
import pandas as pd
import pytest
import torch
from torch.nn import functional as F

from fitwell.evaluation.gallery.mistakes import MOST_PAIRS, find_confused_pairs, find_mistakes, mistakes_csv

CLASSES = ("cat", "dog", "owl")


def judged(labels, **columns):
    rows = range(len(labels))
    return pd.DataFrame(
        {"id": [f"i{row}" for row in rows], "path": [f"{row}.png" for row in rows], "label": labels, **columns}
    )


def test_only_the_wrong_images_are_mistakes_and_the_surest_comes_first():
    logits = np.array([[0, 2, 0], [9, 0, 0], [3, 0, 0], [0, 0, 1]], dtype=np.float32)
    found = find_mistakes(judged(["cat", "cat", "dog", "owl"]), logits, CLASSES)
    assert [(row["id"], row["actual"], row["predicted"]) for row in found] == [
        ("i2", "dog", "cat"),
        ("i0", "cat", "dog"),
    ]


def test_loss_and_confidence_are_those_of_torch():
    logits = torch.randn(50, 3, generator=torch.Generator().manual_seed(0)).double() * 4
    labels = torch.arange(50) % 3
    found = find_mistakes(judged([CLASSES[label] for label in labels]), logits.numpy(), CLASSES)
    losses = F.cross_entropy(logits, labels, reduction="none")
    assert 0 < len(found) < 50
    for row in found:
        number = int(row["id"][1:])
        assert row["loss"] == pytest.approx(losses[number].item())
        assert row["confidence"] == pytest.approx(logits[number].softmax(dim=0).max().item())


def test_losses_are_told_apart_where_the_probability_is_zero():
    found = find_mistakes(judged(["dog", "dog"]), np.array([[2000.0, 0, 0], [3000, 0, 0]]), CLASSES)
    assert [row["loss"] for row in found] == [3000, 2000]


def test_equal_losses_are_in_the_order_of_their_ids():
    images = judged(["dog", "dog", "dog"]).assign(id=["c", "a", "b"])
    assert [row["id"] for row in find_mistakes(images, np.tile([1.0, 0, 0], (3, 1)), CLASSES)] == ["a", "b", "c"]


def test_a_mistake_names_its_group_where_there_are_groups():
    logits = np.array([[1.0, 0, 0]])
    assert find_mistakes(judged(["dog"], group=["module7"]), logits, CLASSES)[0]["group"] == "module7"
    assert find_mistakes(judged(["dog"]), logits, CLASSES)[0]["group"] == ""


def test_confused_pairs_are_ordered_by_how_many_images_and_then_by_their_share():
    labels = ["cat"] * 4 + ["dog"] * 8 + ["owl"]
    predicted = ["dog", "dog", "owl", "cat"] + ["cat"] * 2 + ["dog"] * 6 + ["cat"]
    logits = np.eye(3)[[CLASSES.index(name) for name in predicted]]
    found = find_confused_pairs(find_mistakes(judged(labels), logits, CLASSES), labels)
    assert [tuple(pair.values()) for pair in found] == [
        ("cat", "dog", 2, 2 / 4),
        ("dog", "cat", 2, 2 / 8),
        ("owl", "cat", 1, 1.0),
        ("cat", "owl", 1, 1 / 4),
    ]


def test_only_the_most_frequent_pairs_are_told():
    mistakes = [{"actual": f"{number:02}", "predicted": "x"} for number in range(MOST_PAIRS + 3)]
    pairs = find_confused_pairs(mistakes, [mistake["actual"] for mistake in mistakes])
    assert [pair["actual"] for pair in pairs] == [f"{number:02}" for number in range(MOST_PAIRS)]


def test_no_cell_of_the_table_runs_as_a_formula_or_breaks_its_line():
    images = judged(["dog"], group=["@SUM(A1)"]).assign(path=["=cmd|'/c calc'!A1\n.png"])
    classes = ("-1+1", "dog")
    (row,) = csv.DictReader(io.StringIO(mistakes_csv(find_mistakes(images, np.array([[1.0, 0]]), classes))))
    assert row == {
        "id": "i0",
        "path": "'=cmd|'/c calc'!A1\\n.png",
        "group": "'@SUM(A1)",
        "actual": "dog",
        "predicted": "'-1+1",
        "confidence": "0.731059",
        "loss": "1.313262",
    }


def test_without_mistakes_the_table_has_its_header_alone():
    assert mistakes_csv([]) == "id,path,group,actual,predicted,confidence,loss\n"
