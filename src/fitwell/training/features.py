"""Pooled features of images outside of a run, through the same kept activations as a run of the same recipe."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from fitwell.data.image_cache import ImageCache
from fitwell.data.loader import ImageSource
from fitwell.model.compute import compute_of
from fitwell.model.network import Network
from fitwell.model.weights import load_network
from fitwell.recipe.phase import Phase
from fitwell.recipe.schema import Recipe
from fitwell.training.cache_plan import PLANNED_SHARE, freeze, open_store, plan_cache
from fitwell.training.phase_data import pooled_features
from fitwell.training.pictures import preprocessing_of
from fitwell.training.plan import Extraction, find_extraction, plan_execution
from fitwell.training.prepare import resolve_for
from fitwell.training.trial_pictures import trial_pictures

HEAD_ALONE = (Phase(name="head", train="head", epochs=1, learning_rate="search"),)


def frozen_features(root: Path, images: pd.DataFrame, recipe: Recipe) -> NDArray[np.float32]:
    """Return pooled features (N, D) of the pretrained backbone, of the pictures that evaluation sees.

    What the blocks that a run of `recipe` leaves frozen make of an image is taken from the store and put there, so
    that neither a run nor another call computes it again.

    Args:
        images: N rows with path, label and sha256, and split once it is drawn.
        recipe: as it was asked for.

    Raises:
        DataError: when an image cannot be decoded, or is not what `sha256` says.
        UsageError: when the weights, the device or the engine are not there.
    """
    parts = images["split"].to_numpy() if "split" in images else np.full(len(images), "train")
    resolved = resolve_for(images[parts == "train"], recipe)
    network, store = load_network(resolved, num_classes=2), open_store(resolved.limits)
    resolved, extraction = _extraction(network, resolved, int((parts == "train").sum()), int((parts == "val").sum()))
    pictures = trial_pictures(root, images.assign(split=parts), resolved)
    planned, _ = plan_execution(network, resolved, pictures, extraction=extraction, plans=store.root / "plans.json")
    room = int(PLANNED_SHARE * store.cap_bytes)
    once = planned.model_copy(update={"augment": planned.augment.model_copy(update={"views": 1})})
    plan = plan_cache(network, once, num_train=len(images), num_val=0, room_bytes=room)
    compute, workers = compute_of(planned), int(planned.execution.workers)
    compute.move_module(network)
    frozen = freeze(network, planned, plan, store, lambda done, total: None) if plan.views else None
    cache = ImageCache(replace(store, cap_bytes=store.cap_bytes - plan.num_bytes)) if frozen else None
    rows: list[NDArray[np.int64]] = []
    features = []
    for part in sorted(set(parts)):  # as a run does it: batches are computed whole, and a run's hold one part each
        rows.append(np.flatnonzero(parts == part))
        paths, sha256s = (tuple(images[name].iloc[rows[-1]]) for name in ("path", "sha256"))
        source = ImageSource(root, paths, preprocessing_of(planned), None, planned.seed, sha256s, cache)
        features.append(pooled_features(network, source, compute, frozen, workers))
    return torch.cat(features).numpy()[np.argsort(np.concatenate(rows))]


def _extraction(network: Network, recipe: Recipe, num_train: int, num_val: int) -> tuple[Recipe, Extraction | None]:
    """Return what a run would compute once, and the recipe; one that trains every block counts as training the head."""
    extraction = find_extraction(network, recipe, num_train, num_val)
    if extraction is None and recipe.execution.cache == "auto":
        recipe = recipe.model_copy(update={"phases": HEAD_ALONE})
        extraction = find_extraction(network, recipe, num_train, num_val)
    return recipe, extraction
