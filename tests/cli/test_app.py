import json
import subprocess
import sys

import pytest

from fitwell.cli import app as app_module
from fitwell.cli.app import run
from fitwell.errors import RunError


def test_an_unknown_command_is_answered_with_the_nearest_one(capsys):
    assert run(["trian"]) == 2
    assert 'Did you mean "train"?' in capsys.readouterr().err


def test_a_users_mistake_is_three_lines_on_stderr(capsys, tmp_path):
    assert run(["train", str(tmp_path / "nowhere")]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: Found: ")
    assert "\nExpected: " in captured.err
    assert "\nFix: " in captured.err


def test_with_json_an_error_is_one_object_on_stdout(capsys, tmp_path):
    assert run(["train", str(tmp_path / "nowhere"), "--json"]) == 2
    error = json.loads(capsys.readouterr().out)["error"]
    assert error["code"] == 2
    assert "nowhere" in error["found"]
    assert error["fix"]


@pytest.mark.parametrize(
    ("raised", "code", "text"),
    [
        (RunError(found="a", expected="b", fix="c"), 1, "Found: a"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (ZeroDivisionError("division by zero"), 70, "This is a bug in fitwell"),
        (BrokenPipeError(), 0, ""),
    ],
)
def test_every_end_has_its_exit_code(monkeypatch, capsys, raised, code, text):
    def fail(*args, **kwargs):
        raise raised

    monkeypatch.setattr(app_module, "app", fail)
    assert run(["demo"]) == code
    assert text in capsys.readouterr().err


def test_help_names_every_command():
    done = subprocess.run([sys.executable, "-m", "fitwell", "--help"], capture_output=True, text=True, check=True)
    for command in ("demo", "train", "resume", "evaluate", "predict", "recipes"):
        assert command in done.stdout
