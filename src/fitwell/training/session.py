"""Train a run from wherever it stands: from the start, or from its last healthy checkpoint."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fitwell.data.contact_sheet import contact_sheet
from fitwell.data.image_cache import ImageCache
from fitwell.data.loader import ImageSource, load_batches
from fitwell.data.resident import ResidentImages
from fitwell.data.split import read_split, split_hash
from fitwell.errors import CheckpointError, DataError, ResourceError, RunStopped
from fitwell.files import sha256_of_file, write_atomically
from fitwell.model.compute import compute_of
from fitwell.model.fixed_norms import absorb_norms, without_norms
from fitwell.model.freeze import prepare_to_train
from fitwell.model.head import draw_head, set_prior
from fitwell.model.network import count_parameters
from fitwell.model.own_statistics import adapt_statistics
from fitwell.model.saved_weights import load_best, save_best
from fitwell.model.weights import load_network
from fitwell.recipe.phase import Phase
from fitwell.recipe.read import recipe_hash, recipe_of, write_recipe
from fitwell.recipe.resolve import ADAPTING_PICTURES, is_augmented
from fitwell.run_folder import RunFolder
from fitwell.training.averaging import WeightAverage
from fitwell.training.cache_plan import PLANNED_SHARE, CachePlan, freeze, open_store, plan_cache
from fitwell.training.checkpoint import load_checkpoint, save_checkpoint
from fitwell.training.history import forget_after, recording_csv, recording_history, recording_tensorboard
from fitwell.training.loop import PhaseWork, Progress, train_phase
from fitwell.training.machine import watching_machine
from fitwell.training.mixing import mix_examples
from fitwell.training.observer import Extracted, Observer, PhaseEnded, PhaseStarted, StopAsked, notify
from fitwell.training.optimizer import build_optimizer, give_moments, moments_of
from fitwell.training.outcome import recording_outcome
from fitwell.training.phase_data import (
    Frozen,
    PhaseData,
    RunData,
    cached_phase_data,
    feature_phase_data,
    image_phase_data,
)
from fitwell.training.pictures import augmentation_of, preprocessing_of
from fitwell.training.plan import find_extraction, plan_execution
from fitwell.training.progress import recording_log
from fitwell.training.run_images import RunImages
from fitwell.training.search_phase import search_phase
from fitwell.training.signals import StopRequest, stopping_on_signals
from fitwell.training.trial_pictures import trial_pictures

CHECKPOINT_SECONDS = 30.0
log = logging.getLogger(__name__)


def continue_run(
    run: RunFolder, *, observers: Sequence[Observer] = (), checkpoint_seconds: float = CHECKPOINT_SECONDS
) -> None:
    """Train `run` until its last phase ends; its best weights are then in checkpoints/best.safetensors.

    On one machine the final weights are bit-equal however often the run was killed and continued.

    Raises:
        RunLockedError: when another process writes the run.
        RunStopped: on SIGTERM or Ctrl-C, after a checkpoint.
        FitwellError: when training fails; run.json then says why.
    """
    with (
        run.lock(),
        stopping_on_signals() as stop,
        recording_log(run) as log_lines,
        recording_outcome(run),
        ExitStack() as stack,
    ):
        session = _Session(run, checkpoint_seconds)
        session.observers = (
            log_lines,
            stack.enter_context(recording_history(run)),
            recording_csv(run),
            stack.enter_context(recording_tensorboard(run)),
            stack.enter_context(watching_machine(run, session.compute.device)),
            *observers,
            stop,
        )
        for index in range(session.progress.phase, len(session.recipe.phases)):
            reason = session.train_phase(index)
            if reason is None:
                raise _stopped(run, stop)
            notify(session.observers, PhaseEnded(session.recipe.phases[index].name, reason))
        session.finish()


class _Session:
    """The weights, the optimizer and the progress of a run in this process."""

    def __init__(self, run: RunFolder, checkpoint_seconds: float) -> None:
        self.run = run
        self.observers: tuple[Observer, ...] = ()
        self._checkpoint_seconds = checkpoint_seconds
        self._last_checkpoint = time.monotonic()
        self.recipe = recipe_of(run)
        self.classes = tuple(run.read()["data"]["classes"])
        self._images = RunImages(read_split(run.split), self.classes, self.recipe)
        checkpoint = load_checkpoint(run)
        if checkpoint is not None:
            _require_same_run(checkpoint["identity"], self._identity())
        self._store = open_store(self.recipe.limits)
        self.network = load_network(self.recipe, len(self.classes), pretrained=checkpoint is None)
        self._plan()
        self.compute = compute_of(self.recipe)
        self.progress = Progress(**checkpoint["progress"]) if checkpoint is not None else Progress()
        forget_after(run, self.progress.step)
        self._best_weights: dict[str, Tensor] | None = load_best(run) if self.progress.best else None
        self._best_record: dict[str, Any] = {}
        self._best_is_saved = True
        self._moments: dict[str, dict[str, Any]] = {}
        self._average_state: dict[str, Any] | None = None
        self._frozen: Frozen | None = None
        self._resident: ResidentImages | None = None
        if checkpoint is None:
            self._begin_with_prior()
        else:
            self.network.load_state_dict(checkpoint["network"])
            self._moments, self._average_state = checkpoint["moments"], checkpoint["average"]
        self.compute.move_module(self.network)
        self._data = self._run_data()
        if checkpoint is None and self.recipe.model.own_statistics:
            self._adapt_statistics()
        if checkpoint is None and is_augmented(self.recipe.augment):
            self._show_augmentation()

    def train_phase(self, index: int) -> str | None:
        """Train phase `index` from where the progress stands; return why it ended, or None on a stop."""
        phase = self.recipe.phases[index]
        if self.progress.phase != index:
            self._start_phase(index)
        self._cache_plan()  # tries what each phase trains
        prepare_to_train(self.network, phase)
        fixed = absorb_norms(self.network, int(self.recipe.images.size)) if phase.batch_norm == "fixed" else []
        optimizer = build_optimizer(self.network, self.recipe.optimizer)
        give_moments(optimizer, self.network, self._moments)
        average = self._build_average()
        data = self._data.each_once() if phase.learning_rate == "search" else self._data
        steps_per_epoch = len(data.train_order(0))
        self._tell_start(phase, steps_per_epoch)
        batches = self._phase_data(phase, data)
        batches = replace(batches, module=without_norms(batches.module, fixed))
        work = self._work(phase, index, batches, steps_per_epoch, average)

        def checkpoint(now: bool) -> None:
            due = time.monotonic() - self._last_checkpoint >= self._checkpoint_seconds
            if (now or due) and self.progress.is_finite():
                self._remember(optimizer, average)
                self._save()

        try:
            reason = (
                self._search(work)
                if phase.learning_rate == "search"
                else train_phase(work, self.progress, optimizer, observers=self.observers, checkpoint=checkpoint)
            )
        except (StopAsked, DataError, ResourceError) as error:
            checkpoint(True)
            if isinstance(error, StopAsked):
                return None
            raise
        self._remember(optimizer, average=None)
        if reason is not None and self._best_weights is not None:
            self.network.load_state_dict(self._best_weights)
            self.compute.move_module(self.network)
        return reason

    def _tell_start(self, phase: Phase, steps_per_epoch: int) -> None:
        total, trained = count_parameters(self.network)
        trains = f"{trained:,} of {total:,} parameters"
        notify(self.observers, PhaseStarted(phase.name, trains, int(phase.epochs), steps_per_epoch, self.progress.step))

    def _remember(self, optimizer: torch.optim.Optimizer, average: WeightAverage | None) -> None:
        self._moments = moments_of(optimizer, self.network)
        self._average_state = average.state() if average is not None else None

    def _build_average(self) -> WeightAverage | None:
        decay = self.recipe.averaging.ema
        if decay == 0:
            return None
        average = WeightAverage(self.network, decay)
        if self._average_state is not None:
            average.load(self._average_state)
        return average

    def _start_phase(self, index: int) -> None:
        self.progress.start_phase(index)
        if self.recipe.phases[index].head == "fresh":
            torch.manual_seed(self.recipe.seed)
            draw_head(self.network.head, self.recipe.model.head)
            self._begin_with_prior()
        self._forget_moments(index)
        self._save()

    def _forget_moments(self, index: int) -> None:
        """Keep what the optimizer remembers only of weights that phase `index` does not draw or rescale anew."""
        before, phase = self.recipe.phases[max(0, index - 1)], self.recipe.phases[index]
        forgotten = ("head.",) if phase.head == "fresh" else ()
        if (before.batch_norm, phase.batch_norm) == ("updated", "fixed"):
            forgotten = (*forgotten, "backbone.")
        self._moments = {name: state for name, state in self._moments.items() if not name.startswith(forgotten)}

    def _begin_with_prior(self) -> None:
        if self.recipe.model.head.bias == "prior":
            set_prior(self.network.head, torch.from_numpy(self._images.prior_logits()))

    def _show_augmentation(self) -> None:
        join = partial(mix_examples, self.recipe.augment, seed=self.recipe.seed)
        sheet = contact_sheet(self._data.train, join)
        write_atomically(self.run.augmentation, lambda file: sheet.save(file, "jpeg"))

    def _adapt_statistics(self) -> None:
        source = replace(self._data.train, augmentation=None)
        pictures, _ = next(load_batches(source, [self._images.some_of_train(ADAPTING_PICTURES)], epoch=0, workers=0))
        adapt_statistics(self.network, self.compute.move(pictures), float(self.recipe.model.own_statistics))

    def _search(self, work: PhaseWork) -> str:
        weights = torch.from_numpy(self._images.image_weights()).float()
        reason, heads = search_phase(work, self.progress, weights, observers=self.observers)
        self.run.update(heads=heads)
        return reason

    def finish(self) -> None:
        """Write the best weights and close the record."""
        self.progress.start_phase(len(self.recipe.phases))
        self._moments = {}
        self._save()
        self.run.update(
            select={**self.recipe.select.model_dump(), "best": self.progress.best},
            best_sha256=sha256_of_file(self.run.best_weights),
        )

    def _plan(self) -> None:
        """Measure what is still `auto`, once per run: a resumed run must compute as it did before."""
        if "plan" in self.run.read():
            return
        num_train, num_val = (len(self._images.part(split)) for split in ("train", "val"))
        extraction = find_extraction(self.network, self.recipe, num_train, num_val)
        plans = self._store.root / "plans.json"
        pictures = trial_pictures(Path(self.run.read()["data"]["root"]), self._images.images, self.recipe)
        self.recipe, candidates = plan_execution(
            self.network, self.recipe, pictures, num_train=num_train, extraction=extraction, plans=plans
        )
        write_recipe(self.run.recipe, self.recipe)
        self.run.update(plan={"candidates": candidates, "threads": torch.get_num_threads()})

    def _run_data(self) -> RunData:
        root = Path(self.run.read()["data"]["root"])
        preprocessing = preprocessing_of(self.recipe)
        cache = None
        if self.recipe.execution.cache == "auto":  # pictures must not take the room that activations will need
            cache = ImageCache(replace(self._store, cap_bytes=self._store.cap_bytes - self._cache_plan().num_bytes))
        sources = {
            split: ImageSource(
                root=root,
                paths=tuple(self._images.part(split)["path"]),
                preprocessing=preprocessing,
                augmentation=augmentation_of(self.recipe) if split == "train" else None,
                seed=self.recipe.seed,
                sha256s=tuple(self._images.part(split)["sha256"]),
                cache=cache,
            )
            for split in ("train", "val")
        }
        execution = self.recipe.execution
        return RunData(
            sources["train"],
            sources["val"],
            int(execution.batch_size),
            int(execution.workers),
            self.recipe.seed,
            self._images.drawing_shares(),
            self.recipe.limits.steps_per_epoch,
        )

    def _phase_data(self, phase: Phase, data: RunData) -> PhaseData:
        if phase.image_size and phase.sees_smaller(int(self.recipe.images.size)):
            return self._image_data(data.with_train_size(phase.image_size))
        plan = self._cache_plan()
        if plan.views == 0 and phase.learning_rate == "search":
            return feature_phase_data(self.network, data, self.compute)
        if plan.views == 0 or self.network.boundary() == 0:
            return self._image_data(data)

        def on_batch(done: int, total: int) -> None:
            if notify(self.observers, Extracted(self.recipe.phases[self.progress.phase].name, done, total)):
                raise StopAsked

        if self._frozen is None:
            self._frozen = freeze(self.network, self.recipe, plan, self._store, on_batch)
        holds_features = phase.learning_rate == "search" or self.run.read()["memory"]["holds_features"]
        return cached_phase_data(self.network, data, self.compute, self._frozen, holds_features=holds_features)

    def _image_data(self, data: RunData) -> PhaseData:
        execution = self.recipe.execution
        if execution.pictures == "stream":
            return image_phase_data(self.network, data)
        if self._resident is None or self._resident.source != data.train:
            self._resident = None  # the memory first
            self._resident = ResidentImages(data.train, execution.device, threads=int(execution.workers) + 1)
        return image_phase_data(self.network, data, self._resident)

    def _cache_plan(self) -> CachePlan:
        plan: dict[str, Any] = self.run.read()["plan"]
        if "cache" not in plan:
            plan["cache"] = plan_cache(
                self.network,
                self.recipe,
                num_train=len(self._images.part("train")),
                num_val=len(self._images.part("val")),
                room_bytes=int(PLANNED_SHARE * self._store.cap_bytes),
            ).record()
            self.run.update(plan=plan)
        return CachePlan(**plan["cache"])

    def _work(
        self, phase: Phase, index: int, data: PhaseData, steps_per_epoch: int, average: WeightAverage | None
    ) -> PhaseWork:
        return PhaseWork(
            phase=phase,
            recipe=self.recipe,
            network=self.network,
            data=data,
            compute=self.compute,
            classes=self.classes,
            labels=torch.from_numpy(self._images.labels("train")),
            weights=torch.from_numpy(self._images.weights()),
            val_labels=self._images.labels("val"),
            steps_per_epoch=steps_per_epoch,
            first_epoch=sum(int(earlier.epochs) for earlier in self.recipe.phases[:index]),
            keep_best=self._keep_best,
            average=average,
        )

    def _keep_best(self, record: dict[str, Any]) -> None:
        self._best_record = record
        self._best_weights = {name: tensor.detach().cpu().clone() for name, tensor in self.network.state_dict().items()}
        self._best_is_saved = False

    def _save(self) -> None:
        if not self._best_is_saved and self._best_weights is not None:
            save_best(self.run, self._best_weights, self._best_record)
            self._best_is_saved = True
        state = {
            "network": {name: tensor.cpu() for name, tensor in self.network.state_dict().items()},
            "moments": self._moments,
            "average": self._average_state,
            "progress": self.progress.record(),
            "identity": self._identity(),
        }
        save_checkpoint(self.run, self.progress.step, state)
        self.run.update()  # the heartbeat
        self._last_checkpoint = time.monotonic()

    def _identity(self) -> dict[str, str]:
        """Return what must not change between a checkpoint and a resume."""
        return {
            "classes": ", ".join(self.classes),
            "recipe": recipe_hash(self.recipe),
            "split": split_hash(self._images.images),
        }


def _require_same_run(found: dict[str, str], expected: dict[str, str]) -> None:
    differing = [key for key in expected if found.get(key) != expected[key]]
    if differing:
        pairs = "; ".join(f"{key}: checkpoint {found.get(key)}, run folder {expected[key]}" for key in differing)
        raise CheckpointError(
            found=f"the checkpoint belongs to another training ({pairs}).",
            expected="the classes, recipe and split that the run was started with.",
            fix="restore recipe.yaml, split.csv and run.json, or start a new run with fitwell train.",
        )


def _stopped(run: RunFolder, stop: StopRequest) -> RunStopped:
    number = stop.signal_number or 2
    return RunStopped(
        number,
        found=f"signal {number} asked the run to stop; it stands checkpointed in {run.path}.",
        expected="training to go on until its last phase ends.",
        fix=f"continue with: fitwell resume {run.path}",
    )
