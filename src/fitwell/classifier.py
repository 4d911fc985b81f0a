"""The main job in Python: the only place where training, evaluation and prediction are joined.

The command line calls the same functions, so the two cannot disagree.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from fitwell.errors import DataError, UsageError
from fitwell.run_folder import RunFolder, open_run_folder

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from fitwell.data.check.inspection import Inspection, Look
    from fitwell.data.index import Dataset
    from fitwell.evaluation.trained import Trained
    from fitwell.recipe.schema import Recipe
    from fitwell.training.observer import Observer
    from fitwell.training.prepare import PreparedRun


class Classifier:
    """A classifier that is trained by a recipe and leaves a run folder behind.

    Args:
        recipe: name of a built-in recipe, or path of a YAML file.
        runs_dir: where runs are kept.
        settings: single settings by dotted key, such as {"optimizer.weight_decay": 0.1}.

    Example:
        >>> classifier = Classifier(recipe="two-phase").fit("flowers/")  # doctest: +SKIP
        >>> classifier.predict(["new.jpg"])  # doctest: +SKIP
        ['rose']
    """

    def __init__(
        self,
        recipe: str | os.PathLike[str] = "auto",
        *,
        runs_dir: str | os.PathLike[str] = "runs",
        settings: Mapping[str, object] | None = None,
    ) -> None:
        self._recipe = str(recipe)
        self._runs_dir = Path(runs_dir)
        self._settings = dict(settings or {})
        self._run: RunFolder | None = None
        self._trained: Trained | None = None

    @property
    def run(self) -> RunFolder:
        """The run folder.

        Raises:
            UsageError: before `fit`.
        """
        if self._run is None:
            raise UsageError(
                found="a classifier that has not been fitted.",
                expected="a call of fit, or a run loaded with fitwell.load(run).",
                fix='call classifier.fit("folder") first.',
            )
        return self._run

    @property
    def classes(self) -> list[str]:
        """The class names, in the order of the columns of `predict_proba`."""
        return list(self.run.read()["data"]["classes"])

    def fit(
        self,
        data: str | os.PathLike[str],
        *,
        image_root: str | os.PathLike[str] | None = None,
        group_by: str | None = None,
        on_data_error: str = "stop",
    ) -> Self:
        """Check the images in `data`, a folder of class folders or a table; train; judge on val and, once, on test.

        Args:
            image_root: folder that a table's paths are relative to; by default the table's own.
            group_by: what belongs together: "order:60" for blocks of 60 images in file order, or a column's name.
            on_data_error: "stop", or "warn" to leave out what cannot be used.
        """
        recipe = read_settings(self._recipe, self._settings)
        root = Path(image_root) if image_root is not None else None
        dataset = read_dataset(Path(data), root, group_by, recipe=recipe)
        prepared = prepare(dataset, recipe, on_data_error)
        self._run, self._trained = start(prepared, self._runs_dir, Path(data).stem), None
        train(self._run)
        return self

    def evaluate(self, split: str = "test", *, corruptions: bool = False) -> dict[str, Any]:
        """Return the metrics, with intervals, of the run on its "val" or "test" images, also under `corruptions`."""
        return evaluate(self.run, split, corruptions=corruptions)

    def predict_proba(self, images: Sequence[str | os.PathLike[str]]) -> NDArray[np.float64]:
        """Return class probabilities (N, C) for image files; rows sum to 1, unless an image shows several classes."""
        from fitwell.evaluation.metrics import softmax
        from fitwell.evaluation.multi_label import sigmoid
        from fitwell.evaluation.trained import load_trained

        self._trained = self._trained or load_trained(self.run)
        paths = [Path(image).resolve() for image in images]
        logits = self._trained.logits(Path("/"), [str(path.relative_to("/")) for path in paths])
        return sigmoid(logits) if self._trained.several else softmax(logits)

    def predict(self, images: Sequence[str | os.PathLike[str]]) -> list[str] | list[list[str]]:
        """Return the most probable class of every image file; of several classes an image, a list of them for each."""
        return self.decide(self.predict_proba(images))

    def decide(self, probs: NDArray[np.float64]) -> list[str] | list[list[str]]:
        """Return what `predict` answers for probabilities (N, C), as `predict_proba` gives them."""
        from fitwell.evaluation.evaluate_label_sets import name_classes, read_thresholds
        from fitwell.recipe.read import recipe_of

        classes = self.classes
        if not recipe_of(self.run).target.is_multi_label:
            return [classes[index] for index in probs.argmax(axis=1)]
        thresholds = read_thresholds(self.run)["values"]
        return name_classes(probs >= [thresholds[name] for name in classes], tuple(classes))


def load(run: str | os.PathLike[str]) -> Classifier:
    """Return the classifier of a run folder.

    Raises:
        RunError: when `run` is not a run folder.
    """
    classifier = Classifier()
    classifier._run = open_run_folder(Path(run))
    return classifier


def ensemble(
    runs: Sequence[str | os.PathLike[str]], *, runs_dir: str | os.PathLike[str] = "runs", name: str = "ensemble"
) -> Classifier:
    """Return the classifier of finished `runs` that answer together, by the mean of their calibrated probabilities.

    It has a run folder of its own under `runs_dir`, is judged on val and, once, on test, and names its members: they
    must stay where they are.

    Raises:
        FitwellError: when the runs cannot answer together; see `evaluation.ensemble.create_ensemble`.
    """
    from fitwell.evaluation.ensemble import create_ensemble

    run = create_ensemble([open_run_folder(Path(each)) for each in runs], Path(runs_dir), name)
    for split in ("val", "test"):
        evaluate(run, split)
    return load(run.path)


def read_settings(recipe: str, settings: Mapping[str, object]) -> Recipe:
    """Return the recipe with the project file, the environment and `settings` laid over it."""
    from fitwell.recipe.read import read_recipe

    return read_recipe(recipe, settings, environment=os.environ, folder=Path.cwd())[0]


def read_dataset(
    data: Path, image_root: Path | None = None, group_by: str | None = None, *, recipe: Recipe | None = None
) -> Dataset:
    """Return the images of a folder or a table, grouped by a rule of `data.check.group_images` if one is given.

    Args:
        recipe: whose target says how many classes an image may show; by default one.
    """
    from fitwell.data.index import index_dataset
    from fitwell.data.labels import ONE_EACH
    from fitwell.recipe.resolve import plan_labelling

    dataset = index_dataset(data, image_root, ONE_EACH if recipe is None else plan_labelling(recipe))
    if group_by is None:
        return dataset
    from fitwell.data.check.inspection import group_images

    return group_images(dataset, group_by)


def inspect(dataset: Dataset, recipe: Recipe, *, flips: bool = False, labels: bool = False) -> Inspection:
    """Report what is wrong with the images; change nothing.

    Args:
        recipe: whose crop and split are planned.
        flips: whether mirrored copies count as duplicates.
        labels: whether to look for wrong labels with the recipe's frozen backbone.
    """
    from fitwell.data.check.inspection import inspect_dataset, look_at
    from fitwell.recipe.resolve import plan_crop, plan_split

    if labels and dataset.labelling.several:
        raise UsageError(
            found="labels are to be checked, and target.kind is multi_label.",
            expected="images of one class each: what the others contradict is looked for among such.",
            fix="leave out --labels.",
        )
    look = look_at(dataset, flips=flips)
    inspection = inspect_dataset(dataset, look, plan_crop(recipe), plan_split(recipe))
    return _suspect_labels(inspection, recipe) if labels and len(inspection.classes) > 1 else inspection


def _suspect_labels(inspection: Inspection, recipe: Recipe) -> Inspection:
    from fitwell.data.check.suspect_labels import find_suspect_labels
    from fitwell.training.features import frozen_features

    images = inspection.images
    features = frozen_features(inspection.root, images, recipe)
    # Folded by duplicates only: relatives of an image are the best witnesses, but its copies have the same label.
    labels, paths = images["label"].to_numpy(), list(images["path"])
    return inspection.adding(find_suspect_labels(features, labels, paths, inspection.clusters))


def prepare(dataset: Dataset, recipe: Recipe, on_data_error: str = "stop", *, look: Look | None = None) -> PreparedRun:
    """Check the images, draw the split and resolve the recipe; write nothing.

    Args:
        on_data_error: "stop", or "warn" to leave out what cannot be used.
        look: what opening the images showed, when they were opened before.
    """
    from fitwell.training.prepare import prepare_run

    return prepare_run(dataset, recipe, stop_at_errors=stops_at_errors(on_data_error), look=look)


def stops_at_errors(on_data_error: str) -> bool:
    """Return whether errors in the images stop everything.

    Raises:
        UsageError: when the answer is neither "stop" nor "warn".
    """
    if on_data_error not in ("stop", "warn"):
        raise UsageError(
            found=f"--on-data-error={on_data_error}.",
            expected="stop or warn.",
            fix="leave it out to stop at errors, or give warn to leave out what cannot be used.",
        )
    return on_data_error == "stop"


def start(prepared: PreparedRun, runs_dir: Path, name: str) -> RunFolder:
    """Give the run its folder."""
    from fitwell.training.prepare import create_run

    return create_run(prepared, runs_dir, name)


def train(
    run: RunFolder, *, splits: Sequence[str] = ("val", "test"), observer: Observer | None = None
) -> dict[str, Any]:
    """Train `run` from wherever it stands, judge it on val and once on test, and write its report.

    Args:
        splits: to judge it on; whoever still chooses between runs leaves test closed.
        observer: follows the training; by default it is shown on stderr.

    Returns: the metrics of the last of `splits`, with intervals.
    """
    if run.members():
        raise UsageError(
            found=f"{run.path} is an ensemble, which does not train.",
            expected="a run that trains.",
            fix=f"resume one of its members; or judge the ensemble: fitwell evaluate {run.path}",
        )
    from fitwell.training.progress import showing_progress
    from fitwell.training.session import continue_run

    if run.read()["state"] != "finished":
        with nullcontext(observer) if observer else showing_progress() as follower:
            continue_run(run, observers=(follower,))
    for split in splits:
        if not run.evaluated(split):
            evaluate(run, split)
    return read_metrics(run, splits[-1])


def read_metrics(run: RunFolder, split: str) -> dict[str, Any]:
    """Return the metrics that were written for `split`."""
    from fitwell.files import read_json

    return read_json(run.evaluation(split) / "metrics.json")


def evaluate(run: RunFolder, split: str, *, corruptions: bool = False) -> dict[str, Any]:
    """Judge `run` on its "val" or "test" images and write the result and the report; an opening of test is logged.

    Args:
        corruptions: whether to judge the images under common corruptions too.

    Raises:
        UsageError: when the split is neither val nor test.
        CheckpointError: when the run is not finished.
    """
    from fitwell.data.split import read_split
    from fitwell.evaluation.judge_run import judge_run

    if split not in ("val", "test"):
        raise UsageError(
            found=f"split {split!r}.",
            expected="val or test; a number on the training images says nothing about new ones.",
            fix="give --split val or --split test.",
        )
    images = read_split(run.split)
    root = Path(run.read()["data"]["root"])
    return judge_run(run, split, images[images["split"] == split], root, corruptions=corruptions)


def evaluate_dataset(
    run: RunFolder,
    dataset: Dataset,
    name: str,
    on_data_error: str = "stop",
    *,
    renames: Mapping[str, str] | None = None,
    corruptions: bool = False,
) -> dict[str, Any]:
    """Judge `run` on images of another folder or table; the result goes to evaluation/<name>/.

    Args:
        renames: what classes of these images are called in the run.
        corruptions: whether to judge the images under common corruptions too.

    Raises:
        UsageError: when `renames` names a class that these images do not have.
        DataError: when images cannot be used, or have a class that the run does not know.
    """
    from fitwell.data.check.measure import scan_images
    from fitwell.data.finding import refuse_errors
    from fitwell.data.index import rename_classes, suggest_renames
    from fitwell.evaluation.judge_run import judge_run

    dataset = rename_classes(dataset, renames or {})
    known = run.read()["data"]["classes"]
    unknown = sorted(set(dataset.classes) - set(known))
    if unknown:
        raise DataError(
            found=f"{dataset.source} has {len(unknown)} classes that the run does not know: {unknown[:10]}.",
            expected=f"only classes of the run: {known}.",
            fix=f"say what they are called in the run: {suggest_renames(unknown, known)}; or train one on them.",
        )
    scan = scan_images(dataset, threads=os.cpu_count() or 1)
    if stops_at_errors(on_data_error):
        refuse_errors([*dataset.findings, *scan.findings], dataset.source)
    images = scan.images
    images.insert(0, "id", [str(number) for number in range(len(images))])
    return judge_run(run, name, images, dataset.root, corruptions=corruptions)
