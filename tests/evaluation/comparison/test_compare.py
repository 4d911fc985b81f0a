import pytest
from statsmodels.stats.multitest import multipletests

from fitwell.errors import UsageError
from fitwell.evaluation.comparison.compare import compare_runs
from judged_runs import DECAY, PLAIN, SIZE, fold_parts, make_run


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


def test_one_run_twice_is_no_comparison(tmp_path):
    run = make_run(tmp_path / "a")
    with pytest.raises(UsageError, match="2 run\\(s\\), 1 of them different"):
        compare_runs([run, run])
