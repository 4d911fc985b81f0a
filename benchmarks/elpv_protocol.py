"""elpv by the paper's protocol: ten random stratified 75/25 splits, accuracy plain and weighted by confidence.

Cells of one module lie on both sides of such a split, so the numbers are for comparison with what is published
(Deitsch et al. 2019, doi:10.1016/j.solener.2019.02.067: VGG-19 0.8842, SVM 0.8244); `default_recipe.py elpv` has the
honest ones. The splits share one cache: the first pays for the frozen layers, its seconds stand apart.

    python benchmarks/elpv_protocol.py [--splits 10] [-- --any.setting value]

Splits that results/elpv_protocol.json holds with the same settings stand: the same command goes on after a stop.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
from result import RESULTS, mean_interval, progress, write_result
from sklearn.model_selection import train_test_split

from fitwell.data.demo import elpv_dataset

RESULT = RESULTS / "elpv_protocol.json"
TEST_SHARE, VAL_SHARE = 0.25, 0.1  # of all, of the rest
SETTINGS = {
    "model.own_statistics": "0",  # else every split would have frozen layers of its own
    "images.size": "256",
    "augment.rotate_degrees": "0",
    "augment.crop_area": "[1, 1]",
    "augment.color": "{brightness: 0, contrast: 0}",
    "augment.flip": "dihedral",
    "augment.views": "8",
    "balance.class_weights": "none",
    "select.metric": "log_loss",
    "predict.average_over": "dihedral",
    "phases.fine-tune.epochs": "12",
    "phases.fine-tune.learning_rate": "1.5e-3",
}


def cells():
    """Return the folder, and path, label and weight of every cell: how sure the paper's expert was.

    The expert's probability of a defect is 0, 1/3, 2/3 or 1; the paper weighs a cell by it, and a sound one by 1.
    """
    dataset = elpv_dataset()
    lines = (dataset.root / "labels.csv").read_text(encoding="utf-8").split("\n")
    probabilities = {line.split()[0]: float(line.split()[1]) for line in lines if line.strip()}
    probability = dataset.images["path"].map(probabilities)
    return dataset.root, dataset.images[["path", "label"]].assign(weight=np.where(probability == 0, 1.0, probability))


def divide(table, seed):
    """Return the table with its column split."""
    rest, test = train_test_split(table.index, test_size=TEST_SHARE, random_state=seed, stratify=table["label"])
    _, val = train_test_split(rest, test_size=VAL_SHARE, random_state=seed, stratify=table.loc[rest, "label"])
    split = pd.Series("train", index=table.index)
    split[val], split[test] = "val", "test"
    return table.assign(split=split)


def run_split(folder, root, table, settings):
    """Return test accuracy, plain and weighted, and the seconds of the command.

    Args:
        root: that the table's paths begin at.
    """
    table.to_csv(folder / "split.csv", index=False)
    flags = [part for key, value in settings.items() for part in (f"--{key}", value)]
    runs = folder / "runs"
    command = [sys.executable, "-m", "fitwell", "train", str(folder / "split.csv"), "--image-root", str(root)]
    started = time.perf_counter()
    subprocess.run(
        [*command, "--runs-dir", str(runs), *flags, "--on-data-error", "warn"],
        env={**os.environ, "XDG_CACHE_HOME": str(folder / "cache")},
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    seconds = time.perf_counter() - started
    predictions = pd.read_parquet(max(runs.iterdir()) / "evaluation" / "test" / "predictions.parquet")
    right = (predictions["p_defective"] > 0.5) == (predictions["label"] == "defective")
    weights = predictions["path"].map(table.set_index("path")["weight"])
    return {
        "accuracy": float(right.mean()),
        "weighted_accuracy": float(np.average(right, weights=weights)),
        "seconds": round(seconds, 1),
    }


def kept_rows(settings):
    """Return the splits that an earlier call finished."""
    kept = json.loads(RESULT.read_text(encoding="utf-8")) if RESULT.exists() else {}
    return kept["splits"] if kept.get("settings") == settings else []


def main() -> None:
    asked = sys.argv[1:]
    own = asked[asked.index("--") + 1 :] if "--" in asked else []
    num_splits = int(asked[asked.index("--splits") + 1]) if "--splits" in asked else 10
    settings = SETTINGS | dict(zip((key.removeprefix("--") for key in own[::2]), own[1::2], strict=True))
    root, table = cells()
    rows = kept_rows(settings)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for seed in range(len(rows), num_splits):
            pays = not (folder / "cache").exists()  # for the frozen layers
            rows.append({"split": seed, "pays": pays, **run_split(folder, root, divide(table, seed), settings)})
            progress(str(rows[-1]))
            scores = {
                score: mean_interval([row[score] for row in rows], bounds=(0, 1))
                for score in ("accuracy", "weighted_accuracy")
            }
            seconds = {
                who: mean_interval(spent)
                for who, paying in (("first_split", True), ("others", False))
                if (spent := [row["seconds"] for row in rows if row["pays"] == paying])
            }
            write_result("elpv_protocol", {"settings": settings, **scores, "seconds": seconds, "splits": rows})


if __name__ == "__main__":
    main()
