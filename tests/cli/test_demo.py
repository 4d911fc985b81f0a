import json
from dataclasses import replace

import pytest

from fitwell.cli.app import run
from fitwell.data import demo


@pytest.fixture
def nine_modules(monkeypatch):
    """The first modules of both cell types: real cells, but few enough for a quick test."""
    whole = demo.elpv_dataset()
    chosen = [f"module{number:02}" for number in (0, 1, 2, 3, 4, 6, 7, 8, 9)]
    images = whole.images[whole.images["group"].isin(chosen)].reset_index(drop=True)
    monkeypatch.setattr(demo, "elpv_dataset", lambda: replace(whole, images=images))


def test_the_demo_prints_the_verdict_beside_the_baseline(nine_modules, tmp_path, capsys):
    settings = {
        "model.backbone": "test_efficientnet",
        "model.weights": "none",
        "images.size": "32",
        "augment.views": "1",
        "phases.head.epochs": "3",
        "phases.fine-tune.epochs": "2",
        "execution.workers": "0",
    }
    flags = [f"--{key}={value}" for key, value in settings.items()]
    assert run(["demo", "--seed", "1", "--runs-dir", str(tmp_path), "--json", *flags]) == 0
    test = json.loads(capsys.readouterr().out)["test"]
    assert set(test["metrics"]) >= {"auc", "balanced_accuracy", "accuracy", "macro_f1"}
    low, high = test["metrics"]["auc"]["interval"]
    assert low <= test["metrics"]["auc"]["value"] <= high
    assert test["num_groups"] >= 1
    assert test["baseline"]["balanced_accuracy"] == 0.5
