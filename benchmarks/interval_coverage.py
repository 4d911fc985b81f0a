"""How often each interval of a report holds the true value: 95 % is promised, 93 to 97 % is asked for.

Studies of n images are drawn again and again from a population whose true values are known (from 500,000 images),
each is judged as `fitwell evaluate` does, and it is counted how often the interval holds the truth. Classes have fixed
counts, as in a stratified split, but for groups, which come as they are. Populations:

  plain         two classes, 30 % positive, AUC 0.86          sharp   the same with AUC 0.98
  groups        the same in groups of 10 images, which share how many are positive and by how much their scores are off
  classes       three classes in order, of 20, 30 and 50 %
  class groups  the same, in groups that share which classes are frequent and by how much their scores are off
  sets          each image shows any of three classes, which 40, 24 and 16 % of the images show
  set groups    the same, in groups that share how frequent the classes are and by how much their scores are off

    python benchmarks/interval_coverage.py [--studies 2000] [--resamples 1000] [--sizes 50 200 1000]

The page benchmarks/interval_coverage.md is written anew after each size.
"""

import argparse
import time

import numpy as np
from result import RESULTS, progress, write_result

from fitwell.evaluation import intervals, multi_label, multi_label_intervals, operating_point, selective, slices
from fitwell.evaluation.class_counts import COUNTED
from fitwell.evaluation.intervals import (
    auc_interval,
    find_units,
    interval_of,
    interval_of_share,
    resample,
    wilson_interval,
)
from fitwell.evaluation.metrics import (
    ORDERED_METRICS,
    all_metrics,
    bounds_of,
    further_metrics,
    is_of_classes,
    per_class,
    softmax,
)
from fitwell.evaluation.ranking import RANKING_METRICS, ranking_metrics

PAGE = RESULTS.parent / "interval_coverage.md"
LEAST, MOST = 0.93, 0.97  # what is asked for
POPULATION = 500_000
GROUP_SIZE = 10
RESAMPLING = (intervals, operating_point, selective, slices)  # modules that say how many resamples they draw
CELLS_IN_CACHE = 60_000  # resamples times images; in chunks that a core's cache holds, 2 to 3 times as fast
THRESHOLD = 0.6  # an operating point that some val images chose
SURE = 0.7  # a confidence below which one abstains
SET_THRESHOLD = 0.7  # a conformal score (1 - P) up to which a class is in the set
NAMED_FROM = 0.4  # probability from which an image is given a class, where it may have several
SETS = np.array(np.meshgrid(*[[False, True]] * 3, indexing="ij")).reshape(3, 8).T  # (8, 3), every set of three classes
SET_SHARES = np.array([19, 4, 6, 1, 13, 2, 4, 1]) / 50  # of the images that show each set
SLICE = 0.4  # share of the images that are in the slice; it is no harder than the rest


def by_class(shares):
    """Labels of n images whose classes have fixed shares."""
    return lambda rng, n: np.repeat(np.arange(len(shares)), np.diff(np.round(n * np.cumsum([0, *shares])).astype(int)))


def binary(distance):
    """Two classes whose scores are normal, one apart from the other; probabilities are true for equal classes."""
    labels_of = by_class((0.7, 0.3))

    def draw(rng, n):
        labels = labels_of(rng, n)
        return logits_of(rng.normal(size=n) + distance * labels, distance), labels, None

    return draw


def grouped(rng, n):
    groups = np.arange(n) // GROUP_SIZE
    num_groups = groups[-1] + 1
    labels = (rng.random(n) < rng.beta(1.5, 3.5, num_groups)[groups]).astype(int)
    scores = rng.normal(size=n) + 1.5 * labels + 0.7 * rng.normal(size=num_groups)[groups]
    return logits_of(scores, 1.5), labels, groups


def three_classes(rng, n):
    labels = by_class((0.2, 0.3, 0.5))(rng, n)
    return softmax(rng.normal(size=(n, 3)) + 1.2 * np.eye(3)[labels]), labels, None


