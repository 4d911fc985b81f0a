"""Images that show several classes, or none: the main job from a table to predictions, in Python and in the shell."""

import json
import shutil

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

import fitwell
from fitwell import classifier as main_job
from fitwell.cli.app import run as run_command
from fitwell.errors import CheckpointError, UsageError
from fitwell.evaluation.multi_label import sigmoid
from fitwell.recipe.read import write_recipe
from pictures import write_label_sets
from test_classifier import SETTINGS

HEAD = {"name": "head", "train": "head", "epochs": 3, "learning_rate": "search"}
SEVERAL = {**SETTINGS, "select.metric": "auto", "target.kind": "multi_label", "phases": [HEAD, *SETTINGS["phases"]]}
CLASSES = ["blue", "green", "red"]


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    return write_label_sets(tmp_path_factory.mktemp("sets"))


@pytest.fixture(scope="module")
def fitted(table, tmp_path_factory):
    return fitwell.Classifier(runs_dir=tmp_path_factory.mktemp("runs"), settings=SEVERAL).fit(table)


@pytest.fixture
def own_copy(fitted, tmp_path):
    """A finished run that a test may change."""
    return fitwell.load(shutil.copytree(fitted.run.path, tmp_path / fitted.run.id))


def command(*arguments, capsys):
    code = run_command([str(argument) for argument in arguments])
    return code, capsys.readouterr()


def test_the_default_of_a_search_and_a_fine_tuning_learns_patches_that_appear_together(fitted):
    assert fitted.classes == CLASSES
    metrics = main_job.read_metrics(fitted.run, "test")
    assert metrics["metrics"]["auc"]["value"] > 0.9
    epochs = [json.loads(line) for line in fitted.run.history.read_text().splitlines() if '"epoch"' in line]
    epochs = [record for record in epochs if record["kind"] == "epoch"]
    assert list(epochs[0]["val"]) == ["auc", "average_precision", "log_loss"]
    assert list(epochs[-1]["train"]) == ["loss", "exact_match"]
    assert list(epochs[-1]["val_average_precision"]) == CLASSES


def test_every_set_of_classes_is_in_every_part_and_the_split_keeps_it(fitted):
    split = pd.read_csv(fitted.run.split, keep_default_na=False)
    assert split["label"].nunique() == 8
    assert set(split["label"]) >= {"", "blue|green", "blue|green|red"}
    assert fitted.run.read()["split"]["counts"]["val"].keys() == set(CLASSES)


def test_predictions_are_the_classes_from_their_thresholds_on(fitted, table):
    paths = [table.parent / f"{number:02}.png" for number in range(8)]
    probs, thresholds = fitted.predict_proba(paths), fitted.run.read()["thresholds"]["values"]
    assert probs.shape == (8, 3)
    expected = [[name for name, p in zip(CLASSES, row, strict=True) if p >= thresholds[name]] for row in probs]
    assert fitted.predict(paths) == expected
    logits = fitted._trained.logits(table.parent, [path.name for path in paths])
    np.testing.assert_array_equal(probs, sigmoid(logits))


def test_test_is_judged_at_the_thresholds_of_val(fitted):
    metrics = main_job.read_metrics(fitted.run, "test")
    assert metrics["thresholds"]["split"] == "val"
    assert metrics["thresholds"] == main_job.read_metrics(fitted.run, "val")["thresholds"]
    rows = pq.read_table(fitted.run.evaluation("test") / "predictions.parquet").to_pandas()
    exact = (rows["predicted"] == rows["label"]).mean()
    assert metrics["metrics"]["exact_match"]["value"] == pytest.approx(exact)


def test_the_page_shows_every_class_with_its_threshold(fitted):
    page = fitted.run.report_html.read_text()
    for row in main_job.read_metrics(fitted.run, "test")["per_class"]:
        assert f"<td>{row['threshold']:.3f}</td>" in page
    assert "Confusion matrix" not in page
    assert "exact match" in page


def test_corruptions_are_refused_before_test_is_opened(own_copy):
    openings = own_copy.run.read()["test_openings"]
    with pytest.raises(UsageError, match="images that show several classes"):
        own_copy.evaluate("test", corruptions=True)
    assert own_copy.run.read()["test_openings"] == openings


