import csv
import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import sklearn.metrics

from bootstrap import bootstrap_intervals
from fitwell.errors import DataError
from fitwell.evaluation.evaluate import write_evaluation
from fitwell.evaluation.intervals import auc_interval, find_units, wilson_interval
from fitwell.evaluation.metrics import softmax
from fitwell.run_folder import RunFolder

CLASSES = ("cat", "dog")


def make_images(num_images=60, classes=CLASSES, *, groups=False, **slices):
    labels = [classes[index % len(classes)] for index in range(num_images)]
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


def make_logits(images, classes=CLASSES, *, gain=1.5, seed=0):
    logits = np.random.default_rng(seed).normal(size=(len(images), len(classes))).astype(np.float32)
    logits[np.arange(len(images)), [classes.index(label) for label in images["label"]]] += gain
    return logits


@pytest.fixture
def run(tmp_path):
    return RunFolder(tmp_path)


def judge(run, images, classes=CLASSES, *, split="test", **options):
    logits = make_logits(images, classes, **options)
    return write_evaluation(run, split, images, logits, classes, majority=classes[0]), logits


def test_metrics_json_is_what_was_returned_and_stands_beside_the_other_files(run):
    metrics, _ = judge(run, make_images())
    folder = run.evaluation("test")
    written = json.loads((folder / "metrics.json").read_text())
    assert written.pop("schema_version") == 1
    assert written == metrics
    names = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    figures = [f"figures/{name}.svg" for name in ("confidence", "confusion", "reliability", "risk_coverage", "roc")]
    assert names == ["confusion.csv", *figures, "metrics.json", "predictions.parquet"]


def test_groups_of_one_image_each_are_no_groups(run, tmp_path):
    images = make_images()
    plain, _ = judge(run, images)
    alone, _ = judge(RunFolder(tmp_path / "alone"), images.assign(group=images["path"]))
    assert alone == plain


def test_numbers_equal_scikit_learn_and_carry_their_interval_and_method(run):
    images = make_images()
    metrics, logits = judge(run, images)
    labels, probs = np.array([CLASSES.index(label) for label in images["label"]]), softmax(logits)
    predicted = probs.argmax(axis=1)
    entries = metrics["metrics"]
    assert entries["auc"]["value"] == pytest.approx(sklearn.metrics.roc_auc_score(labels, probs[:, 1]), abs=1e-12)
    right = int((predicted == labels).sum())
    assert entries["accuracy"]["interval"] == pytest.approx(wilson_interval(right, 60))
    assert entries["accuracy"]["method"] == f"Wilson, {right} of 60 images"
    expected = bootstrap_intervals(probs, labels, None)
    for name in ("balanced_accuracy", "macro_f1"):
        assert entries[name]["interval"] == pytest.approx(expected[name])
        assert entries[name]["method"] == "bootstrap, 2000 resamples of 60 images"
    expected = auc_interval(probs, labels, find_units(labels, None))
    assert entries["auc"]["interval"] == [expected.low, expected.high]
    assert entries["auc"]["method"] == "DeLong on the logit scale, 60 images"
    assert entries["log_loss"]["interval"] is None
    assert metrics["confusion"] == sklearn.metrics.confusion_matrix(labels, predicted).tolist()
    assert metrics["num_images"] == 60
    assert metrics["num_groups"] is None
    assert metrics["class_counts"] == {"cat": 30, "dog": 30}
    row = metrics["per_class"][0]
    assert row["recall"]["interval"] == pytest.approx(wilson_interval(row["correct"], row["support"]))
    assert row["precision"]["interval"] == pytest.approx(wilson_interval(row["correct"], row["predicted"]))


