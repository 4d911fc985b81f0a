"""How many wrong labels are found: 5 % of the labels flipped at random on emoji and on the solar cells.

Quality is judged by its AUC and by the first k images, where k labels were planted, so that precision is recall. What
is named outright is compared with what confident learning alone names. "by" is what the folds keep together: nothing,
or the groups of the user (the same emoji of three vendors; the cells of a module). "copies" plants a copy of every
wrong image with the same wrong label, and folds without and with the clusters that such copies make.

    python benchmarks/suspect_labels.py FOLDER_OF_EMOJI
"""

import sys
import time
from pathlib import Path

import numpy as np
from cleanlab.filter import find_label_issues
from result import mean_interval, with_hashes, write_result
from sklearn.metrics import roc_auc_score

from fitwell.classifier import read_settings
from fitwell.data.check.suspect_labels import SURE, _judge
from fitwell.data.demo import elpv_dataset
from fitwell.data.index import index_dataset
from fitwell.training.features import frozen_features

SEEDS = range(5)
WRONG = 0.05


def load(dataset, cache):
    """Frozen features (N, D), labels (N,) and groups (N,), both as numbers; features are kept in `cache`."""
    images = dataset.images
    labels, groups = (np.unique(images[name], return_inverse=True)[1] for name in ("label", "group"))
    if not cache.exists():
        recipe = read_settings("auto", {"images.crop_fraction": 0.875})
        np.save(cache, frozen_features(dataset.root, with_hashes(dataset), recipe))
    return np.load(cache), labels, groups


def plant(labels, seed):
    """Labels of which `WRONG` are another class, and which those are (N,)."""
    random = np.random.default_rng(seed)
    wrong = np.zeros(len(labels), dtype=bool)
    wrong[random.choice(len(labels), round(WRONG * len(labels)), replace=False)] = True
    num_classes = labels.max() + 1
    given = labels.copy()
    given[wrong] = (labels[wrong] + random.integers(1, num_classes, wrong.sum())) % num_classes
    return given, wrong


def measure(features, given, wrong, groups, seed):
    start = time.perf_counter()
    judgement = _judge(features, given, groups, seed)
    seconds = time.perf_counter() - start
    probs, quality = judgement.probs, judgement.quality(given)
    named = (probs.argmax(axis=1) != given) & (probs.max(axis=1) >= SURE)
    confident = find_label_issues(given, probs, filter_by="confident_learning", n_jobs=1)
    row = {"strength": judgement.strength, "seconds": round(seconds, 1)}
    row |= {"num_named": int(named.sum()), "num_confident_learning": int(confident.sum())}
    if wrong.any():
        first = np.argsort(quality, kind="stable")[: wrong.sum()]
        row |= {"auc": float(roc_auc_score(wrong, -quality)), "top_k": float(wrong[first].mean())}
        row |= {"named_precision": float(wrong[named].mean()), "named_recall": float(named[wrong].mean())}
        row |= {"cl_precision": float(wrong[confident].mean()), "cl_recall": float(confident[wrong].mean())}
    print(row, file=sys.stderr, flush=True)
    return row


def summarise(rows):
    measured = [name for name in rows[0] if name not in ("strength", "seconds")]
    limits = {name: (0, np.inf) if name.startswith("num_") else (0, 1) for name in measured}
    figures = {name: mean_interval([row[name] for row in rows], bounds=limits[name]) for name in measured}
    return {**figures, **{name: [row[name] for row in rows] for name in ("strength", "seconds")}}


def with_copies(features, given, wrong):
    """Every wrong image twice; and the clusters (M,) of the copies."""
    rows = np.concatenate([np.arange(len(given)), np.flatnonzero(wrong)])
    return features[rows], given[rows], wrong[rows], rows


def measure_set(features, labels, groups):
    found = {name: [] for name in ("by_nothing", "by_groups", "copies_by_nothing", "copies_by_clusters", "none_wrong")}
    for seed in SEEDS:
        given, wrong = plant(labels, seed)
        found["by_nothing"].append(measure(features, given, wrong, None, seed))
        found["by_groups"].append(measure(features, given, wrong, groups, seed))
        *copied, clusters = with_copies(features, given, wrong)
        found["copies_by_nothing"].append(measure(*copied, None, seed))
        found["copies_by_clusters"].append(measure(*copied, clusters, seed))
        found["none_wrong"].append(measure(features, labels, np.zeros_like(wrong), None, seed))
    size = {"num_images": len(labels), "num_features": features.shape[1], "num_wrong": int(wrong.sum())}
    return {**size, **{name: summarise(rows) for name, rows in found.items()}}


def main() -> None:
    emoji = Path(sys.argv[1])
    sets = {
        "emoji": load(index_dataset(emoji / "labels.csv"), emoji.parent / "emoji-features.npy"),
        "elpv": load(elpv_dataset(), emoji.parent / "elpv-features.npy"),
    }
    write_result("suspect_labels", {"sure": SURE, **{name: measure_set(*data) for name, data in sets.items()}})


if __name__ == "__main__":
    main()
