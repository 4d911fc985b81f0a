"""From images and a recipe to a run folder that is ready to train: split drawn, every `auto` of the recipe resolved."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from fitwell.data.index import Dataset, scan_images
from fitwell.data.split import assign_splits, data_fingerprint, split_hash, write_split
from fitwell.data.transforms import Preprocessing
from fitwell.model.freeze import set_trainable
from fitwell.model.network import build_network, create_backbone, input_size_of, normalisation
from fitwell.recipe.read import write_recipe
from fitwell.recipe.resolve import DataFacts, resolve_recipe
from fitwell.recipe.schema import Recipe
from fitwell.run_folder import RunFolder, create_run_folder, describe_environment, now

SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class PreparedRun:
    """A run before it has a folder: what `--dry-run` shows.

    Args:
        images: the dataset's table with splits and hashes.
        recipe: resolved, but for what is measured on the machine.
    """

    dataset: Dataset
    images: pd.DataFrame
    recipe: Recipe

    def counts(self) -> dict[str, dict[str, int]]:
        """Return the number of images per class in every split."""
        pairs = Counter(zip(self.images["split"], self.images["label"], strict=True))
        return {split: {label: pairs[split, label] for label in self.dataset.classes} for split in SPLITS}


def prepare_run(dataset: Dataset, recipe: Recipe) -> PreparedRun:
    """Look at every image, draw the split, and resolve the recipe; write nothing.

    Raises:
        DataError: when an image cannot be decoded, or the classes do not fill three parts.
        RecipeError: when the backbone does not exist or cannot be frozen as asked.
    """
    scanned = scan_images(dataset, threads=os.cpu_count() or 1)
    images = assign_splits(
        scanned,
        val_fraction=recipe.split.val_fraction,
        test_fraction=recipe.split.test_fraction,
        seed=recipe.seed,
    )
    train = images[images["split"] == "train"]
    facts = DataFacts(
        num_train=len(train),
        class_counts={label: int((train["label"] == label).sum()) for label in dataset.classes},
    )
    resolved = resolve_recipe(recipe, facts, input_size_of)
    _require_phases_fit(resolved)
    return PreparedRun(dataset, images.drop(columns=["width", "height"]), resolved)


def create_run(prepared: PreparedRun, runs_dir: Path, name: str) -> RunFolder:
    """Give `prepared` a folder under `runs_dir`."""
    run = create_run_folder(runs_dir, name)
    write_split(run.split, prepared.images)
    write_recipe(run.recipe, prepared.recipe)
    run.update(
        id=run.id,
        name=name,
        state="created",
        created=now(),
        exit=None,
        **describe_environment(),
        data=_describe_data(prepared),
        preprocessing=asdict(preprocessing_of(prepared.recipe)),
        split={"hash": split_hash(prepared.images), "counts": prepared.counts()},
        test_openings=[],
    )
    return run


def preprocessing_of(recipe: Recipe) -> Preprocessing:
    """Return how a resolved `recipe` turns a picture into the network's input."""
    pixels = normalisation(recipe.model.backbone)
    return Preprocessing(
        size=int(recipe.images.size),
        fit=recipe.images.fit,
        crop_fraction=float(recipe.images.crop_fraction),
        mean=pixels.mean,
        std=pixels.std,
        interpolation=pixels.interpolation,
    )


def _describe_data(prepared: PreparedRun) -> dict[str, Any]:
    dataset, images = prepared.dataset, prepared.images
    return {
        "source": dataset.source,
        "root": str(dataset.root.resolve()),
        "classes": list(dataset.classes),
        "num_images": len(images),
        "class_counts": {label: int((images["label"] == label).sum()) for label in dataset.classes},
        "num_groups": int(images["group"].nunique()) if "group" in images else None,
        "fingerprint": data_fingerprint(images),
    }


def _require_phases_fit(recipe: Recipe) -> None:
    """Try every phase's freeze level on the backbone without weights, before anything is written."""
    network = build_network(create_backbone(recipe.model.backbone), num_classes=2, dropout=0.0)
    for phase in recipe.phases:
        set_trainable(network, phase.train)
