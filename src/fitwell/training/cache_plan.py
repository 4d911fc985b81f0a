"""What of a run is kept for its later epochs and for later runs, and how much disk that may take."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass

import torch

from fitwell.model.activations import activation_shelf
from fitwell.model.compute import compute_of
from fitwell.model.engine import build_engine
from fitwell.model.network import Network
from fitwell.recipe.schema import Limits, Recipe
from fitwell.store import Store, default_root
from fitwell.training.phase_data import Frozen
from fitwell.training.pictures import preprocessing_of
from fitwell.training.plan import find_extraction

MOST_CACHE_BYTES = 20_000_000_000
CACHE_SHARE = 0.5  # of the disk space that is left
PLANNED_SHARE = 0.9  # of the cap; runs at the same time want some of it
BYTES_OF_HALF = 2
ENTRY_BYTES = 64  # that the store's index takes for each array


@dataclass(frozen=True)
class CachePlan:
    """Decided once per run, because a resumed run must see the same pictures.

    Attributes:
        boundary: leading blocks whose activations are kept.
        views: pictures of each training image whose activations are kept; 0 keeps none.
        asked_views: what the recipe wants.
        num_bytes: of all activations.
    """

    boundary: int
    views: int
    asked_views: int
    num_bytes: int

    def record(self) -> dict[str, int]:
        """Return what run.json keeps of it."""
        return asdict(self)


def open_store(limits: Limits) -> Store:
    """Return the store of this user; by default it takes at most a part of what its disk has left."""
    root = default_root()
    if limits.cache != "auto":
        return Store(root, int(limits.cache))
    existing = next(folder for folder in (root, *root.parents) if folder.exists())
    left = shutil.disk_usage(existing).free + Store(root, 0).size_bytes()
    return Store(root, min(MOST_CACHE_BYTES, int(CACHE_SHARE * left)))


def plan_cache(network: Network, recipe: Recipe, *, num_train: int, num_val: int, room_bytes: int) -> CachePlan:
    """Return what to keep: as many views as the recipe asks for and `room_bytes` hold beside the val images."""
    extraction = find_extraction(network, recipe, num_train, num_val)
    if extraction is None:
        return CachePlan(boundary=0, views=0, asked_views=0, num_bytes=0)
    bytes_per_image = _bytes_per_image(network, extraction.boundary, int(recipe.images.size))
    views = max(0, min(extraction.views, (room_bytes // bytes_per_image - num_val) // num_train))
    num_bytes = bytes_per_image * (views * num_train + num_val) if views else 0
    return CachePlan(extraction.boundary, views, extraction.views, num_bytes)


def freeze(
    network: Network, recipe: Recipe, plan: CachePlan, store: Store, on_batch: Callable[[int, int], None]
) -> Frozen:
    """Return the blocks that no phase trains, run by the engine that the recipe names.

    Args:
        on_batch: called with (images done, images to do) while activations are computed; may raise to stop.
    """
    network.eval()
    prefix, size, engine = network.prefix(plan.boundary), int(recipe.images.size), recipe.execution.engine
    return Frozen(
        boundary=plan.boundary,
        views=plan.views,
        engine=engine,
        extract=build_engine(engine, prefix, compute_of(recipe), (3, size, size)),
        shelf=activation_shelf(store, prefix, preprocessing_of(recipe), engine),
        on_batch=on_batch,
    )


def _bytes_per_image(network: Network, boundary: int, size: int) -> int:
    network.eval()
    with torch.inference_mode():
        device = next(network.parameters()).device
        example = network.prefix(boundary)(torch.zeros((1, 3, size, size), device=device))
    return int(example[0].numel()) * BYTES_OF_HALF + ENTRY_BYTES
