"""Labels, weights and drawing of a run's images."""

import numpy as np
import pandas as pd
import pytest
from sklearn.utils.class_weight import compute_class_weight

from fitwell.recipe.schema import Balance, Limits, Recipe
from fitwell.recipe.target import Target
from fitwell.training.run_images import RunImages, strata

SPLITS = ("train",) * 8 + ("val",) * 6 + ("test",) * 2
LABELS = ("cat",) * 6 + ("dog",) * 2 + ("cat", "cat", "dog", "cat", "cat", "dog") + ("cat", "dog")
IMAGES = pd.DataFrame({"path": [f"{number}.png" for number in range(16)], "label": LABELS, "split": SPLITS})


def run_images(images: pd.DataFrame = IMAGES, **sections) -> RunImages:
    return RunImages(images, ("cat", "dog"), Recipe(**{"balance": Balance(class_weights="none"), **sections}))


def test_labels_are_places_among_the_classes():
    np.testing.assert_array_equal(run_images().labels("train"), [0, 0, 0, 0, 0, 0, 1, 1])


def test_class_and_image_weights_multiply_and_have_mean_one():
    weighed = IMAGES.assign(weight=[2.0, *[1.0] * 15])
    weights = run_images(weighed, balance=Balance(class_weights="balanced")).weights()
    expected = np.array([2, 1, 1, 1, 1, 1, 3, 3]) * 1.0  # a dog weighs three times a cat
    np.testing.assert_allclose(weights, expected / expected.mean(), rtol=1e-6)


def test_the_class_weights_that_a_run_tells_are_scikit_learns_of_its_training_images():
    told = run_images(balance=Balance(class_weights="balanced")).class_weights()
    expected = compute_class_weight("balanced", classes=np.array(["cat", "dog"]), y=np.array(LABELS[:8]))
    assert list(told) == ["cat", "dog"]
    np.testing.assert_allclose(list(told.values()), expected)


def test_val_is_limited_to_a_part_that_holds_every_class_and_stays():
    limited = run_images(limits=Limits(val_images=3))
    assert len(limited.part("val")) == 3
    assert set(limited.part("val")["label"]) == {"cat", "dog"}
    assert list(limited.part("val")["path"]) == list(run_images(limits=Limits(val_images=3)).part("val")["path"])
    assert len(limited.part("train")) == 8


@pytest.mark.parametrize("most", [6, 100, None])
def test_val_is_whole_where_the_limit_is_no_smaller(most: int | None):
    assert len(run_images(limits=Limits(val_images=most)).part("val")) == 6


def test_a_class_has_the_share_of_what_is_drawn():
    none, drawn = Balance(class_weights="none"), Balance(class_weights="none", sampler="balanced")
    np.testing.assert_allclose(np.exp(run_images(balance=none).prior_logits()), [0.75, 0.25])
    np.testing.assert_allclose(np.exp(run_images(balance=drawn).prior_logits()), [0.5, 0.5])


SETS = ("cat|dog", "", "cat", "cat", "cat|dog", "cat", "", "cat") + ("cat", "dog", "") * 2 + ("cat", "dog")
SEVERAL = {"target": Target(kind="multi_label")}


def several(**sections) -> RunImages:
    return run_images(IMAGES.assign(label=SETS), **{**SEVERAL, **sections})


def test_labels_of_several_classes_say_which_image_shows_which():
    expected = [[1, 1], [0, 0], [1, 0], [1, 0], [1, 1], [1, 0], [0, 0], [1, 0]]
    np.testing.assert_array_equal(several().labels("train"), np.array(expected, dtype=bool))


def test_weights_of_several_classes_have_one_for_each_and_mean_one():
    balanced = several(balance=Balance(class_weights="balanced"))
    weights = balanced.weights()
    assert weights.shape == (8, 2)
    assert weights.mean() == pytest.approx(1)
    assert balanced.class_weights() == {"cat": pytest.approx(2 / 6), "dog": pytest.approx(6 / 2)}
    assert (weights[0] / weights[1]).tolist() == pytest.approx([2 / 6, 6 / 2])


def test_image_weights_weigh_every_class_of_the_image():
    weighed = run_images(IMAGES.assign(label=SETS, weight=[3.0, *[1.0] * 15]), **SEVERAL)
    weights = weighed.weights()
    np.testing.assert_allclose(weights[0] / weights[1], [3, 3], rtol=1e-6)


def test_no_image_of_several_classes_is_drawn_more_often_and_its_prior_is_the_log_odds():
    assert several().drawing_shares() is None
    np.testing.assert_allclose(1 / (1 + np.exp(-several().prior_logits())), [6 / 8, 2 / 8], rtol=1e-6)


def test_a_limited_val_of_several_classes_shows_each():
    limited = several(limits=Limits(val_images=3)).part("val")
    assert sorted(limited["label"]) == ["", "cat", "dog"]


def test_the_stratum_of_several_classes_is_the_rarest():
    assert strata(np.array([[True, True], [True, False], [False, False]])).tolist() == [1, 0, 2]
    assert strata(np.array([1, 0])).tolist() == [1, 0]
