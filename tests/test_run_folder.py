"""The contract between stages."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from fitwell.errors import RunError, RunLockedError, UsageError
from fitwell.run_folder import RunFolder, create_run_folder, describe_environment, now, open_run_folder

TRY_LOCK = (
    "import sys, pathlib\n"
    "from fitwell.errors import RunLockedError\n"
    "from fitwell.run_folder import RunFolder\n"
    "try:\n"
    "    with RunFolder(pathlib.Path(sys.argv[1])).lock():\n"
    "        print('held', flush=True)\n"
    "        sys.stdin.read()\n"
    "except RunLockedError as error:\n"
    "    print(error.found)\n"
)


def other_process(run: RunFolder) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", TRY_LOCK, str(run.path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def test_a_new_run_is_named_by_moment_and_slug(tmp_path: Path):
    run = create_run_folder(tmp_path / "runs", "My Flowers (2026)!")
    assert re.fullmatch(r"\d{8}-\d{6}-my-flowers-2026", run.id)
    assert sorted(each.name for each in run.path.iterdir()) == [
        "checkpoints",
        "evaluation",
        "findings.jsonl",
        "history.jsonl",
        "run.log",
        "tensorboard",
    ]


@pytest.mark.parametrize(("name", "slug"), [("", "run"), ("日本", "run"), ("../../etc", "etc"), ("a" * 90, "a" * 40)])
def test_any_name_gives_a_safe_slug(tmp_path: Path, name: str, slug: str):
    assert create_run_folder(tmp_path, name).id[16:] == slug
    assert len(list(tmp_path.iterdir())) == 1


def test_two_runs_of_one_second_get_two_folders(tmp_path: Path):
    runs = {create_run_folder(tmp_path, "same").path for _ in range(5)}
    assert len(runs) == 5


def test_every_file_of_the_contract_has_its_place():
    run = RunFolder(Path("runs/x"))
    assert {
        run.run_json: "run.json",
        run.recipe: "recipe.yaml",
        run.split: "split.csv",
        run.history: "history.jsonl",
        run.findings: "findings.jsonl",
        run.checkpoints: "checkpoints",
        run.best_weights: "checkpoints/best.safetensors",
        run.latest_checkpoint: "checkpoints/latest.json",
        run.report_html: "report.html",
        run.report_json: "report.json",
        run.model_card: "model_card.md",
        run.log: "run.log",
        run.tensorboard("head"): "tensorboard/head",
        run.evaluation("test"): "evaluation/test",
    } == {
        Path("runs/x") / name: name
        for name in (
            "run.json",
            "recipe.yaml",
            "split.csv",
            "history.jsonl",
            "findings.jsonl",
            "checkpoints",
            "checkpoints/best.safetensors",
            "checkpoints/latest.json",
            "report.html",
            "report.json",
            "model_card.md",
            "run.log",
            "tensorboard/head",
            "evaluation/test",
        )
    }


def test_a_folder_that_cannot_be_made_names_the_flag(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="file cannot be written: File exists") as caught:
        create_run_folder(tmp_path / "file", "x")
    assert "--runs-dir" in caught.value.fix


def test_update_merges_and_refreshes_the_heartbeat(tmp_path: Path):
    run = create_run_folder(tmp_path, "x")
    run.update(state="running", data={"classes": ["a", "b"]})
    record = run.update(state="finished")
    assert record["state"] == "finished"
    assert record["data"] == {"classes": ["a", "b"]}
    assert record["heartbeat"] <= now()
    assert run.read() == {"schema_version": 1, **record}


def test_opening_needs_a_run_json(tmp_path: Path):
    with pytest.raises(RunError, match=r"holds no run\.json") as caught:
        open_run_folder(tmp_path)
    assert "fitwell train" in caught.value.expected
    assert caught.value.fix
    run = create_run_folder(tmp_path, "x")
    run.update(state="running")
    assert open_run_folder(run.path) == RunFolder(run.path.resolve())


def test_a_second_process_cannot_write_the_same_run(tmp_path: Path):
    run = create_run_folder(tmp_path, "x")
    with run.lock():
        output, _ = other_process(run).communicate(timeout=60)
    assert output == f"another process is writing {run.path}.\n"


def test_a_second_writer_is_told_what_to_do(tmp_path: Path):
    run = create_run_folder(tmp_path, "x")
    other = other_process(run)
    assert other.stdout is not None
    assert other.stdout.readline() == "held\n"
    with pytest.raises(RunLockedError, match="another process is writing") as caught, run.lock():
        pass
    assert caught.value.expected == "one writer per folder."
    assert "wait for that process" in caught.value.fix
    other.kill()
    other.communicate(timeout=60)


def test_the_lock_dies_with_its_process(tmp_path: Path):
    run = create_run_folder(tmp_path, "x")
    other = other_process(run)
    assert other.stdout is not None
    assert other.stdout.readline() == "held\n"
    other.kill()
    other.communicate(timeout=60)
    with run.lock():
        assert run.log.exists()


def test_locking_keeps_what_the_log_says(tmp_path: Path):
    run = create_run_folder(tmp_path, "x")
    run.log.write_text("before\n")
    with run.lock():
        pass
    assert run.log.read_text() == "before\n"


def test_the_environment_names_versions_machine_and_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    described = describe_environment()
    assert described["versions"]["python"] == ".".join(str(part) for part in sys.version_info[:3])
    assert "numpy" in described["versions"]
    assert described["machine"]["cores"] == os.cpu_count()
    assert described["command"] == sys.argv
    assert described["git"] is None


def test_the_environment_names_the_commit_of_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    identity = ["-c", "user.name=a", "-c", "user.email=a@b.c"]
    for command in (["init", "-q"], [*identity, "commit", "-q", "--allow-empty", "-m", "first"]):
        subprocess.run(["git", *command], check=True)
    assert re.fullmatch(r"[0-9a-f]{40}", describe_environment()["git"]["commit"])
    assert describe_environment()["git"]["dirty"] is False
    (tmp_path / "new").write_text("")
    assert describe_environment()["git"]["dirty"] is True


def test_an_ensemble_finds_its_members_beside_it_wherever_the_runs_were_moved(tmp_path):
    ensemble = create_run_folder(tmp_path / "runs", "both")
    ensemble.update(members=[{"id": "one", "path": "../one"}])
    moved = RunFolder((tmp_path / "runs").rename(tmp_path / "archive") / ensemble.id)
    assert [moved.member(each["path"]).path for each in moved.members()] == [tmp_path / "archive" / "one"]


def test_a_run_that_trained_has_no_members(tmp_path):
    run = create_run_folder(tmp_path, "alone")
    run.update(state="finished")
    assert run.members() == []
