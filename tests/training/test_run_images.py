"""Labels, weights and drawing of a run's images."""

import numpy as np
import pandas as pd
import pytest

from fitwell.recipe.schema import Balance, Limits, Recipe
from fitwell.training.run_images import RunImages

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
    np.testing.assert_allclose(run_images(balance=none).class_shares(), [0.75, 0.25])
    np.testing.assert_allclose(run_images(balance=drawn).class_shares(), [0.5, 0.5])