def grouped_classes(rng, n):
    groups = np.arange(n) // GROUP_SIZE
    num_groups = groups[-1] + 1
    ends = np.cumsum(rng.dirichlet([1.0, 1.5, 2.5], num_groups), axis=1)[groups]
    labels = (rng.random((n, 1)) > ends[:, :2]).sum(axis=1)
    scores = rng.normal(size=(n, 3)) + 0.7 * rng.normal(size=(num_groups, 3))[groups]
    return softmax(scores + 1.2 * np.eye(3)[labels]), labels, groups


def sets_of_classes(rng, n):
    targets = SETS[by_class(SET_SHARES)(rng, n)]
    return multi_label.sigmoid(rng.normal(size=(n, 3)) + 1.5 * targets - 1), targets, None


def grouped_sets(rng, n):
    groups = np.arange(n) // GROUP_SIZE
    shown, shift = 0.7 * rng.normal(size=(2, groups[-1] + 1, 3))[:, groups]
    targets = rng.logistic(size=(n, 3)) < np.log([0.4 / 0.6, 0.25 / 0.75, 0.15 / 0.85]) + shown
    return multi_label.sigmoid(rng.normal(size=(n, 3)) + 1.5 * targets - 1 + shift), targets, groups


def logits_of(scores, distance):
    """Probabilities (N, 2) from scores that lie `distance` apart."""
    return softmax(np.column_stack([np.zeros(len(scores)), distance * (scores - distance / 2)]))


POPULATIONS = {
    "plain": binary(1.5),
    "sharp": binary(3.0),
    "groups": grouped,
    "classes": three_classes,
    "class groups": grouped_classes,
    "sets": sets_of_classes,
    "set groups": grouped_sets,
}


def values_of(probs, labels):
    """What a report says of images with one class each, by name; of a single class, the last one."""
    values = {**all_metrics(probs, labels, ordered=probs.shape[1] > 2), **further_metrics(probs, labels)}
    if probs.shape[1] == 2:
        values |= ranking_metrics(probs[:, 1], labels == 1)
        point = operating_point.judge_threshold(probs[:, 1], labels == 1, THRESHOLD, find_units(labels, None))
        values |= {f"{name} at a threshold": point[name]["value"] for name in operating_point.SHARES}
    row = per_class(probs, labels, tuple("abc"[: probs.shape[1]]))[-1]
    values |= {f"{name} of a class": row[name] for name in ("recall", "precision")}
    areas = selective.areas(selective.answers(probs, labels, None), np.ones((len(labels), 1)))
    values |= {name: float(area[0]) for name, area in areas.items()}
    values |= {name: float(hits.mean()) if len(hits) else None for name, (hits, _) in shares_of(probs, labels).items()}
    return {**values, "slice less the rest": 0.0}


def shares_of(probs, labels):
    """Shares of images by name: whether each of the images that count is a hit, and which count."""
    kept = probs.max(axis=1) >= SURE
    held = 1 - probs[np.arange(len(labels)), labels] <= SET_THRESHOLD
    every = np.ones(len(labels), dtype=bool)
    return {
        "accuracy": (probs.argmax(axis=1) == labels, every),
        "risk of the sure": ((probs.argmax(axis=1) != labels)[kept], kept),
        "coverage of conformal sets": (held, every),
    }