def test_test_stays_closed_until_thresholds_were_chosen(own_copy):
    record = own_copy.run.read()
    openings = len(record["test_openings"])
    del record["thresholds"]
    own_copy.run.run_json.write_text(json.dumps(record))
    for ask in (lambda: own_copy.evaluate("test"), lambda: own_copy.predict(["0.png"])):
        with pytest.raises((CheckpointError, fitwell.errors.DataError)):
            ask()
    assert len(own_copy.run.read()["test_openings"]) == openings
    own_copy.evaluate("val")
    assert own_copy.evaluate("test")["thresholds"] == own_copy.run.read()["thresholds"]


def test_the_same_by_commands_and_by_columns(table, tmp_path, capsys):
    labels = pd.read_csv(table, keep_default_na=False)
    columns = labels.assign(**{name: labels["label"].str.contains(name).astype(int) for name in CLASSES})
    columns.drop(columns="label").to_csv(tmp_path / "columns.csv", index=False)
    write_recipe(tmp_path / "head.yaml", main_job.read_settings("auto", {**SETTINGS, "phases": [HEAD]}))
    target = ("--target.kind", "multi_label", "--target.columns", "[blue, green, red]")
    asked = ("--recipe", tmp_path / "head.yaml", *target)
    given = (tmp_path / "columns.csv", "--image-root", table.parent)
    code, shown = command("check", *given, *asked, "--json", capsys=capsys)
    assert (code, json.loads(shown.out)["class_counts"]) == (0, dict.fromkeys(CLASSES, 24))
    code, shown = command("train", *given, *asked, "--dry-run", capsys=capsys)
    assert "train     34 images: blue 16, green 17, red 16" in shown.out
    code, shown = command("train", *given, *asked, "--runs-dir", tmp_path / "runs", capsys=capsys)
    assert code == 0
    assert "exact match" in shown.out
    (run,) = (tmp_path / "runs").iterdir()
    code, shown = command("predict", run, table.parent / "00.png", table.parent / "07.png", capsys=capsys)
    lines = [line.split("\t") for line in shown.out.splitlines()]
    assert lines[1][1].count("|") == lines[1][2].count("|")
    code, shown = command("predict", run, table.parent / "07.png", "--json", capsys=capsys)
    assert isinstance(json.loads(shown.out)["predictions"][0]["predicted"], list)
    code, shown = command("evaluate", run, *given, "--json", capsys=capsys)
    assert (code, json.loads(shown.out)["num_images"]) == (0, 48)
    repeated = ("--recipe", run / "recipe.yaml", "--runs-dir", tmp_path / "again")
    code, _ = command("train", run / "split.csv", "--image-root", table.parent, *repeated, capsys=capsys)
    (again,) = (tmp_path / "again").iterdir()
    first, second = (json.loads((each / "run.json").read_text())["thresholds"] for each in (run, again))
    assert first == second
    assert command("resume", run, capsys=capsys)[0] == 0


def test_labels_are_not_checked_against_each_other(table):
    dataset = main_job.read_dataset(table, recipe=main_job.read_settings("auto", SEVERAL))
    with pytest.raises(UsageError, match="leave out --labels"):
        main_job.inspect(dataset, main_job.read_settings("auto", SEVERAL), labels=True)


def test_images_that_were_read_otherwise_than_the_recipe_says_are_our_mistake(table):
    with pytest.raises(ValueError, match="expected what the recipe's target says"):
        main_job.prepare(main_job.read_dataset(table), main_job.read_settings("auto", SEVERAL))


def test_the_recipes_of_a_suite_read_the_labels_in_one_way(table, tmp_path, capsys):
    recipe = {"name": "head", "recipe": "auto", "settings": {**SEVERAL, "phases": [HEAD]}}
    suite = {"tasks": {"sets": str(table)}, "recipes": [recipe, {"name": "single", "recipe": "auto"}]}
    (tmp_path / "suite.yaml").write_text(json.dumps(suite))
    code, shown = command("suite", tmp_path / "suite.yaml", "--runs-dir", tmp_path / "runs", capsys=capsys)
    assert code == 2
    assert "head and single read the labels of sets differently" in shown.err
    (tmp_path / "suite.yaml").write_text(json.dumps({**suite, "recipes": [recipe]}))
    code, shown = command("suite", tmp_path / "suite.yaml", "--runs-dir", tmp_path / "runs", capsys=capsys)
    assert code == 0
    assert "| sets | head | 1 |" in shown.out
