"""Checkpoints: atomic, hashed, the newest two kept; the last healthy one is what a resume starts from.

Order of writing: best.safetensors, step-*.pt, its hash, latest.json. A kill between any two leaves a run whose
latest.json names a complete checkpoint.
"""

from __future__ import annotations

import logging
from typing import Any

import torch

from fitwell.errors import CheckpointError, ResourceError
from fitwell.files import sha256_of_file, write_atomically, write_json, write_text
from fitwell.run_folder import RunFolder

KEPT = 2
log = logging.getLogger(__name__)


def save_checkpoint(run: RunFolder, step: int, state: dict[str, Any]) -> None:
    """Write `state` as `step-<step>.pt`, then its hash, then latest.json; older ones but the newest two go.

    Raises:
        ResourceError: when the disk is full; what was there before stays.
    """
    path = run.checkpoints / f"step-{step:08d}.pt"
    try:
        write_atomically(path, lambda file: torch.save(state, file))
        digest = sha256_of_file(path)
        write_text(path.with_suffix(".sha256"), f"{digest}  {path.name}\n")
        write_json(
            run.latest_checkpoint,
            {"name": path.name, "step": step, "sha256": digest, "bytes": path.stat().st_size},
        )
    except (OSError, RuntimeError) as error:  # torch.save reports a full disk as RuntimeError
        raise ResourceError(
            found=f"the checkpoint of step {step} could not be written to {run.checkpoints}: {error}.",
            expected="room on the disk and the right to write there.",
            fix=f"free some space, then run: fitwell resume {run.path}. The checkpoint before it is kept.",
        ) from error
    for old in sorted(run.checkpoints.glob("step-*.pt"))[:-KEPT]:
        old.with_suffix(".sha256").unlink(missing_ok=True)
        old.unlink()


def load_checkpoint(run: RunFolder) -> dict[str, Any] | None:
    """Return the state of the newest healthy checkpoint, or None when the run has none yet.

    A checkpoint whose bytes do not match their hash is passed over with a warning that says why.

    Raises:
        CheckpointError: when there are checkpoints and every one is damaged.
    """
    paths = sorted(run.checkpoints.glob("step-*.pt"), reverse=True)
    reasons = []
    for path in paths:
        reason = _damage(run, path.name)
        if reason is None:
            state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
            return state
        reasons.append(f"{path.name} {reason}")
        log.warning("Checkpoint %s %s; going back to the one before it.", path.name, reason)
    if not paths or not run.latest_checkpoint.exists():
        return None  # a first checkpoint that was cut short before latest.json named it
    raise CheckpointError(
        found=f"no healthy checkpoint in {run.checkpoints}: {'; '.join(reasons)}.",
        expected="a checkpoint whose bytes match their SHA-256.",
        fix="restore the folder from a copy, or train again; best.safetensors may still be whole.",
    )


def _damage(run: RunFolder, name: str) -> str | None:
    """Return what is wrong with the checkpoint `name`, or None."""
    path = run.checkpoints / name
    hash_file = path.with_suffix(".sha256")
    if not hash_file.exists():
        return "has no hash beside it"
    if sha256_of_file(path) != hash_file.read_text(encoding="utf-8").split()[0]:
        return "does not match its SHA-256"
    return None