def intervals_of(probs, labels, groups, resamples):
    """Every interval of one study of images with one class each by (metric, method); None where there is none."""
    units, values = find_units(labels, groups), values_of(probs, labels)
    names = [*COUNTED, "auc", "brier_score", *(RANKING_METRICS if probs.shape[1] == 2 else ORDERED_METRICS)]
    drawn = resample(probs, labels, units, names=names, num_resamples=resamples)
    found = {
        (name, "bootstrap"): interval_of(
            drawn.metrics[name],
            values[name],
            units,
            labels=labels,
            bounds=bounds_of(name, probs.shape[1]),
            of_classes=is_of_classes(name),
        )
        for name in names
    }
    found["auc", "DeLong"] = auc_interval(probs, labels, units)
    method = "Wilson" if groups is None else "bootstrap"
    for name, (hits, chosen) in shares_of(probs, labels).items():
        found[name, method] = interval_of_share(hits, labels[chosen], None if groups is None else groups[chosen])
    row = per_class(probs, labels, tuple("abc"[: probs.shape[1]]))[-1]
    for name, resampled in (("recall", drawn.recall[:, -1]), ("precision", drawn.precision[:, -1])):
        wilson = groups is None
        interval = of_class(row, name) if wilson else interval_of(resampled, row[name], units, labels=labels)
        found[f"{name} of a class", method] = interval
    return found | choices_of(probs, labels, groups, method)


def choices_of(probs, labels, groups, method):
    """The intervals at a threshold, of abstaining and of a slice, by (metric, method)."""
    units, given = find_units(labels, groups), selective.answers(probs, labels, groups)
    areas = selective.judge_abstention(given, None)
    found = {(name, "bootstrap"): areas[name]["interval"] for name in selective.AREAS}
    place = np.arange(len(labels)) if groups is None else groups
    half = slices.Slice("", "", place % 5 < 5 * SLICE)
    [claim] = slices.compare_with_rest(~given.wrong, labels, groups, [half])
    found["slice less the rest", "bootstrap"] = claim["interval"]
    if probs.shape[1] == 2:
        point = operating_point.judge_threshold(probs[:, 1], labels == 1, THRESHOLD, units)
        found |= {(f"{name} at a threshold", method): point[name]["interval"] for name in operating_point.SHARES}
    return found


def set_values_of(probs, targets):
    """What a report says of images with several classes, by name; of a single class, the second one."""
    values = multi_label.ranking_metrics(probs, targets) | multi_label.naming_metrics(probs >= NAMED_FROM, targets)
    row = multi_label.per_class(probs, targets, np.full(3, NAMED_FROM), ("a", "b", "c"))[1]
    return values | {f"{name} of a class": row[name] for name in multi_label_intervals.PER_CLASS}


def set_intervals_of(probs, targets, groups, resamples):
    """Every interval of one study of images with several classes by (metric, method); None where there is none."""
    named, strata = probs >= NAMED_FROM, multi_label_intervals.strata_of(targets)
    units, values = find_units(strata, groups), set_values_of(probs, targets)
    drawn = multi_label_intervals.resample_label_sets(probs, targets, named, units, num_resamples=resamples)
    found = {
        (name, "bootstrap"): interval_of(each, values[name], units, labels=strata, of_classes=is_of_classes(name))
        for name, each in drawn.metrics.items()
    }
    for name, each in drawn.per_class.items():
        name = f"{name} of a class"
        found[name, "bootstrap"] = interval_of(each[:, 1], values[name], units, labels=targets[:, 1].astype(int))
    if groups is None:
        found["exact_match", "Wilson"] = interval_of_share((named == targets).all(axis=1), strata, None)
        row = multi_label.per_class(probs, targets, np.full(3, NAMED_FROM), ("a", "b", "c"))[1]
        found |= {(f"{name} of a class", "Wilson"): of_class(row, name) for name in ("recall", "precision")}
    return found


def of_class(row, name):
    """Wilson's interval of the recall or the precision of a class."""
    return wilson_interval(row["correct"], row[{"recall": "support", "precision": "predicted"}[name]])


def coverage(draw, size, truth, given):
    """Of every interval: how often it holds the truth, lies below or above it, or is not given; and its mean width."""
    rng = np.random.default_rng(size)
    counts = {}
    for _ in range(given.studies):
        probs, labels, groups = draw(rng, size)
        judge = intervals_of if labels.ndim == 1 else set_intervals_of
        for key, interval in judge(probs, labels, groups, given.resamples).items():
            row = counts.setdefault(key, {"held": 0, "too_low": 0, "too_high": 0, "none": 0, "width": 0.0})
            if interval is None:
                row["none"] += 1
                continue
            low, high = (interval.low, interval.high) if isinstance(interval, intervals.Interval) else interval
            row["too_low"] += high < truth[key[0]]
            row["too_high"] += low > truth[key[0]]
            row["held"] += low <= truth[key[0]] <= high
            row["width"] += high - low
    return [describe(key, row, given.studies) for key, row in counts.items()]


