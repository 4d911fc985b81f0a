"""The default recipe against logistic regression on frozen features, paired over grouped folds, with its time.

`fitwell train` runs as its users run it, a process for each fold that begins with an empty cache; the seconds are
those of the whole command, report included. The regression gets the same pictures through the same frozen backbone;
val chooses its strength among seven, then it learns from train and val together.

    python benchmarks/default_recipe.py elpv | LABELS.csv [--fit pad] [--folds 5] [--first 1] [--seed 0]

Another seed divides and trains anew; its result has the seed in its name.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
from result import mean_interval, progress, with_hashes, write_result
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score, log_loss, roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from fitwell import classifier
from fitwell.data.demo import elpv_dataset
from fitwell.data.index import index_dataset
from fitwell.training.features import frozen_features

STRENGTHS = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1)


def table_of(data, folder):
    """Return the path of a table that `fitwell train` reads, with the images beside it."""
    if data != "elpv":
        return Path(data)
    dataset = elpv_dataset()
    shutil.copytree(dataset.root, folder / "elpv", dirs_exist_ok=True)
    dataset.images.to_csv(folder / "elpv" / "labels.csv", index=False)
    return folder / "elpv" / "labels.csv"


def train_fold(table, flags, folder):
    """Return the run's images with their splits, its test predictions and the seconds of the command."""
    environment = {**os.environ, "XDG_CACHE_HOME": str(folder / "cache")}
    command = [sys.executable, "-m", "fitwell", "train", str(table), "--runs-dir", str(folder / "runs"), *flags]
    started = time.perf_counter()
    subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    seconds = time.perf_counter() - started
    (run,) = (folder / "runs").iterdir()
    images = pd.read_csv(run / "split.csv")
    return images, pd.read_parquet(run / "evaluation" / "test" / "predictions.parquet"), seconds


def regress(features, labels, split):
    """Return the probabilities (test images, C) of the regression."""
    train, val, test = (split == name for name in ("train", "val", "test"))

    def fitted(strength, chosen):
        model = make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=5000))
        return model.fit(features[chosen], labels[chosen])

    def val_loss(strength):
        model = fitted(strength, train)
        return log_loss(labels[val], model.predict_proba(features[val]), labels=model.classes_)

    with threadpool_limits(1, user_api="blas"):
        return fitted(min(STRENGTHS, key=val_loss), train | val).predict_proba(features[test])


def scores(probs, labels, classes):
    values = {"macro_f1": float(f1_score(labels, np.asarray(classes)[probs.argmax(axis=1)], average="macro"))}
    if len(classes) == 2:
        values["auc"] = float(roc_auc_score(labels == classes[1], probs[:, 1]))
    return values


def measure_fold(table, features, places, flags):
    """Return the row of one fold: scores of both, and the seconds of the command."""
    with tempfile.TemporaryDirectory() as own:
        images, predictions, seconds = train_fold(table, flags, Path(own))
    labels = images["label"].to_numpy()
    classes = sorted(set(labels))
    probs = regress(features[[places[path] for path in images["path"]]], labels, images["split"].to_numpy())
    ours = predictions[[f"p_{label}" for label in classes]].to_numpy()
    return {
        "num_test": len(predictions),
        "seconds": round(seconds, 1),
        "fitwell": scores(ours, predictions["label"].to_numpy(), classes),
        "regression": scores(probs, labels[images["split"] == "test"], classes),
    }


def write(name, fit, rows):
    metrics = list(rows[0]["fitwell"])
    paired = {metric: [row["fitwell"][metric] - row["regression"][metric] for row in rows] for metric in metrics}
    sides = {
        side: {metric: mean_interval([row[side][metric] for row in rows], bounds=(0, 1)) for metric in metrics}
        for side in ("fitwell", "regression")
    }
    difference = {metric: mean_interval(values) for metric, values in paired.items()}
    seconds = mean_interval([row["seconds"] for row in rows])
    write_result(name, {"fit": fit, "seconds": seconds, **sides, "paired_difference": difference, "folds": rows})


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("data")
    parser.add_argument("--fit", default="crop")
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--first", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    name = f"default_recipe_{'elpv' if asked.data == 'elpv' else Path(asked.data).parent.name}"
    name += f"_seed_{asked.seed}" if asked.seed else ""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        table = table_of(asked.data, Path(folder))
        dataset, recipe = index_dataset(table), classifier.read_settings("auto", {"images.fit": asked.fit})
        features = frozen_features(dataset.root, with_hashes(dataset), recipe)
        places = {path: place for place, path in enumerate(dataset.images["path"])}
        for fold in range(asked.first, asked.folds + 1):
            flags = ["--images.fit", asked.fit, "--split.folds", str(asked.folds), "--split.fold", str(fold)]
            flags += ["--seed", str(asked.seed)]
            rows.append({"fold": fold, **measure_fold(table, features, places, [*flags, "--on-data-error", "warn"])})
            progress(str(rows[-1]))
            write(name, asked.fit, rows)  # after every fold, so that hours are not lost


if __name__ == "__main__":
    main()
