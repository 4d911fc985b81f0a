import json
import shutil

import numpy as np
import pandas as pd
import pytest
from safetensors.torch import load_file, save_file

import fitwell
from fitted_runs import EASY, SETTINGS, with_targets
from fitwell import classifier as main_job
from fitwell.cli.app import run as run_command
from fitwell.data.index import index_dataset
from fitwell.data.labels import Labelling
from fitwell.errors import CheckpointError, DataError, UsageError
from fitwell.evaluation.ensemble import create_ensemble
from fitwell.evaluation.metrics import softmax
from fitwell.evaluation.multi_label import sigmoid
from fitwell.evaluation.trained import load_trained
from fitwell.files import read_json, sha256_of_file, write_json
from fitwell.recipe.schema import Recipe
from fitwell.run_folder import RunFolder
from html_page import Page
from pictures import tiny_recipe, write_label_sets, write_pictures


@pytest.fixture(scope="module")
def second(fitted, pictures, tmp_path_factory):
    """A run on the division of `fitted`, by another recipe; not to be written to."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        settings = SETTINGS | {"seed": 1, "images.size": 40}
        trained = fitwell.Classifier(runs_dir=tmp_path_factory.mktemp("runs"), settings=settings)
        return trained.fit(fitted.run.split, image_root=pictures)


@pytest.fixture(scope="module")
def both(fitted, second, tmp_path_factory):
    """An ensemble, judged; not to be written to."""
    return fitwell.ensemble([fitted.run.path, second.run.path], runs_dir=tmp_path_factory.mktemp("runs"), name="both")


@pytest.fixture
def copies(fitted, second, tmp_path):
    """Two runs that a test may change."""
    return [RunFolder(shutil.copytree(each.run.path, tmp_path / each.run.id)) for each in (fitted, second)]


def test_an_ensemble_answers_with_the_mean_of_its_members_tempered_probabilities(both, fitted, second, pictures):
    images = [pictures / "red" / "03.png", pictures / "blue" / "04.png", pictures / "green" / "05.png"]
    tempered = []
    for each in (fitted, second):
        logits = load_trained(each.run).logits(pictures, [str(path.relative_to(pictures)) for path in images])
        tempered.append(softmax(logits / each.run.read()["temperature"]["value"]))
    np.testing.assert_allclose(both.predict_proba(images), np.mean(tempered, axis=0), atol=1e-5)
    assert both.predict(images) == ["red", "blue", "green"]


def test_an_ensemble_is_judged_as_a_run_is_and_logs_its_own_opening_of_test(both, fitted):
    record = both.run.read()
    assert record["members"][0]["id"] == fitted.run.id
    assert len(record["test_openings"]) == 1
    assert record["temperature"]["fitted_on"] == "val"
    assert len(fitted.run.read()["test_openings"]) == 1
    judged = main_job.read_metrics(both.run, "test")
    assert {"conformal", "selective", "slices", "calibration"} <= judged.keys()
    written = pd.read_parquet(both.run.evaluation("test") / "predictions.parquet")
    assert list(written["id"]) == list(pd.read_parquet(fitted.run.evaluation("test") / "predictions.parquet")["id"])
    assert read_json(both.run.results_json)["backbone"] == "test_efficientnet + test_efficientnet"


def test_the_best_member_by_val_is_what_an_ensemble_is_set_against(both, fitted, second):
    found = both.run.read()["best_member"]
    val = {each.run.id: main_job.read_metrics(each.run, "val")["metrics"] for each in (fitted, second)}
    values = {name: metrics["balanced_accuracy"]["value"] for name, metrics in val.items()}
    assert {row["id"]: row["val"] for row in found["members"]} == values
    assert values[found["best"]] == max(values.values())
    # both have all five easy test images right
    assert f"Not distinguishable from its best member by val, {found['best']}: test balanced" in found["sentence"]
    assert found["comparison"]["mcnemar"]["p"] == 1.0


def test_the_report_of_an_ensemble_names_its_members_and_who_opened_test(both, fitted, second):
    page = Page(both.run.report_html)
    assert "What it is made of" in page.text
    assert "How it was trained" not in page.text
    assert both.run.read()["best_member"]["sentence"] in page.text
    assert "Members have opened these test images, too: 2 times in all." in page.text
    assert f"fitwell ensemble {fitted.run.path} {second.run.path}" in page.text


def test_an_ensemble_judges_other_images_and_is_compared_with_other_runs(both, fitted, tmp_path, capsys):
    other = write_pictures(tmp_path / "alike", per_class=4)
    moved = RunFolder(shutil.copytree(both.run.path, tmp_path / both.run.id))
    record = moved.read()
    for member in record["members"]:
        member["path"] = str(both.run.member(member["path"]).path)
    write_json(moved.run_json, record)
    assert run_command(["evaluate", str(moved.path), str(other), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["shift"]["found"] is False
    assert run_command(["compare", str(fitted.run.path), str(both.run.path), "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)["comparisons"][0]["recipe"]
    assert (row["key"], row["before"]) == ("members", None)


def test_the_command_prints_the_verdict_and_what_the_ensemble_is_worth(copies, tmp_path, capsys):
    for run in copies:
        with_targets(fitwell.load(run.path), EASY)
    command = ["ensemble", *(str(run.path) for run in copies), "--runs-dir", str(tmp_path / "new"), "--name", "pair"]
    assert run_command(command) == 0
    said = capsys.readouterr().out
    assert "test: 5 images" in said
    assert "target weights size <= 1e+09: met" in said
    assert "its best member by val" in said
    assert [path.name.endswith("-pair") for path in (tmp_path / "new").iterdir()] == [True]


def test_a_folder_of_runs_can_be_moved_as_a_whole(copies, tmp_path, pictures):
    made = fitwell.ensemble([run.path for run in copies], runs_dir=tmp_path)
    images = [pictures / "red" / "03.png"]
    expected = made.predict_proba(images)
    home = tmp_path / "elsewhere"
    home.mkdir()
    for run in (*copies, made.run):
        shutil.move(run.path, home / run.id)
    np.testing.assert_array_equal(fitwell.load(home / made.run.id).predict_proba(images), expected)


def test_a_member_that_is_gone_or_was_trained_again_is_refused(copies, tmp_path, pictures):
    made = create_ensemble(copies, tmp_path, "pair")
    write_json(copies[1].run_json, copies[1].read() | {"best_sha256": "0" * 64})
    with pytest.raises(CheckpointError, match=r"a member of the ensemble .* was trained again"):
        fitwell.load(made.path).predict_proba([pictures / "red" / "03.png"])
    shutil.rmtree(copies[1].path)
    with pytest.raises(CheckpointError, match=r"a member of the ensemble .* is gone"):
        fitwell.load(made.path).predict_proba([pictures / "red" / "03.png"])


def test_one_run_or_the_same_weights_twice_are_no_ensemble(copies, tmp_path):
    with pytest.raises(UsageError, match=r"1 run\(s\), with 1 different weights"):
        create_ensemble(copies[:1], tmp_path, "pair")
    copy = RunFolder(shutil.copytree(copies[0].path, tmp_path / "copy"))
    with pytest.raises(UsageError, match=r"2 run\(s\), with 1 different weights"):
        create_ensemble([copies[0], copy], tmp_path, "pair")


def test_an_ensemble_is_no_member(both, copies, tmp_path):
    with pytest.raises(UsageError, match="is an ensemble itself"):
        create_ensemble([copies[0], both.run], tmp_path, "pair")


def test_a_run_that_is_not_finished_is_no_member(copies, tmp_path):
    copies[1].update(state="interrupted")
    with pytest.raises(CheckpointError, match=r"(?s)is interrupted.*fitwell resume"):
        create_ensemble(copies, tmp_path, "pair")


def test_weights_that_were_changed_are_refused(copies, tmp_path):
    copies[1].best_weights.write_bytes(b"other")
    with pytest.raises(CheckpointError, match=r"best\.safetensors is gone or was changed"):
        create_ensemble(copies, tmp_path, "pair")


@pytest.mark.parametrize(
    ("section", "key", "message"),
    [
        ("data", "classes", "the classes of"),
        ("split", "hash", "the split hash of"),
        ("data", "fingerprint", "the data fingerprint of"),
    ],
)
def test_members_of_other_classes_splits_or_images_are_refused(section, key, message, copies, tmp_path):
    record = copies[1].read()
    write_json(copies[1].run_json, record | {section: record[section] | {key: ["other"]}})
    with pytest.raises(DataError, match=f"(?s){message}.*what one member learnt from must be no other's test"):
        create_ensemble(copies, tmp_path, "pair")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(run.id for run in copies)


def test_members_with_other_targets_are_refused(copies, tmp_path):
    with_targets(fitwell.load(copies[1].path), EASY)
    with pytest.raises(UsageError, match=r"(?s)`targets` is .* edit a recipe\.yaml"):
        create_ensemble(copies, tmp_path, "pair")


def test_an_ensemble_cannot_be_resumed(both, capsys):
    assert run_command(["resume", str(both.run.path)]) == 2
    assert "is an ensemble, which does not train" in capsys.readouterr().err


def sets_run(table, folder, **changes):
    recipe = tiny_recipe(**changes).model_dump(mode="json")
    recipe["target"]["kind"] = "multi_label"
    dataset = index_dataset(table, None, Labelling(several=True))
    run = main_job.start(main_job.prepare(dataset, Recipe.model_validate(recipe)), folder, "sets")
    main_job.train(run)
    return run


def test_of_several_classes_an_image_the_sigmoids_are_averaged_and_single_labels_do_not_mix(copies, tmp_path):
    first = sets_run(write_label_sets(tmp_path / "own"), tmp_path / "runs")
    second = RunFolder(shutil.copytree(first.path, tmp_path / "runs" / "other"))
    weights = load_file(second.best_weights)
    save_file({name: tensor * 1.1 for name, tensor in weights.items()}, second.best_weights)
    second.update(best_sha256=sha256_of_file(second.best_weights))
    made = fitwell.ensemble([first.path, second.path], runs_dir=tmp_path / "runs")
    paths = ["03.png", "12.png"]
    expected = np.mean([sigmoid(load_trained(run).logits(tmp_path / "own", paths)) for run in (first, second)], axis=0)
    found = made.predict_proba([tmp_path / "own" / path for path in paths])
    np.testing.assert_allclose(found, expected, atol=1e-5)
    found = made.run.read()["best_member"]
    assert found["sentence"].startswith(
        f"Not distinguishable from its best member by val, {found['best']}: test average "
    )
    assert found["comparison"]["metrics"].keys() >= {"average_precision", "exact_match"}
    with pytest.raises(UsageError, match=r"`target` is .*single.* and .*multi_label"):
        create_ensemble([copies[0], first], tmp_path / "runs", "mixed")


def test_a_best_member_without_test_predictions_is_told_with_what_to_do(copies, tmp_path):
    for run in copies:
        (run.evaluation("test") / "predictions.parquet").unlink()
    made = fitwell.ensemble([run.path for run in copies], runs_dir=tmp_path / "runs")
    found = made.run.read()["best_member"]
    assert found["comparison"] is None
    assert found["sentence"].startswith(f"It was not compared with its best member, {found['best']}: ")
    assert "predictions.parquet is missing" in found["sentence"]


def test_the_model_card_names_the_members_and_claims_no_training(both):
    card = both.run.model_card.read_text()
    for member in both.run.members():
        assert member["best_sha256"] in card
    assert "The ensemble trains nothing" in card
    assert "which began with" not in card


def test_the_gallery_shows_what_the_first_member_saw_and_no_heat_map(both):
    page = both.run.report_html.read_text()
    assert "No image of these was named wrongly" in page or "several networks look at a picture" in page
