import json

import pytest

from fitwell.cli.app import run
from fitwell.recipe.phase import Phase, Stages
from fitwell.recipe.schema import Recipe
from judged_runs import SETS, SETS_DECAY, make_run, make_set_run

HEAD = Phase(name="head", train="head", epochs=3, learning_rate=1e-3)
TUNE = Phase(name="fine-tune", train=Stages(stages=2), epochs=5, learning_rate=1e-4)


@pytest.fixture
def runs(tmp_path):
    weak = make_run(tmp_path / "weak", Recipe(phases=(HEAD,)), gain=0.3)
    strong = make_run(tmp_path / "strong", Recipe(phases=(HEAD, TUNE)), gain=3.0, seed=1)
    return [str(weak.path), str(strong.path)]


def test_the_terminal_shows_recipes_metrics_tests_and_images(runs, capsys):
    assert run(["compare", *runs]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:3] == [f"A  {runs[0]}", f"B  {runs[1]}", "The same 80 test images, paired."]
    text = "\n".join(lines)
    assert "phases.fine-tune  none  train: stages: 2, epochs: 5, learning_rate: 0.0001" in text
    assert "B - A (95 % interval)" in text
    assert any(line.startswith("B fixes ") and ", breaks " in line for line in lines)
    assert any(line.startswith("McNemar on accuracy (") for line in lines)
    assert any(line.startswith("DeLong on AUC: p ") for line in lines)
    assert any(line.startswith("  fixes  ") and ".png  is " in line for line in lines)
    assert "--json names all" in text
    assert "not distinguishable" not in text


def test_what_may_be_chance_is_called_not_distinguishable(tmp_path, capsys):
    paths = [str(make_run(tmp_path / str(seed), Recipe(), seed=seed).path) for seed in (0, 1)]
    assert run(["compare", *paths]) == 0
    shown = capsys.readouterr().out
    assert "A and B have the same recipe." in shown
    assert shown.count("not distinguishable") == 4


def test_several_are_told_with_p_values_after_holm(runs, tmp_path, capsys):
    third = make_run(tmp_path / "third", Recipe(phases=(TUNE,)), gain=1.0, seed=2)
    assert run(["compare", *runs, str(third.path)]) == 0
    shown = capsys.readouterr().out
    assert "C - A (95 % interval)" in shown
    assert "p, Holm" in shown


def test_images_with_any_number_of_classes_are_told_by_all_that_they_show(tmp_path, capsys):
    paths = [
        str(make_set_run(tmp_path / name, recipe, gain=gain, seed=int(gain)).path)
        for name, recipe, gain in (("weak", SETS, 0.3), ("strong", SETS_DECAY, 3.0))
    ]
    assert run(["compare", *paths]) == 0
    shown = capsys.readouterr().out
    assert "McNemar on exact match (mid-p): p < 0.001" in shown
    assert "\nmicro f1 " in shown
    assert "  fixes  136.png  is cat; A (none), B cat\n" in shown
    assert "  fixes  001.png  is cat|cow; A cat, B cat|cow\n" in shown


def test_json_has_every_image(runs, capsys):
    assert run(["compare", *runs, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    (comparison,) = found["comparisons"]
    assert len(comparison["flips"]["fixes"]) == comparison["mcnemar"]["fixes"] > 5
    assert found["schema_version"] == 1


def test_one_run_is_a_usage_error(runs, capsys):
    assert run(["compare", runs[0]]) == 2
    assert "at least two, each once" in capsys.readouterr().err


def test_a_folder_that_is_no_run_is_refused(runs, tmp_path, capsys):
    assert run(["compare", runs[0], str(tmp_path)]) == 1
    assert "holds no run.json" in capsys.readouterr().err
