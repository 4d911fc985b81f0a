"""From images and a recipe to a run folder that is ready to train: split drawn, every `auto` of the recipe resolved."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from fitwell.data.check.inspection import Look, inspect_dataset, look_at
from fitwell.data.finding import MOST_EXAMPLES, Finding, refuse_errors
from fitwell.data.index import Dataset
from fitwell.data.loader import epoch_batches
from fitwell.data.split import data_fingerprint, split_hash, write_split
from fitwell.errors import RecipeError
from fitwell.evaluation.evaluate import groups_of
from fitwell.files import appending
from fitwell.model.freeze import num_stages_of, prepare_to_train
from fitwell.model.network import Network, input_size_of, learns_statistics, require_image_size
from fitwell.model.own_statistics import num_norms_of, require_norms
from fitwell.model.weights import load_network
from fitwell.recipe.phase import Phase
from fitwell.recipe.read import write_recipe
from fitwell.recipe.resolve import BackboneFacts, DataFacts, plan_crop, plan_labelling, plan_split, resolve_recipe
from fitwell.recipe.schema import Recipe
from fitwell.run_folder import RunFolder, create_run_folder, describe_environment, now
from fitwell.training.memory import MemoryPlan, plan_memory
from fitwell.training.pictures import preprocessing_of
from fitwell.training.run_images import RunImages

SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class PreparedRun:
    """A run before it has a folder: what `--dry-run` shows.

    Args:
        images: the usable rows of the dataset with splits and hashes.
        classes: every class of `images` once, as `target.order` or `target.columns` has them, else sorted,
            `judge.positive` last.
        recipe: resolved, but for what is measured on the machine.
        class_weights: of each class in the loss.
        memory: what the run is expected to take.
        findings: about the images.
    """

    dataset: Dataset
    images: pd.DataFrame
    classes: tuple[str, ...]
    recipe: Recipe
    class_weights: dict[str, float]
    memory: MemoryPlan
    findings: tuple[Finding, ...]

    def counts(self) -> dict[str, dict[str, int]]:
        """Return the number of images per class in every split."""
        labels = {split: self.images["label"][self.images["split"] == split] for split in SPLITS}
        return {split: self.dataset.labelling.count(labels[split], self.classes) for split in SPLITS}

    def num_images(self, split: str) -> int:
        """Return the number of images in `split`."""
        return int((self.images["split"] == split).sum())

    def steps_per_epoch(self) -> int:
        """Return the optimizer steps of an epoch."""
        batches = epoch_batches(self.num_images("train"), int(self.recipe.execution.batch_size), seed=0, epoch=0)
        return len(batches[: self.recipe.limits.steps_per_epoch])


def prepare_run(
    dataset: Dataset, recipe: Recipe, *, stop_at_errors: bool = True, look: Look | None = None
) -> PreparedRun:
    """Check the images, draw the split, and resolve the recipe; write nothing.

    Args:
        stop_at_errors: refuse images with errors; else what is unusable is left out and the rest is used.
        look: what opening the images showed, when they were opened before.

    Raises:
        DataError: when the images have errors, or cannot be divided.
        RecipeError: when the backbone does not exist, or cannot be frozen or fed as asked.
        ResourceError: when the run would take more memory than `limits.memory`.
    """
    if dataset.labelling != plan_labelling(recipe):
        raise ValueError(f"the images were read as {dataset.labelling}; expected what the recipe's target says.")
    inspection = inspect_dataset(dataset, look or look_at(dataset), plan_crop(recipe), plan_split(recipe))
    if stop_at_errors:
        refuse_errors(inspection.findings, dataset.source)
    if inspection.undivided is not None:
        raise inspection.undivided
    images, classes = inspection.images, _in_order(inspection.classes, recipe)
    train, val = (images[images["split"] == split] for split in ("train", "val"))
    resolved = resolve_for(train, recipe, val)
    weights = RunImages(images, classes, resolved).class_weights()
    network = load_network(resolved, len(classes), pretrained=False)
    if resolved.model.own_statistics:
        require_norms(network)
    for phase in resolved.phases:  # to be told of a freeze level that does not fit before anything is written
        prepare_to_train(network, phase)
        _require_images_together(network, resolved, phase)
    _require_image_sizes(network, resolved)
    sizes = {f"num_{split}": int((images["split"] == split).sum()) for split in ("train", "val")}
    memory = plan_memory(network, resolved, **sizes)
    return PreparedRun(dataset, images, classes, resolved, weights, memory, inspection.findings)


def _in_order(classes: tuple[str, ...], recipe: Recipe) -> tuple[str, ...]:
    order = recipe.target.order
    if order and set(order) != set(classes):
        raise RecipeError(
            found=f"target.order names {', '.join(order)}; the images have the classes {', '.join(classes)}.",
            expected="every class of the images once, from the least to the most.",
            fix=f"write for example --target.order '[{', '.join(classes)}]', in the right order.",
        )
    return _positive_last(order or classes, recipe)


def _positive_last(classes: tuple[str, ...], recipe: Recipe) -> tuple[str, ...]:
    """Return two classes with the one that is looked for at the end, where everything that is binary expects it."""
    positive = recipe.judge.positive
    if positive is None:
        return classes
    if len(classes) != 2 or positive not in classes or (recipe.target.order and positive != classes[1]):
        raise RecipeError(
            found=f"judge.positive is {positive}; the classes are {', '.join(classes)}.",
            expected="one of two classes, and the last one where target.order orders them.",
            fix="leave judge.positive out, or name one of two classes.",
        )
    return tuple(sorted(classes, key=lambda name: name == positive))


def _require_images_together(network: Network, recipe: Recipe, phase: Phase) -> None:
    """Raise when single images reach a BatchNorm that learns: it has no statistics of one."""
    together = {"batch_size": recipe.execution.batch_size, "micro_batch": recipe.execution.micro_batch}
    single = [key for key, number in together.items() if number == 1]
    if single and phase.learning_rate != "search" and learns_statistics(network):
        raise RecipeError(
            found=f"execution.{single[0]} is 1, and phase {phase.name} trains BatchNorm, which needs more at once.",
            expected="at least 2 images at once, or BatchNorm with fixed statistics.",
            fix=f"raise execution.{single[0]}, or set phases.{phase.name}.batch_norm to fixed.",
        )


def _require_image_sizes(network: Network, recipe: Recipe) -> None:
    largest = int(recipe.images.size)
    require_image_size(network, largest, "images.size")
    for phase in recipe.phases:
        key, size = f"phases.{phase.name}.image_size", phase.image_size or largest
        if size > largest:
            raise RecipeError(
                found=f"{key} is {size}, and images.size is {largest}.",
                expected="training pictures at most as large as those that evaluation sees.",
                fix=f"lower {key}, or raise images.size to {size}.",
            )
        if size < largest:
            require_image_size(network, size, key)


def resolve_for(train: pd.DataFrame, recipe: Recipe, val: pd.DataFrame | None = None) -> Recipe:
    """Return the recipe with every `auto` that the images decide replaced; `val` where it will choose epochs."""
    labelling = plan_labelling(recipe)
    counts = labelling.count(train["label"], labelling.classes(train["label"]))
    groups = groups_of(val) if val is not None else None
    data = DataFacts(len(train), counts, num_val_groups=None if groups is None else len(set(groups)))
    return resolve_recipe(recipe, data, BackboneFacts(input_size_of, num_stages_of, num_norms_of))


def create_run(prepared: PreparedRun, runs_dir: Path, name: str) -> RunFolder:
    """Give `prepared` a folder under `runs_dir`."""
    run = create_run_folder(runs_dir, name)
    write_split(run.split, prepared.images)
    write_recipe(run.recipe, prepared.recipe)
    run.update(
        id=run.id,
        name=name,
        state="created",
        created=now(),
        exit=None,
        **describe_environment(),
        data=_describe_data(prepared),
        preprocessing=asdict(preprocessing_of(prepared.recipe)),
        class_weights=prepared.class_weights,
        memory=prepared.memory.record(),
        split={"hash": split_hash(prepared.images), "counts": prepared.counts()},
        test_openings=[],
    )
    with appending(run.findings) as append:
        for finding in prepared.findings:
            append({"time": now(), "stage": "data", **finding.as_record(MOST_EXAMPLES)})
    return run


def _describe_data(prepared: PreparedRun) -> dict[str, Any]:
    dataset, images = prepared.dataset, prepared.images
    return {
        "source": dataset.source,
        "root": str(dataset.root.resolve()),
        "target": prepared.recipe.target.kind,
        "classes": list(prepared.classes),
        "num_images": len(images),
        "class_counts": dataset.labelling.count(images["label"], prepared.classes),
        "num_groups": int(images["group"].nunique()) if "group" in images else None,
        "fingerprint": data_fingerprint(images),
    }
