"""What a frozen, pretrained backbone makes of images: one vector each."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fitwell.data.loader import ImageSource, load_batches
from fitwell.data.transforms import Preprocessing
from fitwell.device import choose_device
from fitwell.evaluation.predict import run_module
from fitwell.model.compute import Compute
from fitwell.model.network import build_network
from fitwell.model.weights import load_backbone

BATCH = 32


def frozen_features(
    root: Path, paths: Sequence[str], preprocessing: Preprocessing, *, backbone: str, weights: str, device: str
) -> NDArray[np.float32]:
    """Return pooled features (N, D) of the images `paths`, relative to `root`.

    Args:
        backbone, weights: as `model.weights.load_backbone` takes them. device: as `choose_device` does.

    Raises:
        DataError: when an image cannot be decoded.
        UsageError: when the weights or the device are not there.
    """
    network = build_network(load_backbone(backbone, weights), num_classes=2, dropout=0.0).eval()
    compute = Compute(choose_device(device)[0], memory_format="channels_last")
    compute.move_module(network.backbone)
    source = ImageSource(root=root, paths=tuple(paths), preprocessing=preprocessing, augmentation=None, seed=0)
    batches = [np.arange(start, min(start + BATCH, len(paths))) for start in range(0, len(paths), BATCH)]
    loaded = load_batches(source, batches, epoch=0, workers=(os.cpu_count() or 1) // 2)
    return run_module(network.backbone, loaded, len(paths), compute).numpy()