def test_two_classes_have_further_metrics_and_rankings_with_intervals(run):
    images = make_images(200)
    metrics, logits = judge(run, images)
    labels, scores = np.array([CLASSES.index(label) for label in images["label"]]), softmax(logits)[:, 1]
    expected = {
        "average_precision": sklearn.metrics.average_precision_score(labels, scores),
        "partial_auc": sklearn.metrics.roc_auc_score(labels, scores, max_fpr=0.1),
        "brier_score": sklearn.metrics.brier_score_loss(labels, scores),
        "matthews_correlation": sklearn.metrics.matthews_corrcoef(labels, scores > 0.5),
        "weighted_f1": sklearn.metrics.f1_score(labels, scores > 0.5, average="weighted"),
    }
    for name, value in expected.items():
        entry = metrics["metrics"][name]
        assert entry["value"] == pytest.approx(value, abs=1e-9)
        assert entry["interval"][0] < value < entry["interval"][1]
        assert entry["method"] == "bootstrap, 2000 resamples of 200 images"


def test_three_classes_have_no_ranking_and_no_threshold(run):
    classes = ("cat", "dog", "owl")
    metrics, _ = judge(run, make_images(60, classes), classes)
    assert "average_precision" not in metrics["metrics"]
    assert metrics["metrics"]["cohen_kappa"]["interval"] is not None
    assert metrics["operating_point"] is None
    assert metrics["metrics"]["auc"]["method"] == "DeLong on the logit scale, 60 images"


def test_answering_one_class_has_a_correlation_of_nothing_that_may_lie_on_either_side(run):
    images = make_images(40)
    metrics = write_evaluation(run, "test", images, np.tile([2.0, 0.0], (40, 1)), CLASSES, majority="cat")
    low, high = metrics["metrics"]["matthews_correlation"]["interval"]
    assert -0.3 < low < 0 < high < 0.3


def test_groups_are_what_is_resampled_and_few_of_them_are_said_to_be_few(run):
    images = make_images(40, groups=True)
    metrics, logits = judge(run, images)
    labels = np.array([CLASSES.index(label) for label in images["label"]])
    expected = bootstrap_intervals(softmax(logits), labels, images["group"].to_numpy())
    for name in ("accuracy", "balanced_accuracy", "macro_f1"):
        assert metrics["metrics"][name]["interval"] == pytest.approx(expected[name])
        assert metrics["metrics"][name]["method"] == "bootstrap, 2000 resamples of 8 groups"
    assert metrics["metrics"]["auc"]["method"] == "DeLong on the logit scale, 8 groups"
    assert metrics["per_class"][1]["recall"]["method"] == "bootstrap, 2000 resamples of 8 groups"
    assert metrics["num_groups"] == 8
    assert any(note.startswith("There are only 8 groups") for note in metrics["notes"])


def test_a_perfect_result_never_has_a_zero_width(run):
    for groups in (False, True):
        metrics, _ = judge(run, make_images(groups=groups), gain=100)
        for name in ("accuracy", "balanced_accuracy", "macro_f1", "auc"):
            entry = metrics["metrics"][name]
            assert entry["value"] == 1
            assert entry["interval"][0] < 0.95
        for row in metrics["per_class"]:
            assert row["recall"]["interval"][0] < 0.95


def test_the_baseline_always_answers_the_majority_class_of_train(run):
    images = make_images(50, ("cat", "dog", "owl", "owl"))
    logits = make_logits(images, ("cat", "dog", "owl"))
    metrics = write_evaluation(run, "test", images, logits, ("cat", "dog", "owl"), majority="owl")
    baseline = metrics["baseline"]
    assert baseline["label"] == "owl"
    assert baseline["accuracy"]["value"] == 24 / 50
    assert baseline["accuracy"]["interval"] == pytest.approx(wilson_interval(24, 50))
    assert baseline["balanced_accuracy"] == pytest.approx(1 / 3)
    assert baseline["auc"] == 0.5


