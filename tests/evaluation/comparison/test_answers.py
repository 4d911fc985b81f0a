import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import accuracy_score, average_precision_score, f1_score

from fitwell.evaluation.comparison.compare import compare_runs
from fitwell.evaluation.intervals import find_units, interval_of
from fitwell.evaluation.multi_label_intervals import resample_label_sets, strata_of
from fitwell.evaluation.paired_tests import mcnemar
from judged_runs import CLASSES, SETS, SETS_DECAY, fold_parts, joined, make_set_run, with_fold


def read_sets(run):
    """(N, C) probabilities, what the test images show, and what they were given."""
    table = pd.read_parquet(run.evaluation("test") / "predictions.parquet").sort_values("id")
    cells = [[[name in label.split("|") for name in CLASSES] for label in table[key]] for key in ("label", "predicted")]
    return table[[f"p_{name}" for name in CLASSES]].to_numpy(), *(np.array(each) for each in cells)


def test_runs_of_any_number_of_classes_are_paired_image_by_image(tmp_path):
    runs = [make_set_run(tmp_path / "a", SETS, gain=0.4), make_set_run(tmp_path / "b", SETS_DECAY, gain=1.4, seed=1)]
    found = compare_runs(runs)
    assert (found["case"], found["num_images"]) == ("images", 50)
    metrics = found["comparisons"][0]["metrics"]
    assert set(metrics) == {"auc", "average_precision", "macro_f1", "micro_f1", "exact_match", "hamming_loss"}
    drawn = []
    for side, run in zip(("first", "other"), runs, strict=True):
        probs, targets, named = read_sets(run)
        assert metrics["macro_f1"][side] == pytest.approx(f1_score(targets, named, average="macro"))
        assert metrics["average_precision"][side] == pytest.approx(average_precision_score(targets, probs))
        assert metrics["exact_match"][side] == pytest.approx(accuracy_score(targets, named))
        units = find_units(strata_of(targets), None)
        drawn.append(resample_label_sets(probs, targets, named, units).metrics["micro_f1"])
    entry = metrics["micro_f1"]
    interval = interval_of(drawn[1] - drawn[0], entry["difference"], units, labels=strata_of(targets))
    assert entry["interval"] == [interval.low, interval.high]
    assert entry["distinguishable"] is True


def test_an_image_is_right_when_it_is_given_all_that_it_shows_and_nothing_else(tmp_path):
    runs = [make_set_run(tmp_path / "a", SETS, gain=0.4), make_set_run(tmp_path / "b", SETS_DECAY, gain=1.4, seed=1)]
    (comparison,) = compare_runs(runs)["comparisons"]
    (_, targets, named), (_, _, other_named) = (read_sets(run) for run in runs)
    right, other_right = (named == targets).all(axis=1), (other_named == targets).all(axis=1)
    assert comparison["mcnemar"].items() >= {"metric": "exact_match", **mcnemar(right, other_right)}.items()
    assert comparison["delong"] is None
    fixes = comparison["flips"]["fixes"]
    assert [row["other"] for row in fixes] == [row["label"] for row in fixes] == joined(targets[~right & other_right])
    assert [row["first"] for row in comparison["flips"]["breaks"]] == joined(targets[right & ~other_right])


def test_folds_of_images_with_any_number_of_classes_are_a_corrected_t_test(tmp_path):
    runs = [
        make_set_run(tmp_path / f"{name}{fold}", with_fold(recipe, fold), gain=gain, seed=fold, parts=fold_parts(fold))
        for name, recipe, gain in (("a", SETS, 0.6), ("b", SETS_DECAY, 1.0))
        for fold in (1, 2, 3, 4)
    ]
    found = compare_runs(runs)
    values = [f1_score(*read_sets(run)[1:], average="micro") for run in runs]
    differences = np.subtract(values[4:], values[:4])
    entry = found["comparisons"][0]["metrics"]["micro_f1"]
    assert found["case"] == "folds"
    assert entry["t"] == pytest.approx(differences.mean() / np.sqrt((1 / 4 + 50 / 150) * differences.var(ddof=1)))
