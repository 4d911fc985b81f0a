"""results.json of a trained run."""

import json

import pytest

from fitwell.classifier import prepare, start, train
from fitwell.data.index import index_dataset
from fitwell.recipe.schema import Balance
from pictures import tiny_recipe


@pytest.fixture
def run(pictures, tmp_path):
    weights = {"blue": 1.0, "green": 2.0, "red": 3.0}
    prepared = prepare(index_dataset(pictures), tiny_recipe(balance=Balance(class_weights=weights)))
    run = start(prepared, tmp_path / "runs", "tiny")
    train(run)
    return run


def test_the_results_hold_the_class_weights_and_what_came_out(run):
    results = json.loads(run.results_json.read_text())
    weights = results["class_weights"]
    assert weights["green"] / weights["blue"] == pytest.approx(2)
    assert weights["red"] / weights["blue"] == pytest.approx(3)
    counts = run.read()["split"]["counts"]["train"]
    assert sum(weights[name] * counts[name] for name in counts) / sum(counts.values()) == pytest.approx(1)
    assert (results["backbone"], results["classes"]) == ("test_efficientnet", ["blue", "green", "red"])
    assert results["epochs"] == {"head": 3, "fine-tune": 3}
    assert results["best"] == run.read()["select"]["best"]
    assert results["seconds"] > 0
    for split in ("val", "test"):
        told = json.loads((run.evaluation(split) / "metrics.json").read_text())
        short = results["evaluations"][split]
        assert short["num_images"] == told["num_images"]
        assert short["metrics"]["accuracy"]["value"] == told["metrics"]["accuracy"]["value"]
        assert short["metrics"]["accuracy"]["interval"] == told["metrics"]["accuracy"]["interval"]
