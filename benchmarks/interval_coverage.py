"""How often each interval holds the true value: 95 % is promised, 93 to 97 % is asked for.

Studies of n images are drawn again and again from a population whose true metrics are known (from 2,000,000 images),
each is judged as `fitwell evaluate` does, and it is counted how often the interval holds the truth. Classes have fixed
counts, as in a stratified split, but for groups, which come as they are. Populations:

  plain     two classes, 30 % positive, AUC 0.86          sharp   the same with AUC 0.98
  groups    of 10 images, which share how many are positive and by how much their scores are off
  classes   three classes of 20, 30 and 50 %

    python benchmarks/interval_coverage.py [--studies 2000] [--resamples 1000] [--sizes 50 200 1000]
"""

import argparse
import time

import numpy as np
from result import progress, write_result

from fitwell.evaluation.intervals import BOOTSTRAPPED, auc_interval, find_units, interval_of, resample, wilson_interval
from fitwell.evaluation.metrics import recall_per_class, softmax
from fitwell.evaluation.ranking import ranking_metrics

POPULATION = 2_000_000
GROUP_SIZE = 10
BINARY = ("accuracy", "balanced_accuracy", "macro_f1", "auc", "partial_auc", "sensitivity_at_95_specificity")
OTHERS = ("accuracy", "balanced_accuracy", "macro_f1", "auc")


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


def logits_of(scores, distance):
    """Probabilities (N, 2) from scores that lie `distance` apart."""
    return softmax(np.column_stack([np.zeros(len(scores)), distance * (scores - distance / 2)]))


POPULATIONS = {
    "plain": (binary(1.5), BINARY),
    "sharp": (binary(3.0), BINARY),
    "groups": (grouped, BINARY),
    "classes": (three_classes, OTHERS),
}


def values_of(probs, labels, names):
    """The metrics themselves, and the recall of the last class as `recall`."""
    found = {name: BOOTSTRAPPED[name](probs, labels) for name in names if name in BOOTSTRAPPED}
    if probs.shape[1] == 2:
        found |= ranking_metrics(probs[:, 1], labels == 1)
    return {**found, "recall": recall_per_class(probs, labels)[-1]}


def intervals_of(probs, labels, groups, names, resamples):
    """Every interval of one study by (metric, method), (low, high); None where there is none."""
    units = find_units(labels, groups)
    drawn = resample(probs, labels, units, names=names, num_resamples=resamples)
    values = values_of(probs, labels, names)
    found = {
        (name, "bootstrap"): interval_of(drawn.metrics[name], values[name], units, labels=labels) for name in names
    }
    found["auc", "DeLong"] = auc_interval(probs, labels, units)
    ends = {key: interval and (interval.low, interval.high) for key, interval in found.items()}
    if groups is None:
        right, last = probs.argmax(axis=1) == labels, labels == labels.max()
        ends["accuracy", "Wilson"] = wilson_interval(int(right.sum()), len(labels))
        ends["recall", "Wilson"] = wilson_interval(int(right[last].sum()), int(last.sum()))
    return ends


def coverage(draw, names, size, truth, given):
    """Of every interval: how often it holds the truth, lies below or above it, or is not given; and its mean width."""
    rng = np.random.default_rng(size)
    counts = {}
    for _ in range(given.studies):
        for key, ends in intervals_of(*draw(rng, size), names, given.resamples).items():
            row = counts.setdefault(key, {"held": 0, "too_low": 0, "too_high": 0, "none": 0, "width": 0.0})
            if ends is None:
                row["none"] += 1
                continue
            row["too_low"] += ends[1] < truth[key[0]]
            row["too_high"] += ends[0] > truth[key[0]]
            row["held"] += ends[0] <= truth[key[0]] <= ends[1]
            row["width"] += ends[1] - ends[0]
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
        "within_93_to_97": 0.93 <= round(held, 4) <= 0.97,
    }


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--studies", type=int, default=2000)
    parser.add_argument("--resamples", type=int, default=1000)
    parser.add_argument("--sizes", type=int, nargs="+", default=[50, 200, 1000])
    given = parser.parse_args()
    result = {"studies": given.studies, "resamples": given.resamples, "group_size": GROUP_SIZE, "populations": {}}
    for name, (draw, names) in POPULATIONS.items():
        probs, labels, _ = draw(np.random.default_rng(0), POPULATION)
        truth = values_of(probs, labels, names)
        sizes = {}
        for size in given.sizes:
            started = time.perf_counter()
            sizes[size] = coverage(draw, names, size, truth, given)
            progress(f"{name}, n = {size}: {time.perf_counter() - started:.0f} s")
        truth = {key: round(value, 4) for key, value in truth.items()}
        result["populations"][name] = {"truth": truth, "sizes": sizes}
    write_result("interval_coverage", result)


if __name__ == "__main__":
    main()
