import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image, ImageOps

from fitwell import classifier as main_job
from fitwell.cli.app import run as run_command
from fitwell.data.index import index_dataset
from fitwell.evaluation.trained import load_trained
from fitwell.files import read_json, write_json
from html_page import Page
from pictures import tiny_recipe, write_label_sets, write_pictures


def judge(run, folder):
    return main_job.evaluate_dataset(run, index_dataset(folder), folder.stem)["shift"]


def invert(folder):
    for path in folder.rglob("*.png"):
        ImageOps.invert(Image.open(path)).save(path)
    return folder


def test_pictures_of_the_night_are_a_shift_and_the_command_warns_of_it(own_copy, tmp_path, capsys):
    other = write_pictures(tmp_path / "night", per_class=12, seed=1)
    for path in other.rglob("*.png"):
        Image.open(path).point(lambda value: value // 16).save(path)
    assert run_command(["evaluate", str(own_copy.run.path), str(other)]) == 0
    assert "warning: These pictures are unlike those it was chosen on" in capsys.readouterr().err
    shift = read_json(own_copy.run.evaluation("night") / "shift.json")
    assert shift["found"] is True
    assert shift["accuracy"]["interval"][1] < 0
    assert "Its accuracy is lower" in " ".join(shift["sentences"])


def test_like_pictures_are_no_shift_and_the_report_says_so(own_copy, tmp_path, capsys):
    other = write_pictures(tmp_path / "alike", per_class=12, seed=1)
    assert run_command(["evaluate", str(own_copy.run.path), str(other)]) == 0
    said = capsys.readouterr()
    assert "No shift was found at this n" in said.out
    assert "warning" not in said.err
    page = Page(own_copy.run.report_html)
    assert "Are other images like those it was chosen on? alike No shift was found at this n" in page.text


def test_pictures_that_the_run_learnt_from_are_counted_and_warned_of(own_copy, tmp_path, capsys):
    other = write_pictures(tmp_path / "alike", per_class=4, seed=1)
    split = pd.read_csv(own_copy.run.split)
    root = Path(own_copy.run.read()["data"]["root"])
    for part, count in (("train", 3), ("test", 1)):
        for number, row in split[split["split"] == part].head(count).iterrows():
            shutil.copy(root / row["path"], other / row["label"] / f"again-{number}.png")
    assert run_command(["evaluate", str(own_copy.run.path), str(other)]) == 0
    assert read_json(own_copy.run.evaluation("alike") / "shift.json")["known"] == {"train": 3, "val": 0, "test": 1}
    warning = (
        "warning: Some of these pictures are the run's own, byte for byte (3 of train, 1 of test): it looks better"
    )
    assert warning in capsys.readouterr().err
    assert "byte for byte (3 of train, 1 of test)" in Page(own_copy.run.report_html).text


def test_the_same_evaluation_gives_the_same_shift_to_the_last_bit(own_copy, tmp_path):
    other = write_pictures(tmp_path / "alike", per_class=5, seed=1)
    assert judge(own_copy.run, other) == judge(own_copy.run, other)


def test_confidence_and_accuracy_are_those_of_the_written_predictions(own_copy, tmp_path):
    shift = judge(own_copy.run, invert(write_pictures(tmp_path / "inverted", per_class=4, seed=1)))
    said = {
        name: pd.read_parquet(own_copy.run.evaluation(name) / "predictions.parquet")
        for name in ("val", "test", "inverted")
    }
    assert shift["confidence"]["own"] == pytest.approx(said["val"]["confidence"].mean())
    assert shift["confidence"]["new"] == pytest.approx(said["inverted"]["confidence"].mean())
    lowest = np.quantile(said["val"]["confidence"], 0.05)
    assert shift["confidence"]["below_lowest"] == (said["inverted"]["confidence"] < lowest).mean()
    assert shift["accuracy"]["against"] == "test"
    assert shift["accuracy"]["own"] == (said["test"]["label"] == said["test"]["predicted"]).mean()


def test_where_the_own_images_are_gone_the_reason_is_told_and_the_answers_are_still_compared(
    own_copy, tmp_path, caplog
):
    record = own_copy.run.read()
    write_json(own_copy.run.run_json, record | {"data": record["data"] | {"root": str(tmp_path / "nowhere")}})
    shift = judge(own_copy.run, write_pictures(tmp_path / "alike", per_class=4, seed=1))
    assert shift["found"] is None
    assert shift["pictures"] is None
    assert "a val image of the run, is gone or was changed" in shift["reason"]
    assert "could not be measured" in shift["sentences"][0]
    assert "Domain shift could not be measured" in caplog.text
    assert shift["confidence"]["interval"][0] < shift["confidence"]["interval"][1]
    assert "could not be measured" in Page(own_copy.run.report_html).text


def test_own_images_that_were_changed_are_no_yardstick(own_copy, tmp_path):
    record = own_copy.run.read()
    root = invert(shutil.copytree(record["data"]["root"], tmp_path / "changed"))
    write_json(own_copy.run.run_json, record | {"data": record["data"] | {"root": str(root)}})
    assert (
        "is gone or was changed"
        in judge(own_copy.run, write_pictures(tmp_path / "alike", per_class=4, seed=1))["reason"]
    )


def test_groups_of_one_set_alone_are_told(own_copy, tmp_path):
    other = write_pictures(tmp_path / "alike", per_class=4, seed=1)
    rows = [f"{path.relative_to(other)},{path.parent.name},{path.stem}" for path in sorted(other.rglob("*.png"))]
    (other / "alike.csv").write_text("\n".join(["path,label,group", *rows]) + "\n")
    shift = judge(own_copy.run, other / "alike.csv")
    assert (shift["pictures"]["num_new"], shift["pictures"]["num_new_units"]) == (12, 4)
    assert "Only one of the two sets has groups" in " ".join(shift["sentences"])


def test_the_own_splits_have_no_shift(own_copy):
    assert "shift" not in own_copy.evaluate("val")
    assert not (own_copy.run.evaluation("val") / "shift.json").exists()


def test_of_several_classes_an_image_all_must_be_right_and_confidence_is_the_mean_over_them(tmp_path):
    recipe = tiny_recipe().model_dump(mode="json")
    recipe["target"]["kind"] = "multi_label"
    from fitwell.data.labels import Labelling
    from fitwell.recipe.schema import Recipe

    recipe = Recipe.model_validate(recipe)
    several = Labelling(several=True)
    dataset = index_dataset(write_label_sets(tmp_path / "own"), None, several)
    run = main_job.start(main_job.prepare(dataset, recipe), tmp_path / "runs", "sets")
    main_job.train(run, splits=("val",))
    other = index_dataset(write_label_sets(tmp_path / "other", num_images=24), None, several)
    shift = main_job.evaluate_dataset(run, other, "other")["shift"]
    said = pd.read_parquet(run.evaluation("other") / "predictions.parquet")
    probs = said[[f"p_{name}" for name in load_trained(run).classes]].to_numpy()
    assert shift["confidence"]["new"] == pytest.approx(np.maximum(probs, 1 - probs).mean())
    assert shift["accuracy"]["metric"] == "exact match"
    assert shift["accuracy"]["against"] == "val"
    assert shift["accuracy"]["new"] == (said["label"] == said["predicted"]).mean()
