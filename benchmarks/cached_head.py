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

from result import mean_interval, write_result

from fitwell import classifier
from fitwell.data.demo import elpv_dataset
from fitwell.files import read_json_lines
from fitwell.training.session import continue_run

SEEDS = (0, 1, 2, 3, 4)
IMAGES = 480  # of 2,624, and small: the uncached half takes its time
IMAGE_SIZE = 96
EPOCHS = 12
VIEWS = 4


def train(dataset, seed, cache):
    settings = {
        "seed": seed,
        "phases": [{"name": "head", "train": "head", "epochs": EPOCHS, "learning_rate": 2e-3, "warmup_epochs": 1}],
        "augment.views": VIEWS,
        "images.size": IMAGE_SIZE,
        "split.val_fraction": 0.3,
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
        epochs = [record["val"] for record in read_json_lines(run.history) if record["kind"] == "epoch"]
        best = {f"val_{metric}": max(epoch[metric] for epoch in epochs) for metric in ("auc", "accuracy")}
        counts = {split: sum(labels.values()) for split, labels in prepared.counts().items()}
        return {"seconds": round(seconds, 2), **best, "images": counts}


def main() -> None:
    whole = elpv_dataset()
    # Drawn without their modules: a val set of two modules would drown any difference in noise.
    images = whole.images.drop(columns="group").sample(IMAGES, random_state=0).reset_index(drop=True)
    dataset = replace(whole, images=images)
    pairs = [
        {"seed": seed, "cached": train(dataset, seed, "auto"), "uncached": train(dataset, seed, "none")}
        for seed in SEEDS
    ]
    ratios = [pair["uncached"]["seconds"] / pair["cached"]["seconds"] for pair in pairs]
    write_result(
        "cached_head",
        {
            "epochs": EPOCHS,
            "image_size": IMAGE_SIZE,
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
