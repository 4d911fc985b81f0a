"""The best weights of a run: best.safetensors, written whole and checked when read."""

from __future__ import annotations

from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from fitwell.errors import CheckpointError, ResourceError
from fitwell.files import sha256_of_file, write_bytes
from fitwell.run_folder import RunFolder


def save_best(run: RunFolder, weights: dict[str, Tensor]) -> None:
    """Write `weights` to best.safetensors.

    Raises:
        ResourceError: when the disk is full; the weights before stay.
    """
    try:
        write_bytes(run.best_weights, save({name: tensor.contiguous() for name, tensor in weights.items()}))
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
