"""Runs and evaluations small enough to write a report of."""

import numpy as np
import pandas as pd
from PIL import Image

from fitwell.data.split import write_split
from fitwell.evaluation.choices import choose_on_val
from fitwell.evaluation.evaluate import read_judged, write_evaluation
from fitwell.evaluation.evaluate_label_sets import write_label_set_evaluation
from fitwell.evaluation.robustness import Corrupted, judge_robustness
from fitwell.files import to_json, write_json
from fitwell.run_folder import RunFolder

RECIPE = """\
version: 1
description: A recipe.
model: {backbone: lite0}
phases: [{name: head, train: head, epochs: 3, learning_rate: 1e-3}]
resolved:
  - {key: images.size, asked: auto, used: 224, reason: The weights were trained at it.}
"""


def make_split(classes=("cat", "dog"), num_images=90, *, groups=True):
    rows = range(num_images)
    images = pd.DataFrame(
        {
            "path": [f"{row:03}.png" for row in rows],
            "label": [classes[row % len(classes)] for row in rows],
            "split": [("train", "val", "test")[row * 3 // num_images] for row in rows],
            "sha256": "0" * 64,
            "site": ["roof" if row % 5 else "<b>field</b>" for row in rows],
        }
    )
    return images.assign(group=[f"g{row // 6}" for row in rows]) if groups else images


def make_run(path, *, images=None, state="finished", epochs=3, **changes):
    run = RunFolder(path / "20260101-000000-birds")
    run.path.mkdir()
    images = make_split() if images is None else images
    write_split(run.split, images)
    run.recipe.write_text(RECIPE)
    records = [
        {
            "kind": "epoch",
            "phase": "head",
            "epoch": epoch,
            "step": epoch * 4,
            "train": {"loss": 1 / epoch, "accuracy": 0.5},
            "val": {"log_loss": 1 / epoch, "accuracy": 0.5, "balanced_accuracy": 0.5, "macro_f1": 0.5, "auc": 0.5},
            "learning_rate": {"head": 1e-3},
            "seconds": {"train": 2.0, "val": 1.0},
            "best": epoch == 2,
        }
        for epoch in range(1, epochs + 1)
    ]
    run.history.write_text("".join(to_json(record) + "\n" for record in records))
    run.update(
        **{
            "id": run.id,
            "name": "birds",
            "state": state,
            "created": "2026-01-01T00:00:00+00:00",
            "exit": {"code": 0, "reason": "finished"},
            "versions": {"python": "3.11.9", "fitwell": "0.1.0"},
            "git": {"commit": "c0ffee", "dirty": True},
            "machine": {"system": "Linux", "processor": "x86_64", "cores": 2},
            "command": ["/usr/bin/fitwell", "train", "my birds"],
            "data": {
                "source": "my birds",
                "root": "/pictures/my birds",
                "classes": sorted(set(images["label"])),
                "num_images": len(images),
                "fingerprint": "f1f1",
            },
            "split": {"hash": "5a5a"},
            "select": {"metric": "auc", "best": {"phase": "head", "epoch": 2, "step": 8, "value": 0.875}},
            "test_openings": [{"time": "2026-01-01T00:00:00+00:00"}],
            **changes,
        }
    )
    return run


def judge(run, split="test", *, images=None, gain=2.0):
    images = make_split() if images is None else images
    classes = tuple(sorted(set(images["label"])))
    part = images[images["split"] == split].reset_index(drop=True)
    part.insert(0, "id", part["path"])
    logits = np.random.default_rng(0).normal(size=(len(part), len(classes)))
    logits[np.arange(len(part)), [classes.index(label) for label in part["label"]]] += gain
    if split == "val":
        choose_on_val(run, logits, part["label"], classes)
    return write_evaluation(run, split, part, logits, classes, majority=classes[0])


def judge_corrupted(run, *, names=("gaussian_noise", "shift"), share=0.5, split="test"):
    """Answers that are lost with probability `share` under every corruption, and sample pictures of one colour."""
    classes = tuple(run.read()["data"]["classes"])
    clean = read_judged(run.evaluation(split) / "predictions.parquet", classes)
    lost = np.random.default_rng(1).random(len(clean.labels)) < share
    probs = np.where(lost[:, None], clean.probs[:, ::-1], clean.probs)
    corrupted = [Corrupted(name, severity, 0.1, probs) for name in names for severity in (1, 2)]
    found = {"split": split, "example": "<i>000.png", **judge_robustness(clean, corrupted, classes)}
    write_json(run.robustness(split), found)
    for name, severity in [("clean", 0), *((each.name, each.severity) for each in corrupted)]:
        path = run.corrupted_picture(split, name, severity)
        path.parent.mkdir(exist_ok=True)
        Image.new("RGB", (8, 8), "red").save(path)
    return found


def make_metrics(low, high, *, value=0.6, classes=("cat", "dog")):
    entry = {"value": value, "interval": [low, high]}
    return {
        "split": "holiday photos",
        "classes": list(classes),
        "num_images": 1,
        "num_groups": 1,
        "metrics": {"auc": entry, "balanced_accuracy": entry, "accuracy": {"value": 0.6, "interval": None}},
        "baseline": {"label": "cat", "accuracy": {"value": 0.5}, "balanced_accuracy": 0.5, "auc": 0.5},
    }


def judge_sets(run, images, split, *, gain=2.0):
    part = images[images["split"] == split].reset_index(drop=True)
    part.insert(0, "id", part["path"])
    shown = np.array([[name in label for name in ("cat", "dog")] for label in part["label"]])
    logits = np.random.default_rng(0).normal(size=(len(part), 2)) + gain * (shown - 0.5)
    return write_label_set_evaluation(run, split, part, logits, ("cat", "dog"), usual="cat|dog")
