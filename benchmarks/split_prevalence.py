"""Folds of grouped images against scikit-learn's StratifiedGroupKFold: groups that cross, and uneven class shares.

Random sets as the field has them: 40 to 120 groups of very different sizes, each leaning to one of 2 to 6 classes.

    python benchmarks/split_prevalence.py
"""

import numpy as np
import pandas as pd
from result import mean_interval, write_result
from sklearn.model_selection import StratifiedGroupKFold

from fitwell.data.split import assign_folds

NUM_SETS = 100
FOLDS = 5
FIGURES = ("mean_deviation_of_class_shares", "largest_deviation_of_class_shares", "relative_sd_of_fold_sizes")
COUNTS = ("classes_missing_from_a_fold", "groups_that_cross")


def grouped_set(seed):
    """A table with path, label and group."""
    rng = np.random.default_rng(seed)
    num_groups, num_classes = int(rng.integers(40, 121)), int(rng.integers(2, 7))
    rows = []
    for group in range(num_groups):
        lean = rng.dirichlet(np.ones(num_classes))
        rows += [(f"c{rng.choice(num_classes, p=lean)}", f"g{group}") for _ in range(int(rng.geometric(1 / 12)))]
    images = pd.DataFrame(rows, columns=["label", "group"])
    return images.assign(path=[f"{number:05}.png" for number in range(len(images))])


def judge(images, folds):
    """How even folds are: of the class shares in each, the deviation from those of all images; and sizes."""
    whole = images["label"].value_counts(normalize=True)
    deviation = pd.crosstab(images["label"], folds, normalize="columns").sub(whole, axis=0).abs().to_numpy()
    sizes = np.bincount(folds)
    return {
        "mean_deviation_of_class_shares": deviation.mean(),
        "largest_deviation_of_class_shares": deviation.max(),
        "relative_sd_of_fold_sizes": sizes.std() / sizes.mean(),
        "classes_missing_from_a_fold": int((pd.crosstab(images["label"], folds) == 0).to_numpy().sum()),
        "groups_that_cross": int((pd.Series(folds).groupby(images["group"]).nunique() > 1).sum()),
    }


def fold_by_scikit_learn(images, seed):
    """The fold of each image (N,)."""
    folds = np.zeros(len(images), dtype=int)
    splitter = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=seed)
    for fold, (_, test) in enumerate(splitter.split(images, images["label"], images["group"])):
        folds[test] = fold
    return folds


def compare(ours, theirs):
    """Both means and the mean of the paired difference, with their intervals."""
    differences = [our - their for our, their in zip(ours, theirs, strict=True)]
    columns = {"fitwell": ours, "scikit_learn": theirs, "paired_difference": differences}
    return {
        name: {key: mean_interval(column)[key] for key in ("mean", "sd", "interval", "n")}
        for name, column in columns.items()
    }


def main():
    ours, theirs = [], []
    for seed in range(NUM_SETS):
        images = grouped_set(seed)
        ours.append(judge(images, assign_folds(images, num_folds=FOLDS, seed=seed)))
        theirs.append(judge(images, fold_by_scikit_learn(images, seed)))
    result = {"sets": NUM_SETS, "folds": FOLDS}
    for name in FIGURES:
        result[name] = compare([each[name] for each in ours], [each[name] for each in theirs])
    for name in COUNTS:
        result[name] = {"fitwell": sum(each[name] for each in ours), "scikit_learn": sum(each[name] for each in theirs)}
    write_result("split_prevalence", result)


if __name__ == "__main__":
    main()