def test_predictions_hold_every_image_probability_and_slice(run):
    images = make_images(6, groups=True, site=["a", "b", None] * 2, predicted=["x"] * 6, weight=1.0)
    _, logits = judge(run, images)
    table = pq.read_table(run.evaluation("test") / "predictions.parquet").to_pandas()
    start = ["id", "path", "label", "group", "predicted", "confidence", "p_cat", "p_dog"]
    assert table.columns.tolist() == [*start, "site", "slice_predicted"]
    np.testing.assert_allclose(table[["p_cat", "p_dog"]], softmax(logits))
    assert table["predicted"].tolist() == [CLASSES[index] for index in logits.argmax(axis=1)]
    np.testing.assert_allclose(table["confidence"], softmax(logits).max(axis=1))
    assert table["site"].tolist() == ["a", "b", ""] * 2
    assert table["group"].tolist() == images["group"].tolist()


def test_slices_are_judged_value_by_value_and_small_ones_make_no_claim(run):
    site = ["A"] * 45 + ["B"] * 15
    metrics, logits = judge(run, make_images(60, site=site, serial=[str(index) for index in range(60)]))
    large, small = metrics["slices"]
    assert (large["column"], large["value"], large["num_images"], large["enough"]) == ("site", "A", 45, True)
    assert (small["value"], small["num_images"], small["enough"]) == ("B", 15, False)
    right = logits.argmax(axis=1) == np.array([0, 1] * 30)
    assert large["accuracy"]["value"] == pytest.approx(right[:45].mean())
    recalls = [right[:45][start::2].mean() for start in (0, 1)]
    assert large["balanced_accuracy"]["value"] == pytest.approx(np.mean(recalls))
    assert metrics["slices_left_out"] == [{"column": "serial", "num_values": 60}]


def test_slices_are_set_against_the_rest(run):
    site = ["A"] * 30 + ["B"] * 30
    metrics, logits = judge(run, make_images(60, site=site))
    right = logits.argmax(axis=1) == np.array([0, 1] * 30)
    one, other = metrics["slices"]
    assert one["against_rest"]["difference"] == pytest.approx(right[:30].mean() - right[30:].mean())
    assert other["against_rest"]["difference"] == pytest.approx(-one["against_rest"]["difference"])


def test_sets_and_thresholds_of_test_are_chosen_on_val(run):
    val, _ = judge(run, make_images(80), split="val", seed=1)
    test, logits = judge(run, make_images(60))
    assert val["conformal"] is None
    assert val["selective"]["thresholds"] is None
    table = pq.read_table(run.evaluation("val") / "predictions.parquet").to_pandas()
    val_labels = np.array([CLASSES.index(label) for label in table["label"]])
    scores = 1 - table[["p_cat", "p_dog"]].to_numpy()[np.arange(80), val_labels]
    limit = np.sort(scores)[73 - 1]  # ceil(81 * 0.9)
    lac = test["conformal"]["variants"][0]
    assert lac["thresholds"] == [limit, limit]
    labels = np.array([0, 1] * 30)
    assert lac["coverage"]["value"] == ((1 - softmax(logits))[np.arange(60), labels] <= limit).mean()
    assert test["conformal"]["note"].startswith("On images like the 80 of val, 90 %")
    assert [row["wanted_risk"] for row in test["selective"]["thresholds"]] == [0.01, 0.05, 0.1]
    assert test["selective"]["curve"][-1] == [1.0, round(1 - test["metrics"]["accuracy"]["value"], 6)]


def test_without_val_there_are_no_sets(run):
    metrics, _ = judge(run, make_images())
    assert metrics["conformal"] is None
    assert metrics["selective"]["thresholds"] is None


def test_a_class_without_images_leaves_the_auc_undefined_and_says_so(run):
    images = make_images(30)
    logits = make_logits(images, ("cat", "dog", "owl"))
    metrics = write_evaluation(run, "val", images, logits, ("cat", "dog", "owl"), majority="cat")
    assert metrics["metrics"]["auc"] == {"value": None, "interval": None}
    assert metrics["roc"] is None
    assert metrics["per_class"][2]["recall"]["value"] is None
    assert metrics["notes"] == ["No image shows owl: nothing can be said about it, and the AUC is not defined."]


