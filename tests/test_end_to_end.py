"""Every mistake a user can make with the main job: a clear error, the right exit code, and nothing lost."""

import json

import pytest

from fitwell.cli.app import run
from fitwell.data.index import index_dataset
from fitwell.recipe.read import write_recipe
from fitwell.training.observer import Action, StepDone
from fitwell.training.prepare import create_run, prepare_run
from fitwell.training.session import continue_run
from pictures import tiny_recipe, write_pictures


@pytest.fixture
def recipe(tmp_path):
    path = tmp_path / "tiny.yaml"
    write_recipe(path, tiny_recipe())
    return path


def fails(arguments, capsys):
    """The exit code and what stderr says of a command that must not succeed."""
    code = run([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    assert captured.out == ""
    for part in ("error: Found: ", "\nExpected: ", "\nFix: "):
        assert part in captured.err
    return code, captured.err


def test_a_typo_in_the_recipe(pictures, recipe, tmp_path, capsys):
    recipe.write_text(recipe.read_text().replace("label_smoothing", "label_smoothin"))
    code, message = fails(["train", pictures, "--recipe", recipe, "--runs-dir", tmp_path / "runs"], capsys)
    assert code == 2
    assert "label_smoothin" in message
    assert "label_smoothing" in message
    assert "tiny.yaml:" in message
    assert not (tmp_path / "runs").exists()


def test_a_missing_recipe(pictures, tmp_path, capsys):
    code, message = fails(["train", pictures, "--recipe", "two-phases"], capsys)
    assert code == 2
    assert "two-phase" in message


def test_a_missing_folder(recipe, tmp_path, capsys):
    code, message = fails(["train", tmp_path / "nowhere", "--recipe", recipe], capsys)
    assert code == 2
    assert "nowhere" in message


def test_a_table_that_names_a_missing_image(recipe, tmp_path, capsys):
    folder = write_pictures(tmp_path / "pictures")
    rows = [f"{path.relative_to(folder)},{path.parent.name}" for path in sorted(folder.rglob("*.png"))]
    (folder / "labels.csv").write_text("\n".join(["path,label", *rows, "red/99.png,red"]) + "\n")
    code, message = fails(["train", folder / "labels.csv", "--recipe", recipe], capsys)
    assert code == 3
    assert "red/99.png" in message


def test_one_class(recipe, tmp_path, capsys):
    folder = write_pictures(tmp_path / "pictures", classes=("red",))
    code, message = fails(["train", folder, "--recipe", recipe], capsys)
    assert code == 3
    assert "red" in message


def test_an_empty_folder(recipe, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    code, _ = fails(["train", tmp_path / "empty", "--recipe", recipe], capsys)
    assert code == 3


def test_a_corrupt_image(recipe, tmp_path, capsys):
    folder = write_pictures(tmp_path / "pictures")
    whole = (folder / "blue" / "07.png").read_bytes()
    (folder / "blue" / "07.png").write_bytes(whole[: len(whole) // 2])
    code, message = fails(["train", folder, "--recipe", recipe, "--runs-dir", tmp_path / "runs"], capsys)
    assert code == 3
    assert "blue/07.png" in message
    assert not (tmp_path / "runs").exists()


def interrupted_run(pictures, tmp_path):
    run_folder = create_run(prepare_run(index_dataset(pictures), tiny_recipe()), tmp_path, "interrupted")

    def stop(event):
        return Action.STOP if isinstance(event, StepDone) and event.step == 5 else None

    with pytest.raises(Exception, match="asked the run to stop"):
        continue_run(run_folder, observers=(stop,))
    return run_folder


def test_two_writers_in_one_run(pictures, tmp_path, capsys):
    run_folder = interrupted_run(pictures, tmp_path)
    before = run_folder.run_json.read_bytes()
    with run_folder.lock():
        code, message = fails(["resume", run_folder.path], capsys)
    assert code == 1
    assert "another process is writing" in message
    assert run_folder.run_json.read_bytes() == before


def test_a_resume_with_other_classes(pictures, tmp_path, capsys):
    run_folder = interrupted_run(pictures, tmp_path)
    record = json.loads(run_folder.run_json.read_text())
    right = record["data"]["classes"]
    record["data"]["classes"] = ["blue", "green", "purple"]
    run_folder.run_json.write_text(json.dumps(record))
    code, message = fails(["resume", run_folder.path], capsys)
    assert code == 1
    assert "checkpoint blue, green, red, run folder blue, green, purple" in message
    record["data"]["classes"] = right
    run_folder.run_json.write_text(json.dumps(record))
    assert run(["resume", str(run_folder.path), "--json"]) == 0  # nothing was lost


def test_a_resume_of_what_is_no_run(tmp_path, capsys):
    code, message = fails(["resume", tmp_path], capsys)
    assert code == 1
    assert "run.json" in message


def test_a_runs_folder_that_cannot_be_written(pictures, recipe, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    code, message = fails(["train", pictures, "--recipe", recipe, "--runs-dir", tmp_path / "file"], capsys)
    assert code == 2
    assert "--runs-dir" in message
