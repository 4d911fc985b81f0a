"""fastai's `vision_learner(...).fine_tune(5)` on fitwell's split: val metrics after every epoch, by the second.

Same backbone, weights, 224 px and images as fitwell; all else is fastai's default (batch size 64, aug_transforms, one
frozen and five unfrozen epochs, its head with concat pooling). Runs in an environment of its own (see README.md).

    python benchmarks/peers/fastai_fine_tune.py SPLIT.csv RESULT.json [--seed 1] [--epochs 5] [--threads 2]
        [--channels-last] [--share 0.2]

--channels-last changes rounding only and is not fastai's default: for runs whose scores count, not their seconds.
--share takes that part of the images, for runs whose seconds count, not their scores.
"""

import argparse
import json
import resource
import time
from pathlib import Path

import pandas as pd
import torch
from fastai.vision.all import (
    BalancedAccuracy,
    Callback,
    CategoryBlock,
    ColReader,
    ColSplitter,
    DataBlock,
    F1Score,
    ImageBlock,
    Normalize,
    Resize,
    RocAucBinary,
    accuracy,
    aug_transforms,
    set_seed,
    vision_learner,
)
from lite0 import NAME, fill, pixel_statistics

IMAGE_SIZE = 224


def cpu_seconds() -> float:
    """Of this process and of the workers that have ended."""
    usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


class EpochRecord(Callback):
    """After every epoch: seconds since the start and the val metrics."""

    order = 60  # after the Recorder

    def __init__(self, started: float, write) -> None:
        self.started, self.write, self.rows = started, write, []

    def after_epoch(self) -> None:
        names = self.learn.recorder.metric_names[1:-1]  # without epoch and time
        values = dict(zip(names, map(float, self.learn.recorder.values[-1]), strict=True))
        seconds = time.monotonic() - self.started
        self.rows.append({"seconds": round(seconds, 2), "cpu_seconds": round(cpu_seconds(), 2), **values})
        print(self.rows[-1], flush=True)
        self.write(self.rows)


def build_learner(table: pd.DataFrame):
    mean, std = pixel_statistics()
    block = DataBlock(
        blocks=(ImageBlock, CategoryBlock),
        get_x=ColReader("path"),
        get_y=ColReader("label"),
        splitter=ColSplitter("is_valid"),
        item_tfms=Resize(IMAGE_SIZE),
        batch_tfms=[*aug_transforms(), Normalize.from_stats(mean, std)],
    )
    dls = block.dataloaders(table)
    metrics = [F1Score(average="macro"), BalancedAccuracy(), accuracy]
    if dls.c == 2:
        metrics.append(RocAucBinary())
    learn = vision_learner(dls, NAME, metrics=metrics, pretrained=False, normalize=False)
    fill(learn.model[0].model)
    return learn


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("split", type=Path)
    parser.add_argument("result", type=Path)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--channels-last", action="store_true")
    parser.add_argument("--share", type=float, default=1.0)
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    started = time.monotonic()
    set_seed(asked.seed)
    table = pd.read_csv(asked.split)
    table = table[table["split"] != "test"].assign(is_valid=lambda rows: rows["split"] == "val")
    table = table.groupby(["split", "label"]).sample(frac=asked.share, random_state=asked.seed)

    def write(rows) -> None:
        record = {
            "split": asked.split.name,
            "seed": asked.seed,
            "threads": asked.threads,
            "channels_last": asked.channels_last,
            "share": asked.share,
            "num_train": int((~table["is_valid"]).sum()),
            "num_val": int(table["is_valid"].sum()),
            "finished": len(rows) == asked.epochs + 1,  # fine_tune begins with a frozen epoch
            "epochs": rows,
        }
        asked.result.parent.mkdir(parents=True, exist_ok=True)
        asked.result.write_text(json.dumps(record, indent=2) + "\n")

    learn = build_learner(table)
    if asked.channels_last:
        learn.model.to(memory_format=torch.channels_last)
    with learn.no_bar():
        learn.fine_tune(asked.epochs, cbs=EpochRecord(started, write))


if __name__ == "__main__":
    main()
