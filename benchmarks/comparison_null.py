"""False positives of the tests behind `fitwell compare`: pairs of equally good classifiers that they call different.

Each of 10,000 pairs is drawn anew; both classifiers of a pair have the same distribution, so at 5 % each test should
call 5 % of them different. Judged on images (alone, and in groups that are alike), over folds and random divisions
(of learners that depend little and much on their training images), and over seeds. 2,000 pairs leave one point of doubt
to either side, as much as the 4 to 6 % that are asked for; 10,000 leave less than half of it.

    python benchmarks/comparison_null.py
"""

import numpy as np
from result import progress, write_result

from fitwell.evaluation.class_counts import COUNTED, ClassCounts, divide
from fitwell.evaluation.intervals import NUM_RESAMPLES, draw, find_units, interval_of, resample, wilson_interval
from fitwell.evaluation.metrics import is_of_classes
from fitwell.evaluation.paired_tests import delong, mcnemar, resampled_t

NUM_PAIRS = 10_000
LEVEL = 0.05
EXPECTED = (0.04, 0.06)
NUM_IMAGES = 300
NUM_GROUPS, GROUP_SIZE = 40, 10
NUM_FOLDS, NUM_DIVISIONS, NUM_SEEDS = 5, 10, 5
RESAMPLED = ("accuracy", "balanced_accuracy", "macro_f1", "auc")


def draw_pair(rng, labels, *, groups=None):
    """P(class 1), (2, N), by two equally good classifiers that share half of what they see."""
    shared, own = rng.normal(size=len(labels)), rng.normal(size=(2, len(labels)))
    if groups is not None:  # what one of them finds hard in a group it finds hard in all of its images
        own = own + rng.normal(size=(2, groups.max() + 1))[:, groups]
        shared = shared + rng.normal(size=groups.max() + 1)[groups]
    scores = 1.5 * (2 * labels - 1) + shared + own
    return 1 / (1 + np.exp(-scores))


def weights_of(units):
    """How often each image is in each resample (N, 1 + B), each once in the first; the same for every pair."""
    drawn = np.concatenate(list(draw(units, num_resamples=NUM_RESAMPLES, seed=0)), axis=1)
    return np.concatenate([np.ones((len(drawn), 1)), drawn], axis=1, dtype=np.float32)


def resampled(positive, labels, weights):
    """Each metric (1 + B,) of one classifier: what `resample` gives, with all pairs of images at once."""
    answers = [positive <= 0.5, positive > 0.5]
    masks = [(labels == label, answers[label]) for label in (0, 1)]
    counts = ClassCounts(
        *(
            (np.array(chosen, dtype=np.float32) @ weights).T.astype(float)
            for chosen in zip(*((shown, claimed, shown & claimed) for shown, claimed in masks), strict=True)
        )
    )
    found = {name: COUNTED[name](counts) for name in RESAMPLED if name in COUNTED}
    one, other = labels == 1, labels == 0
    ordered = np.sign(positive[one, None] - positive[other]).astype(np.float32) / 2 + np.float32(0.5)
    area = np.einsum("pb,pb->b", ordered @ weights[other], weights[one])
    return {**found, "auc": divide(area.astype(float), counts.support.prod(axis=1))}


def interval_misses_zero(pair, labels, units, weights):
    """For each metric whether the interval of the paired bootstrap leaves zero out."""
    first, second = (resampled(positive, labels, weights) for positive in pair)
    missed = {}
    for name in RESAMPLED:
        found, *differences = second[name] - first[name]
        interval = interval_of(
            np.array(differences),
            found,
            units,
            labels=labels,
            bounds=(-1.0, 1.0),
            of_classes=is_of_classes(name),
        )
        missed[name] = interval.low > 0 or interval.high < 0
    return missed


def require_the_same(pair, labels, units, weights):
    """Make sure that what is computed at once here is what `fitwell compare` computes."""
    for positive in pair:
        probs, at_once = np.column_stack([1 - positive, positive]), resampled(positive, labels, weights)
        metrics = resample(probs, labels, units, names=RESAMPLED, num_resamples=NUM_RESAMPLES).metrics
        for name in RESAMPLED:
            np.testing.assert_allclose(at_once[name][1:], metrics[name], rtol=0, atol=1e-9)


