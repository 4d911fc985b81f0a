import shutil

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import accuracy_score, roc_auc_score
from statsmodels.stats.multitest import multipletests

from fitwell.errors import DataError, RunError, UsageError
from fitwell.evaluation.comparison import compare_runs, letter
from fitwell.evaluation.intervals import find_units, interval_of, resample
from fitwell.evaluation.paired_tests import delong, mcnemar
from fitwell.recipe.schema import Images, Optimizer, Recipe, Split, Target
from judged_runs import make_images, make_run, read_test

PLAIN = Recipe(images=Images(size=128))
DECAY = Recipe(images=Images(size=128), optimizer=Optimizer(weight_decay=0.1))
SIZE = Recipe(images=Images(size=160))


def with_fold(recipe, fold, seed=0):
    return recipe.model_copy(update={"split": Split(folds=4, fold=fold), "seed": seed})


def fold_parts(fold, num_images=200):
    """Test is every fourth image from `fold` on, val the next, train the rest: no class is missed."""
    place = np.arange(num_images) // 2 % 4
    return np.where(place == fold - 1, "test", np.where(place == fold % 4, "val", "train"))


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


def test_more_than_two_are_compared_with_the_first_and_adjusted_after_holm(tmp_path):
    runs = [
        make_run(tmp_path / str(index), recipe, gain=gain, seed=index)
        for index, (recipe, gain) in enumerate([(PLAIN, 0.8), (DECAY, 1.6), (SIZE, 2.5)])
    ]
    comparisons = compare_runs(runs)["comparisons"]
    assert [(each["first"], each["other"]) for each in comparisons] == [("A", "B"), ("A", "C")]
    for test in ("mcnemar", "delong"):
        adjusted = multipletests([each[test]["p"] for each in comparisons], method="holm")[1]
        assert [each[test]["p_holm"] for each in comparisons] == pytest.approx(adjusted)
    entries = [each["metrics"]["accuracy"] for each in comparisons]
    adjusted = multipletests([entry["p"] for entry in entries], method="holm")[1]
    assert [entry["p_holm"] for entry in entries] == pytest.approx(adjusted)
    assert [entry["distinguishable"] for entry in entries] == [p < 0.05 for p in adjusted]


def test_seeds_of_one_recipe_on_the_same_images_are_compared_run_by_run(tmp_path):
    parts = fold_parts(1)
    recipes = [PLAIN, PLAIN.model_copy(update={"seed": 1})]
    runs = [make_run(tmp_path / str(index), recipe, parts=parts) for index, recipe in enumerate(recipes)]
    found = compare_runs(runs)
    assert found["case"] == "images"
    assert found["comparisons"][0]["recipe"] == [{"key": "seed", "before": 0, "after": 1}]


def test_seeds_on_one_division_are_a_paired_t_test(tmp_path):
    runs = []
    for seed in range(4):
        for name, recipe, gain in (("a", PLAIN, 1.0), ("b", DECAY, 1.3)):
            recipe = recipe.model_copy(update={"seed": seed})
            runs.append(make_run(tmp_path / f"{name}{seed}", recipe, gain=gain, seed=seed, parts=fold_parts(2)))
    found = compare_runs(runs)
    assert (found["case"], found["n"]) == ("seeds", 4)
    assert found["sentence"].startswith("4 seeds (0, 1, 2, 3) on one division of the images: paired t test.")
    (comparison,) = found["comparisons"]
    assert comparison["recipe"] == [{"key": "optimizer.weight_decay", "before": 0.05, "after": 0.1}]
    values = [accuracy_score(read_test(run)[1], read_test(run)[0].argmax(axis=1)) for run in runs]
    expected = stats.ttest_rel(values[1::2], values[::2])
    entry = comparison["metrics"]["accuracy"]
    assert (entry["n"], entry["t"], entry["p"]) == pytest.approx((4, expected.statistic, expected.pvalue))
    assert entry["pairs"] == [pytest.approx(pair) for pair in zip(values[::2], values[1::2], strict=True)]
    assert "flips" not in comparison


def test_folds_are_a_corrected_resampled_t_test(tmp_path):
    runs = []
    for name, recipe, gain in (("a", PLAIN, 1.0), ("b", DECAY, 1.3)):
        for fold in (1, 2, 3, 4):
            parts = fold_parts(fold)
            runs.append(
                make_run(tmp_path / f"{name}{fold}", with_fold(recipe, fold), gain=gain, seed=fold, parts=parts)
            )
    found = compare_runs(runs)
    assert (found["case"], found["n"]) == ("folds", 4)
    assert found["sentence"].startswith("Folds 1, 2, 3, 4 of 4: corrected resampled t test (Nadeau & Bengio 2003)")
    values = [accuracy_score(read_test(run)[1], read_test(run)[0].argmax(axis=1)) for run in runs]
    differences = np.subtract(values[4:], values[:4])
    entry = found["comparisons"][0]["metrics"]["accuracy"]
    assert entry["t"] == pytest.approx(differences.mean() / np.sqrt((1 / 4 + 50 / 100) * differences.var(ddof=1)))


