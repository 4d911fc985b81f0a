import json

import pytest

from fitwell.cli.app import run
from hub_cache import fill_hub_cache

TINY = "images: {size: 32}\nexecution: {engine: eager, workers: 0, device: cpu}\n"
NAMES = ("test_efficientnet", "test_resnet")


@pytest.fixture
def arguments(pictures, tmp_path, monkeypatch):
    fill_hub_cache(tmp_path / "hub", monkeypatch, NAMES)
    (tmp_path / "tiny.yaml").write_text(TINY)
    return ["shortlist", str(pictures), "--recipe", str(tmp_path / "tiny.yaml"), "--backbones", *NAMES]


def test_the_answer_is_a_table_and_the_setting_to_train_with(arguments, capsys):
    assert run([*arguments, "resnet10t", "--seed", "1", "--select.metric", "accuracy"]) == 0
    out, err = capsys.readouterr()
    assert "val accuracy (95 %)" in out
    assert "use this" in out
    assert "not probed: resnet10t: its weights are not on this machine" in out
    assert out.splitlines()[-1] in [f"use: --model.backbone {name}" for name in NAMES]
    assert err.count("training images  test_") == 2


def test_json_holds_the_same(arguments, capsys):
    assert run([*arguments, "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert {row["backbone"] for row in content["backbones"]} == set(NAMES)
    assert content["metric"] == "accuracy"
    assert content["skipped"] == {}
    assert content["recipe"] == f"--model.backbone {content['backbones'][0]['backbone']}"


def test_an_interval_that_is_not_defined_is_said(capsys):
    from fitwell.cli.shortlist import _print
    from fitwell.training.shortlist import Shortlist

    row = {
        "backbone": "a",
        "size": 32,
        "num_parameters": 10**6,
        "images_per_second": 1.0,
        "num_train": 9,
        "num_val": 3,
        "val": 0.5,
        "interval": None,
        "verdict": "use this",
    }
    _print(Shortlist("auc", [row], {}))
    assert "0.500 (not defined)" in capsys.readouterr().out
