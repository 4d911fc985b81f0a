"""Whether relatives that lie next to each other in file order are found, how often by mistake, and what blocks help.

Four questions: the solar cells in file order, without telling the modules; pictures and noise in random order, where
nothing may be said; blocks planted into noise; and what logistic regression on frozen features of the solar cells is
reported to reach when folds are drawn by single images, by blocks of the file order, and by the true modules.

    python benchmarks/order_leakage.py EMOJI/labels.csv
"""

import csv
import sys
from pathlib import Path

import numpy as np
from PIL import Image
from result import mean_interval, with_hashes, write_result
from scipy.stats import binomtest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from fitwell.classifier import read_settings
from fitwell.data.check.order import find_order_leakage, group_by_order
from fitwell.data.decode import decode_image
from fitwell.data.demo import elpv_dataset
from fitwell.data.split import assign_folds
from fitwell.training.features import frozen_features

NUM_SHUFFLED = 200
NUM_PLANTED = 20
BLOCK_LENGTHS = (10, 30, 60)  # beside the one that is measured, and twice as long
QUANTILES = {"lowest": 0, "median": 0.5, "highest": 1}
FOLDS, SEEDS = 5, (0, 1, 2)


def look_at(root, paths):
    """Grey looks (N, 16, 16) as the scan of a dataset makes them."""
    pictures = (decode_image(root / path).convert("L") for path in paths)
    return np.stack([np.asarray(picture.resize((16, 16), Image.Resampling.BOX)) for picture in pictures])


def make_noise(seed, block_length, shared):
    """Looks and labels of a random set; each block of the file order shares a part of the variance."""
    rng = np.random.default_rng(seed)
    num_images, num_classes = int(rng.integers(60, 2000)), int(rng.integers(2, 8))
    labels = rng.choice(num_classes, num_images, p=rng.dirichlet(np.full(num_classes, 3)))
    blocks = np.arange(num_images) // block_length
    patterns = rng.normal(size=(blocks.max() + 1, 16, 16))
    looks = np.sqrt(shared) * patterns[blocks] + np.sqrt(1 - shared) * rng.normal(size=(num_images, 16, 16))
    looks += rng.normal(size=(num_classes, 16, 16))[labels]
    looks[rng.random(num_images) < rng.choice([0, 0.3])] = 0  # blank ones
    return np.clip(128 + 25 * looks, 0, 255).astype(np.uint8), labels.astype(str)


def count_false_alarms(looks_of, num_sets):
    """How many of the shuffled sets are said to have a meaningful order, with the exact 95 % interval."""
    alarms = 0
    for seed in range(num_sets):
        looks, labels = looks_of(seed)
        order = np.random.default_rng(1000 + seed).permutation(len(looks))
        alarms += find_order_leakage(looks[order], labels[order], None, seed=seed) is not None
    interval = binomtest(alarms, num_sets).proportion_ci(0.95)
    return {"alarms": alarms, "n": num_sets, "interval": [round(interval.low, 4), round(interval.high, 4)]}


def find_planted(block_length, shared):
    """How often blocks are found, and their measured length over the true one."""
    found = [find_order_leakage(*make_noise(seed, block_length, shared), None) for seed in range(NUM_PLANTED)]
    ratios = [finding.evidence["block_length"] / block_length for finding in found if finding]
    return {
        "block_length": block_length,
        "shared_variance": shared,
        "found": len(ratios),
        "n": NUM_PLANTED,
        "measured_over_true": {name: round(float(np.quantile(ratios, q)), 2) for name, q in QUANTILES.items()}
        if ratios
        else None,
    }


def measure_auc(features, images):
    """AUC over all images, each judged by the regression that did not see its fold; one per seed."""
    is_functional = (images["label"] == "functional").to_numpy()
    scores = []
    for seed in SEEDS:
        folds, judged = assign_folds(images, num_folds=FOLDS, seed=seed), np.empty(len(images))
        for fold in range(FOLDS):
            regression = make_pipeline(StandardScaler(), LogisticRegression(C=1e-3, max_iter=5000))
            regression.fit(features[folds != fold], is_functional[folds != fold])
            judged[folds == fold] = regression.decision_function(features[folds == fold])
        scores.append(float(roc_auc_score(is_functional, judged)))
    return mean_interval(scores, bounds=(0, 1))


def main():
    table = Path(sys.argv[1])
    cells = elpv_dataset()
    finding = find_order_leakage(look_at(cells.root, cells.images["path"]), cells.images["label"].to_numpy(), None)
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    emoji = look_at(table.parent, [row["path"] for row in rows]), np.array([row["label"] for row in rows])
    single = cells.images.drop(columns="group")
    features = frozen_features(cells.root, with_hashes(cells), read_settings("auto", {"images.fit": "squash"}))
    measured = finding.evidence["block_length"]
    lengths = sorted({*BLOCK_LENGTHS, measured, 2 * measured})
    write_result(
        "order_leakage",
        {
            "solar_cells": dict(finding.evidence),
            "solar_cells_in_a_module": {
                name: float(np.quantile(cells.images["group"].value_counts(), q)) for name, q in QUANTILES.items()
            },
            "false_alarms_shuffled_noise": count_false_alarms(lambda seed: make_noise(seed, 1, 0.0), NUM_SHUFFLED),
            "false_alarms_shuffled_emoji": count_false_alarms(lambda _: emoji, NUM_SHUFFLED // 4),
            "planted": [find_planted(length, shared) for shared in (0.1, 0.25) for length in (2, 5, 20, 60)],
            "solar_cells_auc": {
                "single_images": measure_auc(features, single),
                **{
                    f"blocks_of_{length}": measure_auc(features, single.assign(group=group_by_order(single, length)))
                    for length in lengths
                },
                "modules": measure_auc(features, cells.images),
            },
        },
    )


if __name__ == "__main__":
    main()
