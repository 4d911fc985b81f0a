"""A head phase whose learning rate is `search`: many heads are trained at once, and val orders them."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fitwell.evaluation.epoch_metrics import class_records, epoch_metrics, train_metrics
from fitwell.model.head import output_layer
from fitwell.training.head_search import NUM_AVERAGED, default_settings, search_heads
from fitwell.training.head_stack import HeadData
from fitwell.training.loop import PhaseWork, Progress, judge_epoch
from fitwell.training.observer import EpochDone, Observer, Searched, StopAsked, notify


def search_phase(
    work: PhaseWork, progress: Progress, image_weights: Tensor, *, observers: Sequence[Observer]
) -> tuple[str, list[dict[str, Any]]]:
    """Give the network the mean of the best heads; return why the phase ended, and what became of every head.

    It takes seconds, so a resume starts it anew; the result is the same.

    Args:
        work: its data gives features (B, D) and, as the module, the head.
        image_weights: (N,) float32 with mean 1, without class weights.

    Raises:
        RunError: when no head has a val number.
        StopAsked: when an observer asked to stop.
    """
    phase, started = work.phase, time.monotonic()
    epochs = int(phase.epochs)

    def on_epoch(epoch: int, value: float | None) -> None:
        if notify(observers, Searched(phase.name, epoch, value)):
            raise StopAsked

    data = _head_data(work, image_weights)
    result = search_heads(
        data,
        default_settings(),
        epochs=epochs,
        batch_size=int(work.recipe.execution.batch_size),
        metric=work.recipe.select.metric,
        seed=work.recipe.seed,
        on_epoch=on_epoch,
    )
    weight, bias = result.mean()
    output_layer(work.network.head).load_state_dict({"weight": weight, "bias": bias})
    progress.epoch, progress.step = epochs - 1, progress.step + epochs * work.steps_per_epoch
    record = _record(work, progress, data, weight, bias)
    record["seconds"] = {"train": time.monotonic() - started, "val": 0.0}
    record["images_per_second"] = len(work.labels) * epochs / record["seconds"]["train"]
    record["best"] = judge_epoch(record["val"], work, progress)
    if record["best"]:
        work.keep_best(record)
    notify(observers, EpochDone(record))
    return f"took the mean of the best {NUM_AVERAGED} of {len(result.table)} heads", result.table


def _head_data(work: PhaseWork, image_weights: Tensor) -> HeadData:
    return HeadData(
        train_views=[_in_order(work.data.train_batches(0, 0), len(work.labels))],
        train_labels=work.labels,
        image_weights=image_weights,
        val_features=_in_order(work.data.val_batches(), len(work.val_labels)),
        val_labels=torch.from_numpy(work.val_labels),
        num_classes=len(work.classes),
    )


def _in_order(batches: Iterator[tuple[Tensor, NDArray[np.int64]]], num_images: int) -> Tensor:
    """Return (N, D) float32 by the number of the image."""
    features: Tensor | None = None
    for inputs, indices in batches:
        if features is None:
            features = torch.empty(num_images, inputs.shape[1])
        features[torch.from_numpy(indices)] = inputs.float()
    if features is None:
        raise ValueError("a head search got no images; expected at least one batch.")
    return features


def _record(work: PhaseWork, progress: Progress, data: HeadData, weight: Tensor, bias: Tensor) -> dict[str, Any]:
    """Return the epoch record of a head."""
    train, val = ((features @ weight.T + bias).numpy() for features in (data.train_views[0], data.val_features))
    return {
        "kind": "epoch",
        "phase": work.phase.name,
        "epoch": progress.epoch + 1,
        "step": progress.step,
        "train": train_metrics(train, work.labels.numpy()),
        "val": epoch_metrics(val, work.val_labels, ordered=bool(work.recipe.target.order)),
        **class_records(val, work.val_labels, work.classes),
        "learning_rate": {},
    }