def test_resamples_without_a_class_are_counted_in_a_note(run):
    images = make_images(60, groups=True)
    images["label"] = ["dog" if index in (3, 30) else "cat" for index in range(60)]
    metrics, _ = judge(run, images)
    num_left_out = metrics["metrics"]["average_precision"]["num_left_out"]
    assert num_left_out == pytest.approx(2000 * (10 / 12) ** 12, abs=80)
    assert f"{num_left_out} resamples lacked a class" in metrics["notes"][-1]


def test_an_old_roc_picture_goes_when_the_curve_is_no_longer_defined(run):
    judge(run, make_images())
    picture = run.evaluation("test") / "figures" / "roc.svg"
    assert picture.exists()
    judge(run, make_images(10).assign(label="cat"))
    assert not picture.exists()


def test_a_long_roc_curve_is_thinned_and_keeps_its_ends(run):
    points = judge(run, make_images(2000), gain=0.5)[0]["roc"]["points"]
    assert 300 < len(points) <= 400
    assert points[0] == [0, 0]
    assert points[-1] == [1, 1]


def test_confusion_csv_runs_no_formula(run):
    classes = ("=1+1", "-x", "@a", "+b", 'plain, "quoted"')
    judge(run, make_images(20, classes), classes, gain=100)
    with (run.evaluation("test") / "confusion.csv").open(newline="") as file:
        header, *rows = csv.reader(file)
    names = ["'=1+1", "'-x", "'@a", "'+b", 'plain, "quoted"']
    assert header == ["actual (rows) / predicted (columns)", *names]
    assert [row[0] for row in rows] == names
    assert np.array_equal(np.array([row[1:] for row in rows], dtype=int), 4 * np.eye(5))


def test_no_images_are_refused(run):
    with pytest.raises(DataError, match=r"Found: 0 images to judge.\nExpected: at least one.\nFix: name a split"):
        write_evaluation(run, "test", make_images(0), np.zeros((0, 2)), CLASSES, majority="cat")


def test_an_unknown_label_is_refused(run):
    images = make_images(4).assign(label=["cat", "dog", "cow", "cat"])
    with pytest.raises(DataError) as error:
        write_evaluation(run, "test", images, np.zeros((4, 2)), CLASSES, majority="cat")
    assert error.value.found == "1 label(s) that the run does not know: ['cow']."
    assert error.value.expected == "only classes of the run: ['cat', 'dog']."
    assert error.value.fix == "rename the labels, or train a run that knows these classes."


def test_predictions_that_are_not_finite_are_refused_with_the_first_image(run):
    logits = np.zeros((4, 2))
    logits[2:] = np.nan
    with pytest.raises(DataError) as error:
        write_evaluation(run, "test", make_images(4), logits, CLASSES, majority="cat")
    assert error.value.found == "2 of 4 predictions are not finite, the first for 2.png."
    assert error.value.expected == "a number for every class."
    assert error.value.fix == "train again with a smaller learning rate: these weights cannot be judged."
    assert not run.evaluation("test").exists()


def test_logits_of_another_shape_are_our_bug(run):
    with pytest.raises(ValueError, match=r"logits have shape \(3, 2\), expected \(4, 2\)"):
        write_evaluation(run, "test", make_images(4), np.zeros((3, 2)), CLASSES, majority="cat")


def test_judging_and_reporting_never_load_torch():
    names = ["metrics", "ranking", "calibration", "operating_point", "choices", "evaluate", "charts", "report"]
    code = "import sys, {}; sys.exit(bool({{'torch', 'sklearn', 'matplotlib'}} & set(sys.modules)))".format(
        ", ".join(f"fitwell.evaluation.{name}" for name in names)
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
