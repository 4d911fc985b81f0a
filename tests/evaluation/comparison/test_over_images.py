import shutil

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from fitwell.errors import DataError
from fitwell.evaluation.comparison.compare import compare_runs
from fitwell.evaluation.intervals import find_units, interval_of, resample
from fitwell.evaluation.paired_tests import delong, mcnemar
from judged_runs import DECAY, PLAIN, fold_parts, make_images, make_run, read_test


def test_two_runs_on_the_same_images_are_paired_image_by_image(tmp_path):
    first, other = make_run(tmp_path / "a", PLAIN, gain=0.5), make_run(tmp_path / "b", DECAY, gain=2.0, seed=1)
    found = compare_runs([first, other])
    assert (found["case"], found["num_images"]) == ("images", 80)
    assert found["sentence"] == "The same 80 test images, paired."
    assert found["recipes"] == [{"name": "A", "runs": [str(first.path)]}, {"name": "B", "runs": [str(other.path)]}]
    (comparison,) = found["comparisons"]
    assert comparison["recipe"] == [{"key": "optimizer.weight_decay", "before": 0.05, "after": 0.1}]
    probs, labels, _ = read_test(first)
    other_probs, _, _ = read_test(other)
    units = find_units(labels, None)
    before, after = (resample(each, labels, units, names=["auc"]).metrics["auc"] for each in (probs, other_probs))
    area, other_area = roc_auc_score(labels, probs[:, 1]), roc_auc_score(labels, other_probs[:, 1])
    interval = interval_of(after - before, other_area - area, units, labels=labels)
    entry = comparison["metrics"]["auc"]
    assert (entry["first"], entry["other"]) == pytest.approx((area, other_area))
    assert entry["interval"] == [interval.low, interval.high]
    assert entry["distinguishable"] is True
    right, other_right = probs.argmax(axis=1) == labels, other_probs.argmax(axis=1) == labels
    assert comparison["mcnemar"].items() >= mcnemar(right, other_right).items()
    scores = np.stack([probs[:, 1], other_probs[:, 1]])
    assert comparison["delong"].items() >= delong(scores, labels == 1).items()
    assert comparison["delong"]["p_holm"] == comparison["delong"]["p"]


def test_flips_name_the_images_that_only_one_of_them_has_right(tmp_path):
    first, other = make_run(tmp_path / "a", PLAIN), make_run(tmp_path / "b", DECAY, gain=2.0, seed=1)
    flips = compare_runs([first, other])["comparisons"][0]["flips"]
    (_, _, table), (_, _, other_table) = read_test(first), read_test(other)
    right, other_right = table["predicted"] == table["label"], other_table["predicted"] == table["label"]
    assert [row["path"] for row in flips["fixes"]] == table["path"][~right & other_right].tolist()
    assert [row["path"] for row in flips["breaks"]] == table["path"][right & ~other_right].tolist()
    row = flips["fixes"][0]
    assert row["other"] == row["label"] != row["first"]


def test_a_run_and_its_copy_are_not_distinguishable(tmp_path):
    first = make_run(tmp_path / "a", PLAIN)
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    (comparison,) = compare_runs([first, type(first)(tmp_path / "b")])["comparisons"]
    assert comparison["recipe"] == []
    assert comparison["flips"] == {"fixes": [], "breaks": []}
    for entry in comparison["metrics"].values():
        assert (entry["difference"], entry["p"], entry["distinguishable"]) == (0.0, 1.0, False)
        assert entry["interval"][0] < 0 < entry["interval"][1]
    assert comparison["mcnemar"]["p"] == 1.0
    assert (comparison["delong"]["p"], comparison["delong"]["p_holm"]) == (None, None)


def test_groups_are_resampled_and_tests_of_independent_images_left_out(tmp_path):
    images = make_images(groups=20)
    parts = np.where(np.arange(200) % 20 < 12, "test", np.where(np.arange(200) % 20 < 14, "val", "train"))
    settings = {"images": images, "parts": parts}
    runs = [make_run(tmp_path / "a", PLAIN, **settings), make_run(tmp_path / "b", DECAY, seed=1, **settings)]
    found = compare_runs(runs)
    assert found["sentence"].startswith("The same 120 test images, paired, in 12 groups. Images of a group are alike")
    (comparison,) = found["comparisons"]
    assert (comparison["mcnemar"], comparison["delong"]) == (None, None)
    assert comparison["metrics"]["accuracy"]["method"] == "bootstrap, 2000 resamples of 12 groups"


def test_other_test_images_are_refused_with_their_number_and_the_reason(tmp_path):
    first, other = make_run(tmp_path / "a", PLAIN), make_run(tmp_path / "b", DECAY.model_copy(update={"seed": 5}))
    missing = len(set(read_test(first)[2]["id"]) - set(read_test(other)[2]["id"]))
    with pytest.raises(DataError) as error:
        compare_runs([first, other])
    assert f"{missing} of 80 and {missing} of 80 are in one only, and 0 of the {80 - missing} in both" in str(
        error.value
    )
    assert "Why: seed is 0 in one and 5 in the other." in error.value.found
    assert error.value.fix.endswith(f"fitwell train {first.split} --image-root /cats")


def test_changed_images_are_refused_with_their_number(tmp_path):
    images = make_images()
    changed = images.assign(sha256=["f" * 64 if index % 10 == 0 else sha for index, sha in enumerate(images["sha256"])])
    parts = fold_parts(1)
    runs = [make_run(tmp_path / name, PLAIN, table, parts=parts) for name, table in (("a", images), ("b", changed))]
    with pytest.raises(DataError, match=r"0 of 50 and 0 of 50 are in one only, and 5 of the 50 in both have another"):
        compare_runs(runs)