class Images:
    """Every test of images that are independent, with many disagreements and with few."""

    def __init__(self, rng):
        self.labels = np.arange(NUM_IMAGES) % 2
        self.units = find_units(self.labels, None)
        self.weights = weights_of(self.units)
        require_the_same(draw_pair(rng, self.labels), self.labels, self.units, self.weights)

    def __call__(self, rng):
        pair = draw_pair(rng, self.labels)
        missed = interval_misses_zero(pair, self.labels, self.units, self.weights)
        right = [(positive > 0.5) == self.labels for positive in pair]
        many, few = mcnemar(*right), mcnemar(*(each[:100] for each in right))
        return {
            "delong": delong(pair, self.labels == 1)["p"] < LEVEL,
            **{f"bootstrap of {name}": each for name, each in missed.items()},
            f"mcnemar, {NUM_IMAGES} images": many["p"] < LEVEL,
            "mcnemar, 100 images": few["p"] < LEVEL,
        }


class Groups:
    """The bootstrap over groups of images that are alike, and what tests of single images would claim there."""

    def __init__(self, rng):
        self.groups = np.repeat(np.arange(NUM_GROUPS), GROUP_SIZE)
        labels = self.labels(rng)
        self.units = find_units(labels, self.groups)
        self.weights = weights_of(self.units)
        require_the_same(draw_pair(rng, labels, groups=self.groups), labels, self.units, self.weights)

    def labels(self, rng):
        return rng.permutation(np.arange(len(self.groups)) % 2)

    def __call__(self, rng):
        labels = self.labels(rng)
        pair = draw_pair(rng, labels, groups=self.groups)
        missed = interval_misses_zero(pair, labels, self.units, self.weights)
        right = [(positive > 0.5) == labels for positive in pair]
        return {
            **{f"bootstrap over groups of {name}": each for name, each in missed.items()},
            "not used: mcnemar on grouped images": mcnemar(*right)["p"] < LEVEL,
        }


def nearest_mean_accuracy(features, labels, train, test):
    """Train on (N, D) features by the nearest class mean; the share of test images that it names rightly."""
    means = [features[train][labels[train] == label].mean(axis=0) for label in (0, 1)]
    distances = [((features[test] - mean) ** 2).sum(axis=1) for mean in means]
    return float(((distances[1] < distances[0]) == labels[test]).mean())


def linear_accuracy(features, labels, train, test):
    """The same of a linear head on more features than images, by least squares with a penalty of 60."""
    center = features[train].mean(axis=0)
    learnt, sides = features[train] - center, 2.0 * labels[train] - 1
    weights = learnt.T @ np.linalg.solve(learnt @ learnt.T + 60 * np.eye(len(train)), sides - sides.mean())
    return float((((features[test] - center) @ weights + sides.mean() > 0) == labels[test]).mean())


LEARNERS = {  # how each learns, its features, and by how much one class lies beyond the other in each of them
    "nearest class mean, 8 features": (nearest_mean_accuracy, 8, 0.3),
    "linear head, 300 features": (linear_accuracy, 300, 4 / 300**0.5),
}


def judge_divisions(rng):
    """The corrected t test over folds and over random divisions, and the plain one for comparison, of each learner.

    The two recipes see other halves of the features, which are equally good over all data sets.
    """
    return {
        f"{test}, {name}": claimed
        for name, (accuracy, num_features, shift) in LEARNERS.items()
        for test, claimed in judge_learner(rng, accuracy, num_features, shift).items()
    }


def judge_learner(rng, accuracy, num_features, shift):
    """Whether the tests over folds and over random divisions call two recipes of one learner different."""
    num_images = 200
    labels = rng.permutation(np.arange(num_images) % 2)
    features = rng.normal(size=(2, num_images, num_features)) + shift * labels[:, None]
    order = rng.permutation(num_images)
    folds = [order[fold::NUM_FOLDS] for fold in range(NUM_FOLDS)]
    divisions = [rng.permutation(num_images)[: num_images // NUM_FOLDS] for _ in range(NUM_DIVISIONS)]
    found = {}
    for name, tests in (("folds", folds), ("random divisions", divisions)):
        differences = []
        for test in tests:
            train = np.setdiff1d(np.arange(num_images), test)
            before, after = (accuracy(each, labels, train, test) for each in features)
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
    judges = (Images(rng), Groups(rng), judge_divisions, judge_seeds)
    claims = {}
    for number in range(NUM_PAIRS):
        for judge in judges:
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
                "No estimate of the variance over divisions is right for every learner (Bengio & Grandvalet 2004): the "
                "corrected t test claims too seldom of one over folds, too often of the other over random divisions.",
                "What is not used shows what the groups and the correction are for.",
            ],
        },
    )


if __name__ == "__main__":
    main()
