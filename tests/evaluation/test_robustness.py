import numpy as np
import pytest

from fitwell.evaluation.evaluate import Judged
from fitwell.evaluation.intervals import find_units, interval_of, wilson_interval
from fitwell.evaluation.robustness import Corrupted, Quantity, judge_robustness, most_sensitive

CLASSES = ("cat", "dog", "owl")


def probs_of(answers, num_classes=3):
    return np.eye(num_classes)[answers]


def answers_right_in(share, labels, seed):
    """Answers that are right for about `share` of the images, else the next class."""
    right = np.random.default_rng(seed).random(len(labels)) < share
    return np.where(right, labels, (labels + 1) % 3)


@pytest.fixture
def labels():
    return np.arange(150) % 3


@pytest.fixture
def clean(labels):
    return Judged(probs_of(answers_right_in(0.9, labels, 0)), labels, None)


@pytest.fixture
def corrupted(labels):
    shares = {"noise": (0.8, 0.4), "blur": (0.88, 0.86)}
    return [
        Corrupted(name, severity, 0.1 * severity, probs_of(answers_right_in(share, labels, 1)))
        for name, levels in shares.items()
        for severity, share in enumerate(levels, start=1)
    ]


def right(judged_probs, labels):
    return (judged_probs.argmax(axis=1) == labels).astype(float)


def paired_interval(before, after, labels):
    """A plain paired bootstrap of the accuracy within classes, and its percentiles."""
    rng, lost = np.random.default_rng(7), before - after
    places = [np.flatnonzero(labels == each) for each in range(3)]
    means = [np.concatenate([lost[rng.choice(each, len(each))] for each in places]).mean() for _ in range(4000)]
    return np.quantile(means, [0.025, 0.975])


def test_the_drop_is_paired_image_by_image(clean, corrupted, labels):
    found = judge_robustness(clean, corrupted, CLASSES)
    before, after = right(clean.probs, labels), right(corrupted[1].probs, labels)
    entry = found["corruptions"][0]["severities"][1]["drop"]["accuracy"]
    assert entry["value"] == pytest.approx(before.mean() - after.mean())
    np.testing.assert_allclose(entry["interval"], paired_interval(before, after, labels), atol=0.01)


def test_metrics_under_a_corruption_have_the_intervals_of_every_evaluation(clean, corrupted, labels):
    found = judge_robustness(clean, corrupted, CLASSES)
    row = found["corruptions"][1]["severities"][0]
    hits = int(right(corrupted[2].probs, labels).sum())
    assert (row["severity"], row["level"]) == (1, 0.1)
    assert row["accuracy"]["interval"] == pytest.approx(wilson_interval(hits, 150))
    assert row["balanced_accuracy"]["method"] == "bootstrap, 2000 resamples of 150 images"


def test_the_mean_and_its_drop_are_those_over_all_corruptions_and_severities(clean, corrupted, labels):
    found = judge_robustness(clean, corrupted, CLASSES)
    rows = [row for each in found["corruptions"] for row in each["severities"]]
    mean = np.mean([right(each.probs, labels).mean() for each in corrupted])
    assert found["mean"]["accuracy"]["value"] == pytest.approx(mean)
    assert found["mean"]["drop"]["accuracy"]["value"] == pytest.approx(right(clean.probs, labels).mean() - mean)
    lost = [row["drop"]["balanced_accuracy"]["value"] for row in rows]
    noise = found["corruptions"][0]
    assert noise["name"] == "noise"
    assert noise["drop"]["balanced_accuracy"]["value"] == pytest.approx(np.mean(lost[:2]))


def test_the_drop_of_a_class_is_that_of_its_recall(labels, clean):
    answers = clean.probs.argmax(axis=1)
    answers[labels == 1] = 0  # no dog is recognised
    found = judge_robustness(clean, [Corrupted("noise", 1, 0.1, probs_of(answers))], CLASSES)
    cat, dog, owl = found["corruptions"][0]["severities"][0]["per_class"]
    recall = right(clean.probs, labels)[labels == 1].mean()
    assert (dog["class"], dog["clean"], dog["corrupted"]) == ("dog", pytest.approx(recall), 0)
    assert dog["drop"]["value"] == pytest.approx(recall)
    assert cat["drop"]["value"] == owl["drop"]["value"] == 0


def test_a_class_without_images_has_no_drop(clean, labels):
    without = clean.only(labels < 2)
    rows = judge_robustness(without, [Corrupted("noise", 1, 0.1, without.probs)], CLASSES)["corruptions"][0][
        "severities"
    ]
    owl = rows[0]["per_class"][2]
    assert (owl["clean"], owl["corrupted"], owl["drop"]) == (None, None, {"value": None, "interval": None})


def test_a_corruption_that_changes_no_answer_is_not_claimed_to_cost_exactly_nothing(clean):
    entry = judge_robustness(clean, [Corrupted("noise", 1, 0.1, clean.probs)], CLASSES)["mean"]["drop"]["accuracy"]
    assert entry["value"] == 0
    assert entry["interval"][0] < 0 < entry["interval"][1]


def test_with_groups_whole_groups_are_drawn_again(clean, corrupted, labels):
    groups = np.array([f"g{index // 15}" for index in range(150)])
    grouped = judge_robustness(Judged(clean.probs, labels, groups), corrupted, CLASSES)
    assert grouped["num_groups"] == 10
    assert grouped["mean"]["drop"]["accuracy"]["method"] == "bootstrap, 2000 resamples of 10 groups"


def test_the_same_images_give_the_same_numbers(clean, corrupted):
    assert judge_robustness(clean, corrupted, CLASSES) == judge_robustness(clean, corrupted, CLASSES)


def test_what_costs_most_is_named_alone_only_where_it_can_be_told_from_the_others(clean, corrupted):
    assert judge_robustness(clean, corrupted, CLASSES)["most_sensitive"] == ["noise"]
    blur = [each for each in corrupted if each.name == "blur"]
    twin = [Corrupted("snow", each.severity, each.level, each.probs) for each in blur]
    assert judge_robustness(clean, [*blur, *twin], CLASSES)["most_sensitive"] == ["blur", "snow"]


def test_telling_the_worst_apart_pays_for_the_number_of_comparisons(labels):
    units = find_units(labels, None)
    rng = np.random.default_rng(0)
    drops = {"worst": Quantity(0.1, np.full(2000, 0.1))}
    drops["near"] = Quantity(0.08, 0.1 - rng.normal(0.02, 0.0093, 2000))  # p about 0.03
    assert interval_of(0.1 - drops["near"].drawn, 0.02, units, labels=labels, bounds=(-1, 1)).low > 0
    assert most_sensitive(drops, units) == ["worst"]
    assert most_sensitive({**drops, "nearer": drops["near"]}, units) == ["worst", "near", "nearer"]
