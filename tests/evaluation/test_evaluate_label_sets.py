import json

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import sklearn.metrics

from fitwell.data.labels import Labelling
from fitwell.errors import CheckpointError, DataError
from fitwell.evaluation.evaluate_label_sets import name_classes, read_thresholds, write_label_set_evaluation
from fitwell.evaluation.intervals import find_units, interval_of, wilson_interval
from fitwell.evaluation.multi_label import choose_thresholds, sigmoid
from fitwell.evaluation.multi_label_intervals import resample_label_sets, strata_of
from fitwell.run_folder import RunFolder

CLASSES = ("cat", "dog", "owl")
SEVERAL = Labelling(several=True)


def make_images(num_images=80, seed=0, *, groups=False, **slices):
    shown = np.random.default_rng(seed).random((num_images, 3)) < (0.5, 0.3, 0.2)
    labels = ["|".join(np.array(CLASSES)[row]) for row in shown]
    images = pd.DataFrame(
        {
            "id": [f"id{index}" for index in range(num_images)],
            "path": [f"{index}.png" for index in range(num_images)],
            "label": labels,
            "split": "test",
            "sha256": "0" * 64,
            **slices,
        }
    )
    return images.assign(group=[f"g{index // 5}" for index in range(num_images)]) if groups else images


def make_logits(images, *, seed=0):
    noise = np.random.default_rng(seed).normal(size=(len(images), 3))
    return (2 * SEVERAL.targets(images["label"].tolist(), CLASSES) - 1.5 + noise).astype(np.float32)


@pytest.fixture
def run(tmp_path):
    """A run whose val images were judged."""
    folder = RunFolder(tmp_path)
    folder.update(state="finished")
    judge(folder, make_images(seed=1), split="val", seed=1)
    return folder


def judge(run, images, *, split="test", seed=0):
    return write_label_set_evaluation(run, split, images, make_logits(images, seed=seed), CLASSES, usual="cat")


def test_thresholds_are_chosen_on_val_and_kept(run):
    val = make_images(seed=1)
    probs, targets = sigmoid(make_logits(val, seed=1)), SEVERAL.targets(val["label"].tolist(), CLASSES)
    chosen = run.read()["thresholds"]
    assert chosen["split"] == "val"
    assert list(chosen["values"].values()) == choose_thresholds(probs, targets).tolist()
    judge(run, make_images(seed=5), split="val", seed=5)
    judge(run, make_images(), split="test")
    assert run.read()["thresholds"] == chosen == read_thresholds(run)


def test_without_a_judged_val_there_are_no_thresholds(tmp_path):
    run = RunFolder(tmp_path)
    run.update(state="finished")
    with pytest.raises(CheckpointError, match=r"fitwell evaluate .* --split val"):
        judge(run, make_images())
    assert not run.evaluation("test").exists()


def test_every_number_equals_scikit_learn_at_the_thresholds_of_val(run):
    images = make_images()
    metrics = judge(run, images)
    probs, targets = sigmoid(make_logits(images)), SEVERAL.targets(images["label"].tolist(), CLASSES)
    named = probs >= list(read_thresholds(run)["values"].values())
    values = {name: entry["value"] for name, entry in metrics["metrics"].items()}
    assert values == pytest.approx(
        {
            "auc": sklearn.metrics.roc_auc_score(targets, probs),
            "average_precision": sklearn.metrics.average_precision_score(targets, probs),
            "log_loss": np.mean([sklearn.metrics.log_loss(*pair) for pair in zip(targets.T, probs.T, strict=True)]),
            "macro_f1": sklearn.metrics.f1_score(targets, named, average="macro"),
            "micro_f1": sklearn.metrics.f1_score(targets, named, average="micro"),
            "exact_match": sklearn.metrics.accuracy_score(targets, named),
            "hamming_loss": sklearn.metrics.hamming_loss(targets, named),
        },
        abs=1e-9,
    )
    assert [row["recall"]["value"] for row in metrics["per_class"]] == pytest.approx(
        sklearn.metrics.recall_score(targets, named, average=None).tolist(), abs=1e-9
    )
    assert metrics["class_counts"] == dict(zip(CLASSES, targets.sum(axis=0).tolist(), strict=True))
    assert metrics["num_of_no_class"] == int((images["label"] == "").sum())


