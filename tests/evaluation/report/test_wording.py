import pytest

from fitwell.evaluation.report.wording import (
    describe_robustness,
    describe_verdict,
    format_claim,
    format_interval,
    format_number,
    format_size,
)
from reported_runs import judge_sets, make_metrics


@pytest.mark.parametrize(
    ("claim", "told"),
    [
        (None, ""),
        ({"differs": False, "difference": -0.1, "p_holm": 0.2}, "–"),
        ({"differs": True, "difference": -0.123, "p_holm": 0.0321}, "worse, p 0.032"),
        ({"differs": True, "difference": 0.2, "p_holm": 1e-9}, "better, p below 0.001"),
    ],
)
def test_a_slice_is_called_better_or_worse_only_where_it_differs(claim, told):
    assert format_claim(claim) == told


@pytest.mark.parametrize(
    ("low", "high", "title"),
    [
        (0.51, 0.7, "Better than guessing"),
        (0.5, 0.7, "Not shown to be better than guessing"),
        (0.3, 0.49, "Worse than guessing"),
    ],
)
def test_the_verdict_claims_no_more_than_its_interval_allows(low, high, title):
    verdict = describe_verdict(make_metrics(low, high))
    assert verdict["title"] == title
    assert verdict["better"] == (title == "Better than guessing")
    interval = f"{low:.3f}–{high:.3f}"
    assert verdict["headline"] == f"holiday photos AUC 0.600 (95 % CI {interval}, 1 image in 1 group)"
    assert verdict["sentences"] == [
        "Shown one “dog” and one “cat” image, it ranks the “dog” one higher 60 times out of 100; "
        "a coin would reach 50.",
        "It names the right class for 60 of 100 images. Always answering “cat” would be right for 50 "
        "and find nothing else.",
    ]


def test_without_an_interval_nothing_is_claimed():
    metrics = make_metrics(0.9, 0.95)
    metrics["metrics"]["auc"]["interval"] = None
    verdict = describe_verdict(metrics)
    assert verdict["title"] == "Not shown to be better than guessing"
    assert verdict["headline"] == "holiday photos AUC 0.600 (1 image in 1 group)"


def test_an_undefined_auc_gives_way_to_balanced_accuracy():
    metrics = make_metrics(0.6, 0.7)
    metrics["metrics"]["auc"] = {"value": None, "interval": None}
    assert "balanced accuracy 0.600" in describe_verdict(metrics)["headline"]


def test_numbers_below_one_are_never_rounded_to_one():
    assert format_number(0.99996) == "0.99996"
    assert format_number(1.0) == "1.000"
    assert format_number(0.0002) == "0.0002"
    assert format_number(None) == "not defined"
    assert format_interval([0.99996, 1.0]) == "0.99996–1.000"
    assert format_interval(None) == "no interval"
    assert format_size({"num_images": 1200, "num_groups": None}) == "1,200 images"


def test_the_verdict_on_several_classes_is_the_mean_auc_and_the_exact_match(run_of_sets):
    run, images = run_of_sets
    judge_sets(run, images, "val")
    metrics = judge_sets(run, images, "test")
    verdict = describe_verdict(metrics)
    assert verdict["title"] == "Better than guessing"
    assert verdict["headline"].startswith(f"Test AUC {format_number(metrics['metrics']['auc']['value'])} (95 % CI")
    assert "it ranks the former higher" in verdict["sentences"][0]
    assert "Always answering “cat|dog” would for" in verdict["sentences"][1]


def test_without_an_auc_the_verdict_rests_on_average_precision(run_of_sets):
    run, images = run_of_sets
    judge_sets(run, images, "val")
    everywhere = images.assign(label=[label if "cat" in label else f"cat|{label}" for label in images["label"]])
    metrics = judge_sets(run, everywhere, "test")
    verdict = describe_verdict(metrics)
    assert verdict["headline"].startswith("Test average precision")
    assert len(verdict["sentences"]) == 1


def make_robustness(drop, noise, *, most_sensitive=("gaussian_noise",)):
    """Intervals of the mean drop and of that under noise, each around its middle."""
    entries = [{"value": sum(ends) / 2, "interval": list(ends)} for ends in (drop, noise)]
    return {
        "split": "test",
        "num_images": 100,
        "num_groups": None,
        "clean": {"balanced_accuracy": {"value": 0.8}},
        "mean": {"balanced_accuracy": {"value": 0.7}, "drop": {"balanced_accuracy": entries[0]}},
        "corruptions": [{"name": "gaussian_noise", "drop": {"balanced_accuracy": entries[1]}}],
        "most_sensitive": list(most_sensitive),
    }


def test_what_corruptions_cost_is_told_with_its_interval():
    assert describe_robustness(make_robustness((0.05, 0.15), (0.1, 0.3))) == [
        "Test (100 images): of a balanced accuracy of 0.800 on clean pictures it keeps 0.700 on average over all "
        "corruptions and severities, a drop of 0.100 (95 % CI 0.050 to 0.150).",
        "It is most sensitive to gaussian noise: a drop of 0.200 (95 % CI 0.100 to 0.300).",
    ]


def test_a_drop_that_may_be_none_is_not_claimed():
    mean, worst = describe_robustness(make_robustness((-0.01, 0.05), (-0.1, 0.3)))
    assert mean.endswith("(95 % CI -0.010 to 0.050), which these images cannot tell from none.")
    assert worst == "No corruption, averaged over its severities, is shown to cost anything."


def test_a_smaller_drop_that_is_certain_is_not_denied_by_a_larger_one_that_is_not():
    found = make_robustness((0.05, 0.15), (-0.1, 0.5), most_sensitive=("gaussian_noise", "shift"))
    certain = {"name": "shift", "drop": {"balanced_accuracy": {"value": 0.1, "interval": [0.05, 0.15]}}}
    found["corruptions"].append(certain)
    assert describe_robustness(found)[1].startswith(
        "The largest drop is that under gaussian noise, 0.200 (95 % CI -0.1"
    )


def test_corruptions_that_cannot_be_told_apart_are_named():
    found = make_robustness((0.05, 0.15), (0.1, 0.3), most_sensitive=("gaussian_noise", "shift", "jpeg_compression"))
    every = found["corruptions"][0]
    found["corruptions"] += [{**every, "name": name} for name in ("shift", "jpeg_compression", "rotation")]
    assert describe_robustness(found)[1] == (
        "The largest drop is that under gaussian noise, 0.200 (95 % CI 0.100 to 0.300); these images cannot tell it "
        "from that under shift or JPEG compression."
    )
    found["most_sensitive"].append("rotation")
    assert describe_robustness(found)[1].endswith("these images cannot tell it from that under any other.")
