"""False positives of the tests behind `fitwell compare`: pairs of equally good classifiers that they call different.

Each of 2,000 pairs is drawn anew; both classifiers of a pair have the same distribution, so at 5 % each test should
call 5 % of them different. Judged on images (alone, and in groups that are alike), over folds and over seeds.

    python benchmarks/comparison_null.py
"""

import numpy as np
from result import progress, write_result

from fitwell.evaluation.intervals import find_units, interval_of, resample, wilson_interval
from fitwell.evaluation.metrics import all_metrics
from fitwell.evaluation.paired_tests import delong, mcnemar, resampled_t

NUM_PAIRS = 2000
LEVEL = 0.05
EXPECTED = (0.04, 0.06)
NUM_GROUPS, GROUP_SIZE = 40, 10
NUM_FOLDS, NUM_DIVISIONS, NUM_SEEDS = 5, 10, 5
NUM_RESAMPLES = 2000


def draw_pair(rng, num_images, *, groups=None):
    """Probabilities (N, 2) of two equally good classifiers that share half of what they see, and labels (N,)."""
    labels = rng.permutation(np.arange(num_images) % 2)
    shared, own = rng.normal(size=num_images), rng.normal(size=(2, num_images))
    if groups is not None:  # what one of them finds hard in a group it finds hard in all of its images
        own = own + rng.normal(size=(2, groups.max() + 1))[:, groups]
        shared = shared + rng.normal(size=groups.max() + 1)[groups]
    scores = 1.5 * (2 * labels - 1) + shared + own
    positive = 1 / (1 + np.exp(-scores))
    return [np.column_stack([1 - each, each]) for each in positive], labels


def interval_misses_zero(pair, labels, groups):
    """For each metric whether the interval of the paired bootstrap leaves zero out."""
    units = find_units(labels, groups)
    drawn = [resample(probs, labels, units, num_resamples=NUM_RESAMPLES).metrics for probs in pair]
    values = [all_metrics(probs, labels) for probs in pair]
    missed = {}
    for name in drawn[0]:
        difference = values[1][name] - values[0][name]
        interval = interval_of(drawn[1][name] - drawn[0][name], difference, units, labels=labels, lowest=-1.0)
        missed[name] = interval.low > 0 or interval.high < 0
    return missed


def judge_images(rng):
    """Every test of images that are independent, with many disagreements and with few."""
    pair, labels = draw_pair(rng, 300)
    right = [probs.argmax(axis=1) == labels for probs in pair]
    many = mcnemar(*right)
    few = mcnemar(*(each[:100] for each in right))
    found = {
        "delong": delong(np.array([probs[:, 1] for probs in pair]), labels == 1)["p"] < LEVEL,
        **{f"bootstrap of {name}": missed for name, missed in interval_misses_zero(pair, labels, None).items()},
    }
    return found | {f"mcnemar, {each['method'].split()[0]}": each["p"] < LEVEL for each in (many, few)}


def judge_groups(rng):
    """The bootstrap over groups of images that are alike, and what tests of single images would claim there."""
    groups = np.repeat(np.arange(NUM_GROUPS), GROUP_SIZE)
    pair, labels = draw_pair(rng, len(groups), groups=groups)
    missed = interval_misses_zero(pair, labels, groups)
    right = [probs.argmax(axis=1) == labels for probs in pair]
    return {
        **{f"bootstrap over groups of {name}": each for name, each in missed.items()},
        "not used: mcnemar on grouped images": mcnemar(*right)["p"] < LEVEL,
    }


def nearest_mean_accuracy(features, labels, train, test):
    """Train on (N, D) features by the nearest class mean; the share of test images that it names rightly."""
    means = [features[train][labels[train] == label].mean(axis=0) for label in (0, 1)]
    distances = [((features[test] - mean) ** 2).sum(axis=1) for mean in means]
    return float(((distances[1] < distances[0]) == labels[test]).mean())


def judge_divisions(rng):
    """The corrected t test over folds and over random divisions, and the plain one for comparison.

    The two recipes see other halves of the features, which are equally good over all data sets.
    """
    num_images, num_features = 200, 8
    labels = rng.permutation(np.arange(num_images) % 2)
    features = rng.normal(size=(2, num_images, num_features)) + 0.3 * labels[:, None]
    order = rng.permutation(num_images)
    folds = [order[fold::NUM_FOLDS] for fold in range(NUM_FOLDS)]
    divisions = [rng.permutation(num_images)[: num_images // NUM_FOLDS] for _ in range(NUM_DIVISIONS)]
    found = {}
    for name, tests in (("folds", folds), ("random divisions", divisions)):
        differences = []
        for test in tests:
            train = np.setdiff1d(np.arange(num_images), test)
            before, after = (nearest_mean_accuracy(each, labels, train, test) for each in features)
            differences.append(after - before)
        for kind, ratio in (("corrected t", 1 / (NUM_FOLDS - 1)), ("not used: plain t", 0.0)):
            p = resampled_t(differences, test_train_ratio=ratio, confidence=1 - LEVEL)["p"]
            found[f"{kind} over {len(tests)} {name}"] = p is not None and p < LEVEL
    return found


def judge_seeds(rng):
    """The paired t test of accuracies over seeds, on images that are more or less hard for both."""
    chance_of_right = rng.beta(4, 1, 300)
    accuracies = (rng.random((2, NUM_SEEDS, 300)) < chance_of_right).mean(axis=2)
    p = resampled_t(list(accuracies[1] - accuracies[0]), confidence=1 - LEVEL)["p"]
    return {f"paired t over {NUM_SEEDS} seeds": p is not None and p < LEVEL}


def summarise(claims):
    """Of each test the share of pairs that it calls different, with its Wilson interval."""
    false, count = int(np.sum(claims)), len(claims)
    share = false / count
    return {
        "false_positives": round(share, 4),
        "interval": [round(end, 4) for end in wilson_interval(false, count)],
        "n": count,
        "within_expected": EXPECTED[0] <= share <= EXPECTED[1],
    }


def main():
    rng = np.random.default_rng(0)
    claims = {}
    for number in range(NUM_PAIRS):
        for judge in (judge_images, judge_groups, judge_divisions, judge_seeds):
            for name, claimed in judge(rng).items():
                claims.setdefault(name, []).append(claimed)
        if number % 100 == 99:
            progress(f"{number + 1} of {NUM_PAIRS} pairs")
    write_result(
        "comparison_null",
        {
            "level": LEVEL,
            "expected": EXPECTED,
            "tests": {name: summarise(each) for name, each in sorted(claims.items())},
            "notes": [
                "McNemar's exact test is conservative: the binomial of few disagreements has no outcome at just 5 %, "
                "so it claims less often. The chi-square with continuity correction is made to follow it.",
                "What is not used shows what the groups and the correction are for.",
            ],
        },
    )


if __name__ == "__main__":
    main()