def describe(key, row, studies):
    given = max(studies - row["none"], 1)
    held = row["held"] / given
    return {
        "metric": key[0],
        "method": key[1],
        "coverage": round(held, 4),
        "interval": [round(end, 4) for end in wilson_interval(row["held"], given)],
        "too_low": round(row["too_low"] / given, 4),
        "too_high": round(row["too_high"] / given, 4),
        "mean_width": round(row["width"] / given, 4),
        "not_given": row["none"],
        "within_93_to_97": is_close(round(held, 4)),
    }


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--studies", type=int, default=2000)
    parser.add_argument("--resamples", type=int, default=1000)
    parser.add_argument("--sizes", type=int, nargs="+", default=[50, 200, 1000])
    given = parser.parse_args()
    intervals.CHUNK_CELLS = CELLS_IN_CACHE
    for module in RESAMPLING:
        module.NUM_RESAMPLES = given.resamples
    truths = {name: truth_of(draw) for name, draw in POPULATIONS.items()}
    result = {"studies": given.studies, "resamples": given.resamples, "group_size": GROUP_SIZE}
    result["populations"] = {name: {"truth": rounded(truth), "sizes": {}} for name, truth in truths.items()}
    for size in given.sizes:
        for name, draw in POPULATIONS.items():
            started = time.perf_counter()
            result["populations"][name]["sizes"][size] = coverage(draw, size, truths[name], given)
            progress(f"{name}, n = {size}: {time.perf_counter() - started:.0f} s")
        write_result("interval_coverage", result)  # after each size, so that few images are known before many
        write_page(result)


def is_close(held):
    return LEAST <= held <= MOST


def write_page(result):
    """Write benchmarks/interval_coverage.md: a row for each interval, a column for each population."""
    populations = result["populations"]
    sizes = [f"{int(size):,}" for size in next(iter(populations.values()))["sizes"]]
    rows = {}
    for name, population in populations.items():
        for measured in population["sizes"].values():
            for each in measured:
                cells = rows.setdefault((each["metric"], each["method"]), {}).setdefault(name, [])
                cells.append(share_in_percent(each["coverage"]))
    lines = [
        f"| {metric} | {method} | {' | '.join(' / '.join(cells.get(name, [])) for name in populations)} |"
        for (metric, method), cells in rows.items()
    ]
    PAGE.write_text(
        f"""# How often an interval holds the true value

Written by `python benchmarks/interval_coverage.py`, which describes the populations. In % of {result["studies"]:,}
simulated studies of {" / ".join(sizes)} images, with {result["resamples"]:,} resamples each; 95 is promised, and what
is not within {100 * LEAST:.0f} to {100 * MOST:.0f} is bold. Where a number has two methods, a report uses Wilson's or
DeLong's, but for accuracy in groups. The reasons are in
[docs/evaluation.md](../docs/evaluation.md#intervals).

| | interval | {" | ".join(populations)} |
|---|---|{"---|" * len(populations)}
{chr(10).join(lines)}
""",
        encoding="utf-8",
    )


def share_in_percent(held):
    return f"{held:.1%}".rstrip("%") if is_close(held) else f"**{100 * held:.4g}**"


def truth_of(draw):
    """The true values of a population, by metric."""
    probs, labels, _ = draw(np.random.default_rng(0), POPULATION)
    return (values_of if labels.ndim == 1 else set_values_of)(probs, labels)


def rounded(values):
    return {name: round(value, 4) for name, value in values.items()}


if __name__ == "__main__":
    main()
