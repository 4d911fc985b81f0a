"""THE training loop, whole, in the order the story happens.

It is the same for images and for cached activations: a phase hands it batches and a module. It knows no history,
no progress, no doctor; those observe.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fitwell.errors import ResourceError, RunError
from fitwell.evaluation.analysis.noise import area_error
from fitwell.evaluation.epoch_metrics import class_records, epoch_metrics
from fitwell.evaluation.metrics import higher_is_better
from fitwell.evaluation.predict import Batches, predict_logits
from fitwell.model.compute import Compute
from fitwell.model.engine import in_torch
from fitwell.model.head import weight_penalty
from fitwell.model.network import Network
from fitwell.recipe.phase import Phase
from fitwell.recipe.schema import Recipe
from fitwell.training.averaging import WeightAverage
from fitwell.training.loss import Targets, batch_loss, count_right, targets_of
from fitwell.training.mixing import draw_mix
from fitwell.training.observer import EpochDone, Observer, StepDone, StopAsked, Validated, notify
from fitwell.training.optimizer import clip_gradients, largest_rates, set_learning_rate, trained_parameters
from fitwell.training.phase_data import PhaseData
from fitwell.training.schedule import schedule_of

log = logging.getLogger(__name__)
FINITE_CHECK_STEPS = 50  # reading the loss makes an accelerator wait, so not every step


@dataclass
class Progress:
    """How far the run is: everything besides weights and optimizer that a resume needs."""

    phase: int = 0
    epoch: int = 0  # of the phase, counted from 0
    batch: int = 0  # batches of this epoch already trained on
    step: int = 0  # optimizer steps of the whole run
    num_seen: int = 0  # images of this epoch so far
    loss_sum: Tensor = field(default_factory=lambda: torch.zeros(()))  # over them; on the device, so nobody waits
    num_correct: Tensor = field(default_factory=lambda: torch.zeros((), dtype=torch.int64))
    plateau_scale: float = 1.0
    plateau_wait: int = 0  # epochs since the phase's best or the last reduction
    phase_best: float | None = None
    waited: int = 0  # epochs since the phase's best
    micro_batch: int | None = None  # images at once, once memory ran out for more
    best: dict[str, Any] = field(default_factory=dict)  # kept of the whole run: phase, epoch, step, value
    highest_auc: float | None = None  # of the whole run; that of the kept epoch may lie within its noise
    kept_balanced_accuracy: float | None = None

    def start_phase(self, phase: int) -> None:
        """Forget what belongs to the phase before."""
        lasting = ("step", "micro_batch", "best", "highest_auc", "kept_balanced_accuracy")
        fresh = Progress(phase=phase, **{name: getattr(self, name) for name in lasting})
        self.__dict__.update(fresh.__dict__)

    def start_epoch(self, epoch: int) -> None:
        """Forget what belongs to the epoch before."""
        self.epoch, self.batch, self.num_seen = epoch, 0, 0
        self.loss_sum, self.num_correct = torch.zeros_like(self.loss_sum), torch.zeros_like(self.num_correct)

    def move(self, device: str) -> None:
        """Put the sums where the losses are computed."""
        self.loss_sum, self.num_correct = self.loss_sum.to(device), self.num_correct.to(device)

    def record(self) -> dict[str, Any]:
        """Return values for a checkpoint, on the CPU."""
        values = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return {name: value.cpu() if isinstance(value, Tensor) else value for name, value in values.items()}

    def is_finite(self) -> bool:
        """Return whether the loss has been finite since the epoch began. Waits for the device."""
        return math.isfinite(float(self.loss_sum))


@dataclass(frozen=True, kw_only=True)
class PhaseWork:
    """All that stays the same while a phase trains.

    Args:
        labels: (N,) int64 of the training images, or (N, C) bool of several classes an image. weights: float32 of the
            same shape, class times image weight, mean 1.
        val_labels: (M,) int64, or (M, C) bool.
        first_epoch: epochs that the phases before this one could take; it keeps their shuffles apart.
        keep_best: called with the record of an epoch that reached the run's best val number.
        average: of the weights, judged and kept in their place; None where the weights themselves are.
    """

    phase: Phase
    recipe: Recipe
    network: Network
    data: PhaseData
    compute: Compute
    classes: tuple[str, ...]
    labels: Tensor
    weights: Tensor
    val_labels: NDArray[Any]
    steps_per_epoch: int
    first_epoch: int
    keep_best: Callable[[dict[str, Any]], None]
    average: WeightAverage | None = None


def train_phase(
    work: PhaseWork,
    progress: Progress,
    optimizer: torch.optim.Optimizer,
    *,
    observers: Sequence[Observer],
    checkpoint: Callable[[bool], None],
) -> str | None:
    """Train one phase from where `progress` stands; leave the last weights in the network.

    Args:
        checkpoint: called after every step and epoch; with True it must write, with False only when it is time.

    Returns: why the phase ended, as a sentence; None when an observer asked to stop (the run is checkpointed).

    Raises:
        RunError: when the loss is not finite; says between which steps it broke.
        StopAsked: when an observer asked to stop in the middle of a pass over images.
    """
    phase, settings, device, last_finite_step = work.phase, work.recipe, work.compute.device, progress.step
    schedule, trained = schedule_of(phase, work.steps_per_epoch), trained_parameters(optimizer)
    progress.move(device)
    for epoch in range(progress.epoch, int(phase.epochs)):
        work.network.train()
        started, seen_before = time.monotonic(), progress.num_seen
        for inputs, indices in work.data.train_batches(work.first_epoch + epoch, progress.batch):
            step_of_phase = epoch * work.steps_per_epoch + progress.batch
            planned = schedule.learning_rate(step_of_phase, progress.plateau_scale)
            learning_rate = set_learning_rate(optimizer, planned, phase.head_factor)
            images = torch.from_numpy(indices)
            labels, weights = work.labels[images].to(device), work.weights[images].to(device)
            moved = work.compute.move(inputs)
            mix = draw_mix(settings.augment, moved, seed=settings.seed, step=progress.step)
            for parameter in trained:
                parameter.grad = None  # as optimizer.zero_grad, in a fifth of its time
            targets = targets_of(labels, weights, mix)
            loss, num_correct = _backward(work, progress, mix.blend(moved) if mix else moved, targets)
            gradient_norm = clip_gradients(trained, settings.optimizer)
            optimizer.step()
            if work.average is not None:
                work.average.update()

            progress.batch, progress.step = progress.batch + 1, progress.step + 1
            progress.num_seen += len(indices)
            progress.loss_sum += loss * len(indices)
            progress.num_correct += num_correct
            if progress.step % FINITE_CHECK_STEPS == 0 or progress.batch == work.steps_per_epoch:
                _require_finite(progress, last_finite_step, phase, learning_rate)
                last_finite_step = progress.step
            done = StepDone(phase.name, epoch + 1, progress.step, loss, learning_rate, gradient_norm)
            if notify(observers, done):
                _require_finite(progress, last_finite_step, phase, learning_rate)
                checkpoint(True)
                return None
            checkpoint(False)

        trained_seconds = time.monotonic() - started
        with work.average.in_place() if work.average is not None else nullcontext():
            record = _validate(work, progress, optimizer, observers)
            if record["best"]:
                work.keep_best(record)
        record["seconds"] = {"train": trained_seconds, "val": time.monotonic() - started - trained_seconds}
        record["images_per_second"] = (progress.num_seen - seen_before) / trained_seconds
        stop = notify(observers, EpochDone(record))
        progress.start_epoch(epoch + 1)
        patience_ended = phase.patience is not None and progress.waited >= phase.patience
        if patience_ended:
            progress.epoch = int(phase.epochs)
        checkpoint(stop)
        if stop:
            return None
        if patience_ended:
            return (
                f"stopped after epoch {epoch + 1}: no better val {settings.select.metric} for {phase.patience} epochs"
            )
    return f"finished its {phase.epochs} epochs"


def _backward(work: PhaseWork, progress: Progress, inputs: Tensor, targets: Targets) -> tuple[Tensor, Tensor]:
    """Give every trained parameter its gradient; return the loss of the batch and how many images are right.

    Where an accelerator's memory is too small for the batch, parts of it go through the network one by one, and their
    gradients add up to the same. Such a part is halved until it fits, and stays so small for the rest of the run.

    Args:
        inputs: (B, ...), on the device. targets: of the same images.

    Raises:
        ResourceError: when memory is too small for a single image.
    """
    while True:
        size = progress.micro_batch or work.recipe.execution.micro_batch or len(inputs)
        try:
            return _backward_in_parts(work, progress.step, inputs, targets, size)
        except torch.OutOfMemoryError as error:
            if size == 1:
                raise _no_room(work.compute.device) from error
            progress.micro_batch = min(size, len(inputs)) // 2
            told = (size, progress.micro_batch, len(inputs))
        log.warning("Memory ran out for %d images at once: %d go at once from now on, in batches of %d.", *told)
        work.network.zero_grad(set_to_none=True)
        torch.cuda.empty_cache()


def _backward_in_parts(
    work: PhaseWork, step: int, inputs: Tensor, targets: Targets, size: int
) -> tuple[Tensor, Tensor]:
    _seed_dropout(work.recipe.seed * 1_000_003 + step, work.compute.device)
    losses: list[Tensor] = []
    num_correct: list[Tensor] = []
    penalty = work.recipe.model.head.l2
    for part_inputs, part in _in_parts(inputs, targets, size):
        with work.compute.autocast():
            logits = work.data.module(part_inputs)
        loss = batch_loss(logits, part, work.recipe.loss, len(inputs))
        if penalty and not losses:
            loss = loss + weight_penalty(work.network.head, penalty)
        loss.backward()  # type: ignore[no-untyped-call]
        losses.append(loss.detach())
        num_correct.append(count_right(logits, part.labels))
    return sum(losses[1:], losses[0]), sum(num_correct[1:], num_correct[0])


def _in_parts(inputs: Tensor, targets: Targets, size: int) -> Iterator[tuple[Tensor, Targets]]:
    if len(inputs) <= size:
        yield inputs, targets
        return
    starts = list(range(0, len(inputs), size))
    if size > 1 and len(inputs) - starts[-1] == 1:
        starts.pop()  # BatchNorm cannot train on one image: a lone last one joins the part before it
    for start, end in zip(starts, [*starts[1:], len(inputs)], strict=True):
        yield inputs[start:end], targets.part(start, end)


def _seed_dropout(seed: int, device: str) -> None:
    """Make dropout a function of seed and step, so that a resume needs no random state.

    `torch.manual_seed` would do, but keeps a stack trace for every call while an accelerator sits unused.
    """
    torch.default_generator.manual_seed(seed)
    if device.startswith("cuda"):
        torch.cuda.manual_seed(seed)
    elif device == "mps":
        torch.mps.manual_seed(seed)


def _validate(
    work: PhaseWork, progress: Progress, optimizer: torch.optim.Optimizer, observers: Sequence[Observer]
) -> dict[str, Any]:
    """Judge the epoch and return its record, with val numbers from the same code as the final verdict."""
    num_val, done = len(work.val_labels), 0

    def watched() -> Batches:
        nonlocal done
        for inputs, indices in work.data.val_batches():
            yield inputs, indices
            done += len(indices)
            if notify(observers, Validated(work.phase.name, done, num_val)):
                raise StopAsked

    work.network.eval()
    logits = predict_logits(in_torch(work.data.module, work.compute), watched(), num_val)
    val = epoch_metrics(logits, work.val_labels, ordered=bool(work.recipe.target.order))
    return {
        "kind": "epoch",
        "phase": work.phase.name,
        "epoch": progress.epoch + 1,
        "step": progress.step,
        "train": {
            "loss": float(progress.loss_sum) / progress.num_seen,
            "exact_match" if work.labels.ndim == 2 else "accuracy": int(progress.num_correct) / progress.num_seen,
        },
        "val": val,
        "best": judge_epoch(val, work, progress),
        **class_records(logits, work.val_labels, work.classes),
        "learning_rate": largest_rates(optimizer),
    }


def judge_epoch(val: dict[str, float | None], work: PhaseWork, progress: Progress) -> bool:
    """Update patience, plateau and best with the val numbers; return whether the epoch is the one to keep so far.

    NaN is never best.
    """
    value = val[work.recipe.select.metric]
    sign = 1.0 if higher_is_better(work.recipe.select.metric) else -1.0
    better = value is not None and (progress.phase_best is None or sign * value > sign * progress.phase_best)
    if better:
        progress.phase_best, progress.waited, progress.plateau_wait = value, 0, 0
    else:
        progress.waited, progress.plateau_wait = progress.waited + 1, progress.plateau_wait + 1
    if work.phase.schedule == "plateau" and progress.plateau_wait >= work.phase.plateau_patience:
        progress.plateau_scale, progress.plateau_wait = progress.plateau_scale * work.phase.plateau_factor, 0
    if work.recipe.select.keep == "best" and not _is_best(val, work, progress):
        return False
    where = {"phase": work.phase.name, "epoch": progress.epoch + 1, "step": progress.step}
    progress.best = {**where, "value": value, "metric": work.recipe.select.metric}
    progress.kept_balanced_accuracy = val.get("balanced_accuracy")
    return True


def _is_best(val: dict[str, float | None], work: PhaseWork, progress: Progress) -> bool:
    """Return whether no epoch so far is as good.

    AUC does not see where scores lie: an epoch that names one class for nearly all images can have the highest, by
    luck. So of two classes' epochs within one standard error of the highest AUC, balanced accuracy tells the best.

    Source: the one-standard-error rule, Breiman, Friedman, Olshen & Stone 1984, section 3.4.3.
    """
    metric = work.recipe.select.metric
    value, best = val[metric], cast(float | None, progress.best.get("value"))
    if value is None or best is None or metric != "auc" or work.val_labels.ndim == 2 or len(work.classes) != 2:
        sign = 1.0 if higher_is_better(metric) else -1.0
        return value is not None and (best is None or sign * value > sign * best)
    highest = progress.highest_auc = max(value, best, progress.highest_auc or 0.0)
    negative, positive = np.bincount(work.val_labels, minlength=2).tolist()
    least = highest - (area_error(highest, positive, negative) or 0.0)
    if value < least or best < least:
        return value >= least
    return (val["balanced_accuracy"] or 0.0) > (progress.kept_balanced_accuracy or 0.0)


def _no_room(device: str) -> ResourceError:
    return ResourceError(
        found=f"the memory of {device} is too small for one image through the network and back.",
        expected="room for one image at least.",
        fix="lower images.size, train fewer layers, or choose a smaller backbone.",
    )


def _require_finite(progress: Progress, last_finite_step: int, phase: Phase, learning_rate: dict[str, float]) -> None:
    if progress.is_finite():
        return
    rates = {"learning_rate": phase.learning_rate, "head_learning_rate": phase.head_learning_rate}
    lower = [f"--phases.{phase.name}.{key} {float(rate) / 10:g}" for key, rate in rates.items() if rate]
    raise RunError(
        found=f"the training loss became {float(progress.loss_sum)} somewhere within steps "
        f"[{last_finite_step}, {progress.step}] of phase {phase.name}, "
        f"at learning rate {max(learning_rate.values()):g}.",
        expected="a finite loss.",
        fix=f"lower the rate tenfold: {' '.join(lower)}. "
        "The last checkpoint and the best weights before these steps are kept.",
    )
