import pytest
from sklearn.metrics import roc_auc_score

from fitwell.errors import DataError, RunError
from fitwell.evaluation.comparison.compare import compare_runs
from fitwell.evaluation.comparison.judged_runs import letter
from fitwell.recipe.schema import Images, Recipe, Target
from judged_runs import DECAY, PLAIN, SETS, make_images, make_run, make_set_run, read_test


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


def test_recipes_are_lettered():
    assert [letter(index) for index in (0, 1, 25, 26)] == ["A", "B", "Z", "#27"]


def test_one_class_an_image_is_not_compared_with_any_number_of_them(tmp_path):
    runs = [make_run(tmp_path / "a", PLAIN), make_set_run(tmp_path / "b", SETS, gain=1.0)]
    with pytest.raises(DataError, match=r"a has target\.kind single, and .*b multi_label"):
        compare_runs(runs)
