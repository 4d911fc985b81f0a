"""False positives of the tests behind `fitwell compare`: pairs of equally good classifiers that they call different.

Each of 10,000 pairs is drawn anew; both classifiers of a pair have the same distribution, so at 5 % each test should
call 5 % of them different. Judged on images (alone, and in groups that are alike), over folds and random divisions as
`fitwell train` draws them, and over seeds. 2,000 pairs leave one point of doubt to either side, as much as the 4 to 6 %
that are asked for; 10,000 leave less than half of it.

What happens over folds and divisions depends on the learner. Three are judged: one that depends little on its training
images, one that depends much on them, and heads on a pretrained backbone's features of solar cells.

    python benchmarks/comparison_null.py
"""

import numpy as np
import pandas as pd
from result import progress, with_hashes, write_result

from fitwell import classifier
from fitwell.data.check.inspection import SplitPlan, draw_split
from fitwell.data.demo import elpv_dataset
from fitwell.evaluation.class_counts import COUNTED, ClassCounts, divide
from fitwell.evaluation.intervals import NUM_RESAMPLES, draw, find_units, interval_of, resample, wilson_interval
from fitwell.evaluation.metrics import is_of_classes
from fitwell.evaluation.paired_tests import delong, mcnemar, resampled_t
from fitwell.recipe.schema import Split
from fitwell.training.features import frozen_features

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


def drawn_parts(num_images, **asked):
    """Places of the train, val and test images as `fitwell train` draws them, of two classes in turn."""
    labels = [str(place % 2) for place in range(num_images)]
    images = pd.DataFrame({"path": [f"{place:04}" for place in range(num_images)], "label": labels})
    parts = draw_split(images, SplitPlan(**{**Split().model_dump(), **asked}))["split"].to_numpy()
    return [np.flatnonzero(parts == part) for part in ("train", "val", "test")]


def draw_features(num_images, num_features, between):
    """Return a draw of features (2, N, D), the two recipes' own, whose class means lie so many deviations apart."""
    labels = np.arange(num_images) % 2

    def draw(rng):
        features = rng.normal(size=(2, num_images, num_features)).astype(np.float32)
        return features + np.float32(between / num_features**0.5) * labels[:, None]

    return draw


def draw_pictures(num_images):
    """Return a draw of a backbone's features (2, N, D) of solar cells: for every other place both see the same cell."""
    dataset = elpv_dataset()
    features = frozen_features(dataset.root, with_hashes(dataset), classifier.read_settings("auto", {}))
    labels = dataset.images["label"].to_numpy()
    pools = [np.flatnonzero(labels == label) for label in sorted(set(labels))]

    def draw(rng):
        shown = np.empty((2, num_images), dtype=int)
        count = num_images // 2
        for place, pool in enumerate(pools):
            cells = rng.permutation(pool)[: count + count // 2]
            shown[0, place::2] = cells[:count]
            shown[1, place::2] = np.concatenate([cells[: count // 2], cells[count:]])
        return features[shown]

    return draw


def nearest_mean(features):
    """Return the accuracy on test of naming the nearest class mean of train, for the parts of a division."""
    labels = np.arange(len(features)) % 2

    def accuracy(train, val, test):
        means = [features[train][labels[train] == label].mean(axis=0) for label in (0, 1)]
        distances = [((features[test] - mean) ** 2).sum(axis=1) for mean in means]
        return float(((distances[1] < distances[0]) == labels[test]).mean())

    return accuracy


def linear_head(penalties):
    """Return the same of a linear head by least squares; of the penalties the one with the least error on val.

    A penalty is in shares of the mean squared length of a training image's centered features.
    """

    def learner(features):
        products, sides = features @ features.T, np.arange(len(features)) % 2 * 2.0 - 1

        def accuracy(train, val, test):
            toward = products[:, train].astype(float)
            toward -= toward.mean(axis=1, keepdims=True)
            toward -= toward[train].mean(axis=0)
            among, mean = toward[train], sides[train].mean()
            unit = np.trace(among) / len(train) * np.eye(len(train))
            heads = [np.linalg.solve(among + penalty * unit, sides[train] - mean) for penalty in penalties]
            scores = toward @ np.transpose(heads) + mean
            best = ((scores[val] - sides[val, None]) ** 2).mean(axis=0).argmin()
            return float(((scores[test, best] > 0) == (sides[test] > 0)).mean())

        return accuracy

    return learner


class Divisions:
    """The corrected t test over folds and over random divisions of one learner, and the plain one for comparison."""

    def __init__(self, name, num_images, draw, learner):
        self.name, self.draw, self.learner = name, draw, learner
        folds = [drawn_parts(num_images, folds=NUM_FOLDS, fold=fold + 1) for fold in range(NUM_FOLDS)]
        self.divisions = {
            f"{NUM_FOLDS} folds": folds,
            f"{NUM_DIVISIONS} random divisions": [drawn_parts(num_images, seed=seed) for seed in range(NUM_DIVISIONS)],
        }

    def __call__(self, rng):
        before, after = (self.learner(features) for features in self.draw(rng))
        found = {}
        for kind, divisions in self.divisions.items():
            differences = [after(*parts) - before(*parts) for parts in divisions]
            train, val, test = divisions[0]
            for name, ratio in (("corrected t", len(test) / (len(train) + len(val))), ("not used: plain t", 0.0)):
                p = resampled_t(differences, test_train_ratio=ratio, confidence=1 - LEVEL)["p"]
                found[f"{name} over {kind}, {self.name}"] = p is not None and p < LEVEL
        return found


def judges_of_divisions():
    """One for each learner."""
    chosen = linear_head((0.001, 0.01, 0.1, 1.0, 10.0))
    return (
        Divisions("nearest class mean of 200 images, 8 features", 200, draw_features(200, 8, 0.85), nearest_mean),
        Divisions("linear head of 400 images, 1,280 features", 400, draw_features(400, 1280, 3.6), linear_head((0.1,))),
        Divisions("head on a backbone's features of 200 solar cells", 200, draw_pictures(200), chosen),
    )


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
    judges = (Images(rng), Groups(rng), *judges_of_divisions(), judge_seeds)
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
                "corrected t test claims too seldom of those that depend less on their training images than it says.",
                "What is not used shows what the groups and the correction are for.",
            ],
        },
    )


if __name__ == "__main__":
    main()