def test_intervals_are_those_of_the_bootstrap_and_of_wilson(run):
    images = make_images()
    metrics = judge(run, images)
    probs, targets = sigmoid(make_logits(images)), SEVERAL.targets(images["label"].tolist(), CLASSES)
    named = probs >= list(read_thresholds(run)["values"].values())
    units = find_units(strata_of(targets), None)
    drawn = resample_label_sets(probs, targets, named, units)
    entry = metrics["metrics"]["auc"]
    expected = interval_of(drawn.metrics["auc"], entry["value"], units, labels=strata_of(targets), of_classes=True)
    assert entry["interval"] == [expected.low, expected.high]
    right = int((named == targets).all(axis=1).sum())
    assert metrics["metrics"]["exact_match"]["interval"] == list(wilson_interval(right, len(images)))
    assert metrics["metrics"]["log_loss"]["interval"] is None
    row = metrics["per_class"][1]
    assert row["recall"]["interval"] == list(wilson_interval(row["correct"], row["support"]))
    assert row["average_precision"]["method"] == "bootstrap, 2000 resamples of 80 images"


def test_with_groups_every_interval_is_of_groups(run):
    metrics = judge(run, make_images(groups=True))
    assert metrics["num_groups"] == 16
    entries = [metrics["metrics"]["exact_match"], *(row["recall"] for row in metrics["per_class"])]
    assert {entry["method"] for entry in entries} == {"bootstrap, 2000 resamples of 16 groups"}


def test_the_baseline_always_answers_the_usual_label(run):
    images = make_images()
    baseline = judge(run, images)["baseline"]
    targets = SEVERAL.targets(images["label"].tolist(), CLASSES)
    always = np.broadcast_to([True, False, False], targets.shape)
    assert baseline["label"] == "cat"
    assert baseline["exact_match"] == pytest.approx((images["label"] == "cat").mean())
    assert baseline["hamming_loss"] == pytest.approx(sklearn.metrics.hamming_loss(targets, always))
    assert (baseline["auc"], baseline["average_precision"]) == (0.5, pytest.approx(targets.mean()))


def test_predictions_hold_the_named_classes_and_the_probability_of_each(run):
    images = make_images(site="roof")
    judge(run, images)
    table = pq.read_table(run.evaluation("test") / "predictions.parquet").to_pandas()
    assert list(table) == ["id", "path", "label", "group", "predicted", "p_cat", "p_dog", "p_owl", "site"]
    np.testing.assert_array_equal(table[["p_cat", "p_dog", "p_owl"]], sigmoid(make_logits(images)))
    thresholds = read_thresholds(run)["values"]
    for row in table.to_dict("records"):
        named = [name for name in CLASSES if row[f"p_{name}"] >= thresholds[name]]
        assert row["predicted"] == "|".join(named)


def test_metrics_json_is_what_was_returned(run):
    metrics = judge(run, make_images(site="roof"))
    written = json.loads((run.evaluation("test") / "metrics.json").read_text())
    assert written.pop("schema_version") == 1
    assert written == metrics
    assert [row["value"] for row in metrics["slices"]] == ["roof"]


def test_a_class_without_val_images_has_one_half_and_a_note(tmp_path):
    run = RunFolder(tmp_path)
    run.update(state="finished")
    val = make_images(seed=1)
    without = val.assign(label=[label.replace("|owl", "").replace("owl", "") for label in val["label"]])
    judge(run, without, split="val", seed=1)
    metrics = judge(run, make_images())
    assert metrics["thresholds"]["values"]["owl"] == 0.5
    assert metrics["notes"] == ["No val image shows owl: the threshold could not be chosen and is 0.5."]


def test_on_val_the_page_is_told_that_thresholds_were_chosen_there(run):
    (note,) = judge(run, make_images(seed=1), split="val", seed=1)["notes"]
    assert note.startswith("The thresholds were chosen on these images")


def test_a_class_that_no_test_image_shows_leaves_the_mean_undefined_and_is_told(run):
    images = make_images()
    images["label"] = [label.replace("|owl", "").replace("owl", "") for label in images["label"]]
    metrics = judge(run, images)
    assert metrics["metrics"]["auc"] == {"value": None, "interval": None}
    assert metrics["per_class"][2]["auc"] == {"value": None, "interval": None}
    assert "No image shows owl" in metrics["notes"][0]


def test_a_label_of_another_class_is_refused(run):
    images = make_images().assign(label="cat|bat")
    with pytest.raises(DataError, match=r"1 label\(s\) that the run does not know: \['bat'\]"):
        write_label_set_evaluation(run, "test", images, np.zeros((80, 3)), CLASSES, usual="cat")


def test_named_classes_are_listed_for_every_image():
    named = np.array([[True, False, True], [False, False, False]])
    assert name_classes(named, CLASSES) == [["cat", "owl"], []]
