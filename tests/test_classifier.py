import json
import shutil
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

import fitwell
from fitted_runs import EASY, HARD, SETTINGS, with_targets
from fitwell import classifier as main_job
from fitwell.cli.app import run as run_command
from fitwell.errors import DataError, RunError, UsageError
from pictures import write_pictures


def test_fit_leaves_exactly_the_run_folder_of_the_design(fitted):
    folder = fitted.run.path
    found = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if "events.out" not in path.name)
    steps = [name for name in found if name.startswith("checkpoints/step-")]
    assert len(steps) in (2, 4)
    assert [name for name in found if name not in steps] == [
        "augmentation.jpg",
        "checkpoints",
        "checkpoints/best.safetensors",
        "checkpoints/latest.json",
        "epochs.csv",
        "evaluation",
        *(
            f"evaluation/{split}{name}"
            for split in ("test", "val")
            for name in (
                "",
                "/confusion.csv",
                "/figures",
                "/figures/confidence.svg",
                "/figures/confusion.svg",
                "/figures/reliability.svg",
                "/figures/risk_coverage.svg",
                "/metrics.json",
                "/mistakes.csv",
                "/predictions.parquet",
            )
        ),
        "findings.jsonl",
        "history.jsonl",
        "machine.jsonl",
        "model_card.md",
        "recipe.yaml",
        "report.html",
        "report.json",
        "results.json",
        "run.json",
        "run.log",
        "split.csv",
        "tensorboard",
        "tensorboard/_machine",
        "tensorboard/all",
    ]
    for path in (folder / name for name in found if name.endswith(".json")):
        assert json.loads(path.read_text())["schema_version"] == 1


def test_val_fits_the_temperature_by_which_test_is_judged_too(fitted):
    temperature = fitted.run.read()["temperature"]
    assert temperature["fitted_on"] == "val"
    assert fitted.evaluate("val")["calibration"]["temperature"] == temperature
    judged = json.loads((fitted.run.evaluation("test") / "metrics.json").read_text())["calibration"]
    assert judged["temperature"] == temperature
    assert (
        judged["tempered"]["log_loss"] < judged["plain"]["log_loss"]
    )  # easy colours: all are right, and surer is better


def test_colours_are_learned_and_probabilities_sum_to_one(fitted, pictures):
    images = [pictures / "red" / "01.png", pictures / "blue" / "02.png"]
    probs = fitted.predict_proba(images)
    assert probs.shape == (2, 3)
    np.testing.assert_allclose(probs.sum(axis=1), 1.0)
    assert fitted.predict(images) == ["red", "blue"]
    assert fitwell.load(fitted.run.path).predict(images) == ["red", "blue"]


def test_the_predictions_written_are_those_that_predict_gives(fitted, pictures):
    written = pd.read_parquet(fitted.run.evaluation("test") / "predictions.parquet")
    probs = fitted.predict_proba([pictures / path for path in written["path"]])
    np.testing.assert_allclose(written[[f"p_{name}" for name in fitted.classes]].to_numpy(), probs, atol=1e-5)
    assert list(written["predicted"]) == [fitted.classes[index] for index in probs.argmax(axis=1)]


def test_the_training_images_are_not_judged(fitted):
    with pytest.raises(UsageError, match=r"(?s)split 'train'.*val or test"):
        fitted.evaluate("train")


def test_a_gate_exits_with_4_unless_every_target_is_met(own_copy, capsys):
    command = ["evaluate", str(with_targets(own_copy, HARD).run.path), "--gate"]
    assert run_command(command) == 4
    assert "target auc >= 0.999: not decidable" in capsys.readouterr().out
    with_targets(own_copy, EASY)
    assert run_command(command) == 0
    assert run_command(["resume", *command[1:]]) == 0


def test_a_gate_without_targets_is_refused(own_copy, capsys):
    assert run_command(["evaluate", str(own_copy.run.path), "--gate"]) == 2
    assert "no target that these images were held to" in capsys.readouterr().err


