"""The best weights of a run: best.safetensors, written whole and checked when read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from fitwell.errors import CheckpointError, ResourceError
from fitwell.files import sha256_of_file, to_json, write_bytes
from fitwell.run_folder import RunFolder

TOLD = ("phase", "epoch", "step", "val", "val_per_class", "val_average_precision")  # as far as the record has them


def save_best(run: RunFolder, weights: dict[str, Tensor], record: Mapping[str, Any]) -> None:
    """Write `weights` to best.safetensors, and in its metadata which epoch they are of and how val judged it.

    Equal weights and records give equal bytes: the metadata is one entry, `best_epoch`, because safetensors writes
    several in any order.

    Args:
        record: of the epoch, as history.jsonl has it; the entry is JSON of the names in `TOLD`.

    Raises:
        ResourceError: when the disk is full; the weights before stay.
    """
    tensors = {name: tensor.contiguous() for name, tensor in weights.items()}
    told = to_json({name: record[name] for name in TOLD if name in record})
    try:
        write_bytes(run.best_weights, save(tensors, {"best_epoch": told}))
    except OSError as error:
        raise ResourceError(
            found=f"{run.best_weights} could not be written: {error}.",
            expected="room on the disk and the right to write there.",
            fix=f"free some space, then run: fitwell resume {run.path}",
        ) from error


def load_best(run: RunFolder, sha256: str | None = None) -> dict[str, Tensor]:
    """Return the weights in best.safetensors.

    Args:
        sha256: what run.json says of the file, once the run is finished.

    Raises:
        CheckpointError: when the file is missing, damaged, or not the one that the run finished with.
    """
    try:
        if sha256 is not None and sha256_of_file(run.best_weights) != sha256:
            raise SafetensorError("its bytes do not match the SHA-256 in run.json")
        return load_file(run.best_weights)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(
            found=f"{run.best_weights} cannot be used: {error}.",
            expected="the best weights of the run, unchanged since it wrote them.",
            fix=f"restore the file from a copy, or train on with: fitwell resume {run.path}",
        ) from error
