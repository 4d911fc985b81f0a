"""AutoGluon's `MultiModalPredictor.fit` on fitwell's split: the val metrics of its model, and its seconds.

Same backbone, weights, 224 px and images as fitwell; as many epochs as fastai has; all else is AutoGluon's default
(AdamW with rates that fall from layer to layer, TrivialAugment, the mean of its best checkpoints). Runs in an
environment of its own (see README.md).

    python benchmarks/peers/autogluon_fit.py SPLIT.csv RESULT.json [--seed 1] [--epochs 6] [--threads 2]
"""

import argparse
import json
import tempfile
import time
from pathlib import Path

import pandas as pd
import timm
import torch
from autogluon.multimodal import MultiModalPredictor
from lite0 import NAME, fill, pixel_statistics

IMAGE_SIZE = 224


def write_checkpoint(folder: Path) -> str:
    """Write the weights as AutoGluon's `dump_model` writes its own, which it takes in the place of a name."""
    backbone = fill(timm.create_model(NAME, num_classes=0))
    torch.save(backbone.state_dict(), folder / "pytorch_model.bin")
    mean, std = pixel_statistics()
    pixels = {"input_size": (3, IMAGE_SIZE, IMAGE_SIZE), "mean": mean, "std": std}
    config = {"architecture": NAME, "num_features": backbone.num_features, "pretrained_cfg": pixels}
    (folder / "config.json").write_text(json.dumps(config))
    return str(folder)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("split", type=Path)
    parser.add_argument("result", type=Path)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--threads", type=int, default=2)
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    table = pd.read_csv(asked.split)
    parts = {part: table.loc[table["split"] == part, ["path", "label"]] for part in ("train", "val")}
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "weights"
        place.mkdir()
        settings = {
            "model.names": ["timm_image"],
            "model.timm_image.checkpoint_name": write_checkpoint(place),
            "optim.max_epochs": asked.epochs,
        }
        started = time.monotonic()
        predictor = MultiModalPredictor(label="label", path=str(Path(folder) / "model"))
        predictor.fit(
            parts["train"],
            tuning_data=parts["val"],
            hyperparameters=settings,
            seed=asked.seed,
            column_types={"path": "image_path"},
        )
        seconds = time.monotonic() - started
        metrics = ["f1_macro", "accuracy", *(["roc_auc"] if table["label"].nunique() == 2 else [])]
        scores = predictor.evaluate(parts["val"], metrics=metrics)
    record = {"seed": asked.seed, "threads": asked.threads, "num_epochs": asked.epochs}
    record |= {"seconds": round(seconds, 1), "val": scores}
    asked.result.write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    main()
