"""The words of the page: numbers, intervals and claims, never stronger than what was measured."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fitwell.evaluation.charts import spell

SPLIT_NAMES = {"test": "Test", "val": "Validation", "train": "Training"}
EXPLANATIONS = {
    "auc": "how well its scores put the classes in order",
    "balanced_accuracy": "mean share found of each class",
    "accuracy": "share of images named rightly",
    "average_precision": "how pure it is among what it ranks first",
    "macro_f1": "finding each class without overcalling it",
    "micro_f1": "the same over all classes together",
    "exact_match": "share of images with every class right",
    "hamming_loss": "share of single answers that are wrong; less is better",
    "quadratic_kappa": "agreement beyond chance; a mistake counts by its distance squared",
    "mean_absolute_error": "by how many steps it is wrong, on average; less is better",
}
FURTHER = {
    "average_precision": "precision averaged over the images to be found, each at its own threshold",
    "partial_auc": "AUC from 90 to 100 % specificity alone, standardised after McClish: 0.5 is chance",
    "sensitivity_at_95_specificity": "best point of this ROC curve, chosen on these images: a challenge's metric",
    "macro_precision": "mean precision of the classes",
    "weighted_precision": "the same, each class by its images",
    "weighted_f1": "mean F1, each class by its images",
    "matthews_correlation": "correlation of answers and classes: 0 is chance, 1 perfect",
    "cohen_kappa": "agreement beyond chance: 0 is chance, 1 perfect",
    "brier_score": "mean squared error of the probabilities; less is better",
}
SETS = {
    "lac": "the smallest sets; some may be empty",
    "aps": "larger where the picture is hard",
    "raps": "as aps, without the long tail of sets",
}


def describe_verdict(metrics: dict[str, Any]) -> dict[str, Any]:
    """Return the verdict on one evaluation in words that need no statistics.

    Returns:
        title: one claim, never stronger than the intervals allow. better: whether it beats guessing.
        headline: the main metric with its interval and n. sentences: what it means.
    """
    name = _main_metric(metrics)
    chance, entry = metrics["baseline"][name], metrics["metrics"][name]
    interval = entry["interval"]
    better = interval is not None and interval[0] > chance
    worse = interval is not None and interval[1] < chance
    split = SPLIT_NAMES.get(metrics["split"], metrics["split"])
    reach = f"95 % CI {format_interval(interval)}, " if interval else ""
    title = "Better than guessing" if better else "Not shown to be better than guessing"
    return {
        "title": "Worse than guessing" if worse else title,
        "better": better,
        "headline": f"{split} {spell(name)} {format_number(entry['value'])} ({reach}{format_size(metrics)})",
        "sentences": _say_what_it_means(metrics, name),
    }


def describe_robustness(found: dict[str, Any]) -> list[str]:
    """Return what corruptions cost in words, never stronger than the intervals.

    Args:
        found: as robustness.json has it.
    """
    clean, mean = found["clean"]["balanced_accuracy"], found["mean"]["balanced_accuracy"]
    drop = found["mean"]["drop"]["balanced_accuracy"]
    split = SPLIT_NAMES.get(found["split"], found["split"])
    return [
        f"{split} ({format_size(found)}): of a balanced accuracy of {format_number(clean['value'])} on clean pictures "
        f"it keeps {format_number(mean['value'])} on average over all corruptions and severities, a drop of "
        f"{_say_drop(drop)}{'' if _is_lost(drop) else ', which these images cannot tell from none'}.",
        _say_most_sensitive(found),
    ]


def _say_most_sensitive(found: dict[str, Any]) -> str:
    drops = {each["name"]: each["drop"]["balanced_accuracy"] for each in found["corruptions"]}
    first, *others = found["most_sensitive"]
    if not any(_is_lost(drop) for drop in drops.values()):
        return "No corruption, averaged over its severities, is shown to cost anything."
    if not others:
        return f"It is most sensitive to {spell(first)}: a drop of {_say_drop(drops[first])}."
    told = "any other" if len(others) == len(drops) - 1 else " or ".join(spell(name) for name in others)
    return (
        f"The largest drop is that under {spell(first)}, {_say_drop(drops[first])}; these images cannot tell it from "
        f"that under {told}."
    )


def _is_lost(drop: dict[str, Any]) -> bool:
    return drop["interval"] is not None and drop["interval"][0] > 0


def _say_drop(drop: dict[str, Any]) -> str:
    if drop["interval"] is None:
        return format_number(drop["value"])
    low, high = (format_number(end) for end in drop["interval"])
    return f"{format_number(drop['value'])} (95 % CI {low} to {high})"


def _main_metric(metrics: dict[str, Any]) -> str:
    """Return the metric that the verdict rests on."""
    has_auc = metrics["metrics"]["auc"]["value"] is not None
    if "thresholds" in metrics:
        return "auc" if has_auc else "average_precision"
    return "auc" if len(metrics["classes"]) == 2 and has_auc else "balanced_accuracy"


def format_number(value: float | None) -> str:
    """Return `value` to three places; what is not 0 or 1 is never shown as 0.000 or 1.000."""
    if value is None:
        return "not defined"
    digits = 3
    while digits < 6 and value not in (0, 1) and round(value, digits) in (0, 1):
        digits += 1
    return f"{value:.{digits}f}"


def format_interval(interval: list[float] | None) -> str:
    """Return the two ends, joined by an en dash."""
    return "no interval" if interval is None else f"{format_number(interval[0])}–{format_number(interval[1])}"


def format_size(metrics: dict[str, Any]) -> str:
    """Return how much was judged, as "394 images in 7 groups"."""
    images = f"{metrics['num_images']:,} image{'s' * (metrics['num_images'] != 1)}"
    groups = metrics["num_groups"]
    return images if groups is None else f"{images} in {groups:,} group{'s' * (groups != 1)}"


def format_claim(claim: dict[str, Any] | None) -> str:
    """Return how a slice differs from the rest, as "worse, p 0.003"; a dash where it may be chance."""
    if claim is None:
        return ""
    if not claim["differs"]:
        return "–"
    p = "below 0.001" if claim["p_holm"] < 0.001 else f"{claim['p_holm']:.3f}"
    return f"{'worse' if claim['difference'] < 0 else 'better'}, p {p}"


def _say_what_it_means(metrics: dict[str, Any], name: str) -> list[str]:
    if "thresholds" in metrics:
        return [*([_say_ranks(metrics)] if name == "auc" else []), _say_exact_match(metrics)]
    return [_say_order(metrics) if name == "auc" else _say_recall(metrics), _say_accuracy(metrics)]


def _say_ranks(metrics: dict[str, Any]) -> str:
    share = 100 * metrics["metrics"]["auc"]["value"]
    return (
        f"Averaged over the classes: shown one image with the class and one without it, it ranks the former higher "
        f"{share:.0f} times out of 100; a coin would reach 50."
    )


def _say_exact_match(metrics: dict[str, Any]) -> str:
    entry, baseline = metrics["metrics"]["exact_match"], metrics["baseline"]
    reach = entry["interval"]
    interval = f" (95 % CI {100 * reach[0]:.0f}–{100 * reach[1]:.0f})" if reach else ""
    usual = f"“{baseline['label']}”" if baseline["label"] else "“none”"
    return (
        f"It gets every class right for {100 * entry['value']:.0f} of 100 images{interval}. Always answering {usual} "
        f"would for {100 * baseline['exact_match']:.0f}."
    )


def _say_order(metrics: dict[str, Any]) -> str:
    share, positive = 100 * metrics["metrics"]["auc"]["value"], metrics["classes"][1]
    return (
        f"Shown one “{positive}” and one “{metrics['classes'][0]}” image, it ranks the “{positive}” one higher "
        f"{share:.0f} times out of 100; a coin would reach 50."
    )


def _say_recall(metrics: dict[str, Any]) -> str:
    share = 100 * metrics["metrics"]["balanced_accuracy"]["value"]
    chance = 100 * metrics["baseline"]["balanced_accuracy"]
    return f"Averaged over the classes, it recognises {share:.0f} of 100 images; guessing would reach {chance:.3g}."


def _say_accuracy(metrics: dict[str, Any]) -> str:
    entry, baseline = metrics["metrics"]["accuracy"], metrics["baseline"]
    reach = entry["interval"]
    interval = f" (95 % CI {100 * reach[0]:.0f}–{100 * reach[1]:.0f})" if reach else ""
    return (
        f"It names the right class for {100 * entry['value']:.0f} of 100 images{interval}. Always answering "
        f"“{baseline['label']}” would be right for {100 * baseline['accuracy']['value']:.0f} and find nothing else."
    )


IN_WORDS: dict[str, Callable[..., str]] = {  # what templates call them
    "number": format_number,
    "interval": format_interval,
    "size": format_size,
    "spell": spell,
    "against": format_claim,
}
