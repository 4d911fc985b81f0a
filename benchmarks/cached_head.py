"""The head phase on cached features against the same phase through the frozen backbone in every epoch.

Both are ours: channels-last float32, the same images, epochs and rates. Order A B A B ..., one pair for each seed.
The uncached phase augments afresh in every epoch; the cached one cycles through its views. Seconds are those of
training: extraction and epochs, without loading torch and without the final verdict.

    python benchmarks/cached_head.py
"""

import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
from result import mean_interval, write_result

from fitwell import classifier
from fitwell.data.demo import elpv_dataset
from fitwell.files import read_json_lines
from fitwell.training.session import continue_run

SEEDS = (0, 1, 2, 3, 4)
MODULES = 6  # of 44: the uncached half takes its time
EPOCHS = 6
VIEWS = 2


def train(dataset, seed, cache):
    settings = {
        "seed": seed,
        "phases": [{"name": "head", "train": "head", "epochs": EPOCHS, "learning_rate": 2e-3, "warmup_epochs": 1}],
        "augment.views": VIEWS,
        "split.val_fraction": 0.25,
        "execution.cache": cache,
        "execution.precision": "float32",
        "execution.memory_format": "channels_last",
        "execution.device": "cpu",
    }
    with tempfile.TemporaryDirectory() as folder:
        prepared = classifier.prepare(dataset, classifier.read_settings("auto", settings))
        run = classifier.start(prepared, Path(folder), f"head-{cache}")
        started = time.monotonic()
        continue_run(run)
        seconds = time.monotonic() - started
        best = max(
            (record["val"]["auc"], record["val"]["accuracy"])
            for record in read_json_lines(run.history)
            if record["kind"] == "epoch"
        )
        counts = {split: sum(labels.values()) for split, labels in prepared.counts().items()}
        return {"seconds": round(seconds, 2), "val_auc": best[0], "val_accuracy": best[1], "images": counts}


def main() -> None:
    whole = elpv_dataset()
    modules = sorted(set(whole.images["group"]))
    chosen = set(np.random.default_rng(0).choice(modules, MODULES, replace=False))
    dataset = replace(whole, images=whole.images[whole.images["group"].isin(chosen)].reset_index(drop=True))
    pairs = [
        {"seed": seed, "cached": train(dataset, seed, "auto"), "uncached": train(dataset, seed, "none")}
        for seed in SEEDS
    ]
    ratios = [pair["uncached"]["seconds"] / pair["cached"]["seconds"] for pair in pairs]
    write_result(
        "cached_head",
        {
            "epochs": EPOCHS,
            "views": VIEWS,
            "ratio_uncached_to_cached_seconds": mean_interval(ratios),
            "val_auc_cached_minus_uncached": mean_interval(
                [pair["cached"]["val_auc"] - pair["uncached"]["val_auc"] for pair in pairs]
            ),
            "val_accuracy_cached_minus_uncached": mean_interval(
                [pair["cached"]["val_accuracy"] - pair["uncached"]["val_accuracy"] for pair in pairs]
            ),
            "pairs": pairs,
        },
    )


if __name__ == "__main__":
    main()
