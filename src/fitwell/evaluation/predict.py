"""The one inference path: training's val number, the final verdict and every prediction run through it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fitwell.errors import RunError
from fitwell.model.engine import Extract

Batches = Iterator[tuple[Tensor, NDArray[np.int64]]]


def run_batches(extract: Extract, batches: Batches, num_inputs: int) -> Tensor:
    """Return what `extract` gives for `num_inputs` inputs, in the order of their indices.

    Args:
        batches: pairs of inputs (B, ...) and indices (B,) in [0, N).

    Returns: (N, ...) float32 on the CPU.
    """
    outputs: Tensor | None = None
    for inputs, indices in batches:
        values = extract(inputs)
        if outputs is None:
            outputs = torch.empty((num_inputs, *values.shape[1:]), dtype=torch.float32)
        outputs[torch.from_numpy(indices)] = values
    if outputs is None:
        raise ValueError("run_batches got no batches; expected at least one.")
    return outputs


def predict_logits(extract: Extract, batches: Batches, num_images: int) -> NDArray[np.float32]:
    """Return the logits (N, C) float32 that `extract` gives for `num_images` images.

    Raises:
        RunError: when a logit is not a finite number.
    """
    logits = run_batches(extract, batches, num_images).numpy()
    broken = np.flatnonzero(~np.isfinite(logits).all(axis=1))
    if len(broken):
        raise RunError(
            found=f"{len(broken)} of {num_images} images got logits that are not finite; first: number {broken[0]}.",
            expected="finite logits for every image.",
            fix="lower the learning rate and train again; the last checkpoint with finite weights is kept.",
        )
    return logits
