import re

import pytest

from fitwell.cli.app import run
from fitwell.cli.train import parse_settings
from fitwell.errors import UsageError

KNOWN = ("--recipe", "--dry-run")


def test_dotted_options_become_settings():
    tokens = ["--optimizer.weight-decay", "0.1", "--images.size=64", "--phases.fine-tune.warmup-epochs", "1"]
    assert parse_settings(tokens, known=KNOWN) == {
        "optimizer.weight_decay": "0.1",
        "images.size": "64",
        "phases.fine-tune.warmup_epochs": "1",
    }


@pytest.mark.parametrize(
    ("tokens", "message"),
    [
        (["--dryrun"], r"'--dryrun', which is no option.*write --dry-run"),
        (["stray"], r"'stray', which is no option"),
        (["--images.size"], r"--images.size at the end of the line, without a value"),
    ],
)
def test_what_is_no_setting_is_refused(tokens, message):
    with pytest.raises(UsageError, match=f"(?s){message}"):
        parse_settings(tokens, known=KNOWN)


def test_a_dry_run_shows_the_plan_and_writes_nothing(pictures, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run(["train", str(pictures), "--dry-run", "--model.weights", "none", "--seed", "3"]) == 0
    shown = capsys.readouterr().out
    assert "seed: 3" in shown
    assert "train     26 images: blue " in shown
    assert re.search(r"memory: \d\.\d\d GB at its peak \(process .* that are free\n", shown)
    assert re.search(r"fine-tune  ▅█.*▁  cosine, peak 0.0005, head 0.005, 10 epochs\n", shown)
    assert list(tmp_path.iterdir()) == []


def test_a_dry_run_in_json_holds_recipe_and_split(pictures, capsys):
    import json

    assert run(["train", str(pictures), "--dry-run", "--json", "--images.size", "64"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["recipe"]["images"]["size"] == 64
    assert sum(shown["split"]["val"].values()) == 5
    assert shown["learning_rates"]["head"] == []
    assert max(shown["learning_rates"]["fine-tune"]) == pytest.approx(5e-4, rel=0.05)
    assert sum(shown["memory"]["parts"].values()) == shown["memory"]["expected_bytes"] < shown["memory"]["limit_bytes"]


SMALL = ("--model.backbone", "test_efficientnet", "--model.weights", "none", "--images.size", "32")


def test_the_plan_is_explained_and_no_run_is_written(pictures, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert run(["train", str(pictures), "--explain-plan", *SMALL]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["setting", "candidate", "images/s", "agreement", "error"]
    assert sum(line.startswith("*") for line in lines) == 2
    assert any(line.split()[-5:-3] == ["precision", "bfloat16"] for line in lines)
    assert "execution.engine: eager" in lines
    assert [path.name for path in tmp_path.iterdir()] == ["cache"]


def test_the_plan_in_json_holds_execution_reasons_and_candidates(pictures, tmp_path, capsys, monkeypatch):
    import json

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert run(["train", str(pictures), "--explain-plan", "--json", *SMALL]) == 0
    shown = json.loads(capsys.readouterr().out)
    chosen = {each["setting"]: each["value"] for each in shown["candidates"] if each["chosen"]}
    assert all(shown["execution"][setting] == value for setting, value in chosen.items())
    assert set(shown["reasons"]) == {
        "device",
        "memory_format",
        "precision",
        "engine",
        "pictures",
        "batch_size",
        "workers",
    }
