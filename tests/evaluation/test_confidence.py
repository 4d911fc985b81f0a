import numpy as np
import pytest

from fitwell.evaluation.confidence import judge_confidence

CLASSES = ("cat", "dog")


def judged(sure_of_dog, labels):
    dog = np.array(sure_of_dog)
    return judge_confidence(np.column_stack([1 - dog, dog]), np.array(labels), CLASSES)


def test_five_images_worked_by_hand():
    found = judged([0.05, 0.25, 0.625, 0.75, 1.0], [0, 1, 0, 1, 1])
    right, wrong = found["all"]["right"], found["all"]["wrong"]
    assert right == {"num_images": 3, "median": 0.95, "counts": [0, 0, 0, 0, 0, 0, 0, 1, 0, 2]}
    assert wrong == {"num_images": 2, "median": (0.75 + 0.625) / 2, "counts": [0, 0, 0, 0, 0, 0, 1, 1, 0, 0]}
    dog = found["per_class"][1]
    assert dog["class"] == "dog"
    assert dog["right"]["counts"] == [0, 0, 0, 0, 0, 0, 0, 1, 0, 1]
    assert dog["wrong"] == {"num_images": 1, "median": 0.75, "counts": [0, 0, 0, 0, 0, 0, 0, 1, 0, 0]}


def test_counts_equal_numpys_histogram_and_add_up_over_classes():
    rng = np.random.default_rng(0)
    probs, labels = rng.dirichlet(np.ones(3), 300), rng.integers(0, 3, 300)
    found = judge_confidence(probs, labels, ("a", "b", "c"))
    confidence, right = probs.max(axis=1), probs.argmax(axis=1) == labels
    for answer, chosen in (("right", right), ("wrong", ~right)):
        expected = np.histogram(confidence[chosen], bins=10, range=(0, 1))[0].tolist()
        assert found["all"][answer]["counts"] == expected
        assert np.sum([row[answer]["counts"] for row in found["per_class"]], axis=0).tolist() == expected
        assert found["all"][answer]["median"] == pytest.approx(np.median(confidence[chosen]))


def test_without_a_mistake_the_median_of_mistakes_is_not_defined():
    assert judged([0.9, 0.1], [1, 0])["all"]["wrong"] == {"num_images": 0, "median": None, "counts": [0] * 10}


def test_a_class_without_images_has_no_medians():
    absent = judged([0.9, 0.2], [1, 1])["per_class"][0]
    assert (absent["right"]["median"], absent["wrong"]["median"]) == (None, None)