def test_the_same_random_divisions_are_corrected_like_folds(tmp_path):
    runs = []
    for seed in range(3):
        for name, recipe in (("a", PLAIN), ("b", DECAY)):
            recipe = recipe.model_copy(update={"seed": seed})
            runs.append(make_run(tmp_path / f"{name}{seed}", recipe, gain=1 + seed / 4, seed=seed))
    found = compare_runs(runs)
    assert (found["case"], found["n"]) == ("divisions", 3)
    assert found["sentence"].startswith("3 divisions: corrected resampled t test")
    assert found["sentence"].endswith("1.00 test images for each training image.")


def test_a_mixture_of_folds_and_seeds_is_refused(tmp_path):
    runs = [
        make_run(tmp_path / "a1", with_fold(PLAIN, 1), parts=fold_parts(1)),
        make_run(tmp_path / "a2", with_fold(PLAIN, 2), parts=fold_parts(2)),
        make_run(tmp_path / "b1", with_fold(DECAY, 1), parts=fold_parts(1)),
    ]
    with pytest.raises(UsageError) as error:
        compare_runs(runs)
    assert error.value.found == (
        "a mixture: recipe A on 2 division(s): fold 1 seed 0, fold 2 seed 0; recipe B on 1 division(s): fold 1 seed 0."
    )
    assert "one run for each of the same folds" in error.value.expected


def test_a_fold_that_was_trained_twice_is_a_mixture(tmp_path):
    runs = [
        make_run(tmp_path / f"{name}{fold}{number}", with_fold(recipe, fold, number), parts=fold_parts(fold))
        for name, recipe in (("a", PLAIN), ("b", DECAY))
        for fold, number in ((1, 0), (1, 1), (2, 0))
    ]
    with pytest.raises(UsageError, match=r"recipe A on 2 division\(s\): fold 1 seed 0, fold 1 seed 1, fold 2 seed 0;"):
        compare_runs(runs)


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


def test_runs_of_other_classes_are_refused(tmp_path):
    runs = [make_run(tmp_path / "a"), make_run(tmp_path / "b", images=make_images(classes=("cat", "cow")))]
    with pytest.raises(DataError) as error:
        compare_runs(runs)
    assert error.value.found.endswith("/a knows the classes ['cat', 'dog'], and " + f"{runs[1].path} ['cat', 'cow'].")


def test_an_order_that_one_recipe_gives_the_classes_counts_for_both(tmp_path):
    ordered = Recipe(images=Images(size=128), target=Target(order=("dog", "cat")))
    runs = [make_run(tmp_path / "a", PLAIN, gain=2.0), make_run(tmp_path / "b", ordered, gain=2.0, seed=1)]
    metrics = compare_runs(runs)["comparisons"][0]["metrics"]
    for side, run in (("first", runs[0]), ("other", runs[1])):
        probs, labels, _ = read_test(run)
        assert metrics["mean_absolute_error"][side] == pytest.approx((probs.argmax(axis=1) != labels).mean())
        assert metrics["auc"][side] == pytest.approx(roc_auc_score(labels, probs[:, 1]))


def test_a_run_without_test_predictions_is_told_how_to_get_them(tmp_path):
    first, other = make_run(tmp_path / "a"), make_run(tmp_path / "b", DECAY)
    (other.evaluation("test") / "predictions.parquet").unlink()
    with pytest.raises(RunError) as error:
        compare_runs([first, other])
    assert "predictions.parquet is missing" in error.value.found
    assert error.value.fix == f"fitwell evaluate {other.path}"


def test_one_run_twice_is_no_comparison(tmp_path):
    run = make_run(tmp_path / "a")
    with pytest.raises(UsageError, match="2 run\\(s\\), 1 of them different"):
        compare_runs([run, run])


def test_recipes_are_lettered():
    assert [letter(index) for index in (0, 1, 25, 26)] == ["A", "B", "Z", "#27"]


def test_runs_of_several_classes_an_image_are_refused(tmp_path):
    several = Recipe(target={"kind": "multi_label"})
    runs = [make_run(tmp_path / "a", PLAIN), make_run(tmp_path / "b", several)]
    with pytest.raises(UsageError, match="b was trained on images that show several classes"):
        compare_runs(runs)