def test_other_images_are_judged_under_their_own_name(own_copy, tmp_path):
    other = write_pictures(tmp_path / "field-trip", per_class=3)
    from fitwell.data.index import index_dataset

    metrics = main_job.evaluate_dataset(own_copy.run, index_dataset(other), "field-trip")
    assert metrics["num_images"] == 9
    assert (own_copy.run.evaluation("field-trip") / "metrics.json").exists()
    assert len(own_copy.run.read()["test_openings"]) == 1


def test_images_of_an_unknown_class_are_refused(own_copy, tmp_path):
    other = write_pictures(tmp_path / "other", per_class=2)
    (other / "red").rename(other / "purple")
    from fitwell.data.index import index_dataset

    with pytest.raises(DataError, match=r"1 classes that the run does not know: \['purple'\]"):
        main_job.evaluate_dataset(own_copy.run, index_dataset(other), "other")


def test_classes_that_are_called_otherwise_are_renamed_as_the_refusal_suggests(own_copy, tmp_path, capsys):
    other = write_pictures(tmp_path / "other", per_class=2)
    (other / "red").rename(other / "Reds")
    (other / "blue").rename(other / "azure sky")
    command = ["evaluate", str(own_copy.run.path), str(other)]
    assert run_command(command) == 3
    assert "--rename Reds=red --rename 'azure sky=CLASS'" in capsys.readouterr().err
    assert run_command([*command, "--rename", "Reds=red", "--rename", "azure sky=blue", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["class_counts"] == {"blue": 2, "green": 2, "red": 2}


@pytest.mark.parametrize(
    ("rename", "message"), [("purple=red", "has no class purple"), ("red", "Expected: THEIRS=OURS")]
)
def test_a_rename_that_cannot_be_done_is_refused(rename, message, own_copy, tmp_path, capsys):
    other = write_pictures(tmp_path / "other", per_class=2)
    assert run_command(["evaluate", str(own_copy.run.path), str(other), "--rename", rename]) == 2
    assert message in capsys.readouterr().err


def test_other_images_that_cannot_be_used_stop_the_evaluation_or_are_left_out(own_copy, tmp_path, capsys):
    other = write_pictures(tmp_path / "other", per_class=3)
    (other / "red" / "01.png").write_bytes(b"")
    command = ["evaluate", str(own_copy.run.path), str(other)]
    assert run_command(command) == 3
    assert "DATA101 1 of 9 images" in capsys.readouterr().err
    assert run_command([*command, "--on-data-error", "warn", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["num_images"] == 8
    assert "red/01.png" not in set(pd.read_parquet(own_copy.run.evaluation("other") / "predictions.parquet")["path"])


def test_what_to_do_at_errors_is_stop_or_warn(pictures):
    with pytest.raises(UsageError, match=r"(?s)--on-data-error=skip.*stop or warn"):
        fitwell.Classifier(settings=SETTINGS).fit(pictures, on_data_error="skip")


def test_blocks_of_the_file_order_can_be_groups(pictures):
    prepared = main_job.prepare(
        main_job.read_dataset(pictures, group_by="order:3"), main_job.read_settings("auto", SETTINGS)
    )
    assert prepared.images.groupby("group").size().tolist() == [3] * 12
    assert (prepared.images.groupby("group")["split"].nunique() == 1).all()


def test_wrong_labels_are_found_by_the_frozen_backbone(tmp_path):
    folder = write_pictures(tmp_path / "pictures", per_class=24)
    shutil.move(folder / "red" / "05.png", folder / "blue" / "red05.png")
    inspection = main_job.inspect(
        main_job.read_dataset(folder), main_job.read_settings("auto", {**SETTINGS, "seed": 1}), labels=True
    )
    (finding,) = [finding for finding in inspection.findings if finding.code == "DATA701"]
    assert finding.cases[0].name == "blue/red05.png"
    assert "red" in finding.cases[0].detail


def test_a_finished_run_is_shown_and_not_judged_again(own_copy, capsys):
    assert run_command(["resume", str(own_copy.run.path)]) == 0
    shown = capsys.readouterr().out
    assert "majority baseline" in shown
    assert "report.html" in shown
    assert len(own_copy.run.read()["test_openings"]) == 1


def test_a_classifier_without_a_run_says_what_to_call():
    with pytest.raises(UsageError, match=r"(?s)not been fitted.*call classifier\.fit"):
        fitwell.Classifier().predict(["a.png"])


def test_load_refuses_what_is_no_run(tmp_path):
    with pytest.raises(RunError, match=r"holds no run\.json"):
        fitwell.load(tmp_path)


def test_predict_prints_a_line_for_each_image_or_json(fitted, pictures, capsys):
    image = str(pictures / "green" / "00.png")
    assert run_command(["predict", str(fitted.run.path), image]) == 0
    assert capsys.readouterr().out.split("\t")[:2] == [image, "green"]
    assert run_command(["predict", str(fitted.run.path), image, "--json"]) == 0
    prediction = json.loads(capsys.readouterr().out)["predictions"][0]
    assert prediction["predicted"] == "green"
    assert sum(prediction["probabilities"].values()) == pytest.approx(1.0)
    assert run_command(["predict", str(fitted.run.path)]) == 2


def test_evaluate_prints_the_verdict_of_own_and_other_images(own_copy, tmp_path, capsys):
    assert run_command(["evaluate", str(own_copy.run.path), "--split", "val"]) == 0
    assert capsys.readouterr().out.startswith("val: 5 images")
    other = write_pictures(tmp_path / "test", per_class=3)
    assert run_command(["evaluate", str(own_copy.run.path), str(other), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["num_images"] == 9
    assert (own_copy.run.path / "evaluation" / "other-test").is_dir()


def test_train_prints_the_verdict_and_keeps_the_run(pictures, tmp_path, capsys):
    flags = [f"--{key}={value}" for key, value in SETTINGS.items() if key != "phases"]
    phases = ["--phases.head.epochs=2", "--phases.head.warmup_epochs=0", "--phases.fine-tune.epochs=2"]
    arguments = ["train", str(pictures), "--runs-dir", str(tmp_path), "--name", "Colours", *flags, *phases, "--json"]
    assert run_command(arguments) == 0
    captured = capsys.readouterr()
    result = json.loads(captured.out)
    assert result["run"].endswith("-colours")
    assert result["test"]["num_images"] == 5
    assert "fine-tune   1/2" in captured.err


def test_importing_fitwell_and_asking_for_help_load_no_torch():
    program = "import sys, fitwell, fitwell.__main__; from fitwell.cli import app; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_an_unknown_public_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'Clasifier'"):
        fitwell.Clasifier  # noqa: B018


def test_a_runs_own_files_repeat_it(fitted, tmp_path):
    folder, root = fitted.run, fitted.run.read()["data"]["root"]
    again = fitwell.Classifier(folder.recipe, runs_dir=tmp_path).fit(folder.split, image_root=root)
    assert again.run.read()["split"]["hash"] == folder.read()["split"]["hash"]
    assert again.run.best_weights.read_bytes() == folder.best_weights.read_bytes()


def test_classes_with_an_order_are_judged_by_it(pictures, tmp_path):
    settings = {**SETTINGS, "target.order": ["red", "blue", "green"], "loss.kind": "ordinal"}
    classifier = fitwell.Classifier(runs_dir=tmp_path, settings=settings).fit(pictures)
    metrics = classifier.evaluate("val")
    assert classifier.classes == metrics["classes"] == ["red", "blue", "green"]
    kappa = metrics["metrics"]["quadratic_kappa"]
    assert kappa["interval"][0] <= kappa["value"] <= kappa["interval"][1]
    assert metrics["metrics"]["mean_absolute_error"]["value"] >= 0
    assert "quadratic kappa" in (classifier.run.report_html).read_text().lower()
