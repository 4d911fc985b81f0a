import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import accuracy_score

from fitwell.errors import UsageError
from fitwell.evaluation.comparison.compare import compare_runs
from judged_runs import DECAY, PLAIN, fold_parts, make_run, read_test, with_fold


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
    assert entry["t"] == pytest.approx(differences.mean() / np.sqrt((1 / 4 + 50 / 150) * differences.var(ddof=1)))


def test_the_same_random_divisions_are_corrected_like_folds(tmp_path):
    runs = []
    for seed in range(3):
        for name, recipe in (("a", PLAIN), ("b", DECAY)):
            recipe = recipe.model_copy(update={"seed": seed})
            runs.append(make_run(tmp_path / f"{name}{seed}", recipe, gain=1 + seed / 4, seed=seed))
    found = compare_runs(runs)
    assert (found["case"], found["n"]) == ("divisions", 3)
    assert found["sentence"].startswith("3 divisions: corrected resampled t test")
    assert found["sentence"].endswith("0.67 test images for each of train and val.")


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
