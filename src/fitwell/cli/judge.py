"""`fitwell evaluate` and `fitwell predict`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from fitwell.cli.output import gate_code, print_json, print_verdict
from fitwell.errors import UsageError


def evaluate(
    run: Path,
    data: Path | None = None,
    /,
    *,
    split: str = "test",
    image_root: Path | None = None,
    on_data_error: str = "stop",
    rename: tuple[str, ...] = (),
    corruptions: Annotated[bool, Parameter(negative="")] = False,
    gate: Annotated[bool, Parameter(negative="")] = False,
    json: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Judge a finished run on its own images, or on other labelled images.

    Args:
        run: the run folder.
        data: other images: a folder of class folders, or a table. Without it the run's own split is used.
        split: val or test, of the run's own images. Every opening of test is logged.
        image_root: folder that the table's paths are relative to.
        on_data_error: stop, or warn: leave out other images that cannot be used.
        rename: what a class of other images is called in the run, as THEIRS=OURS; can be given several times.
        corruptions: judge the images also with noise, blur, JPEG compression, other light, shifted and turned: 24
            more versions of each.
        gate: exit with 4 unless every target of the recipe is met.
        json: print the result as JSON.
    """
    from fitwell import classifier
    from fitwell.recipe.read import recipe_of
    from fitwell.run_folder import open_run_folder

    folder = open_run_folder(run)
    if data is None:
        metrics = classifier.evaluate(folder, split, corruptions=corruptions)
    else:
        name = data.resolve().stem
        if name in ("train", "val", "test"):
            name = f"other-{name}"
        dataset = classifier.read_dataset(data, image_root, recipe=recipe_of(folder))
        metrics = classifier.evaluate_dataset(
            folder, dataset, name, on_data_error, renames=_pairs(rename), corruptions=corruptions
        )
    if json:
        print_json({"run": str(folder.path), **metrics})
    else:
        print_verdict(metrics, folder.path)
    return gate_code(metrics) if gate else 0


def _pairs(renames: Sequence[str]) -> dict[str, str]:
    pairs = [rename.partition("=") for rename in renames]
    for theirs, equals, ours in pairs:
        if not (theirs and equals and ours):
            raise UsageError(
                found=f"--rename {theirs}{equals}{ours}.",
                expected="THEIRS=OURS.",
                fix="write for example --rename cats=cat.",
            )
    return {theirs: ours for theirs, _, ours in pairs}


def predict(run: Path, /, *images: Path, json: Annotated[bool, Parameter(negative="")] = False) -> None:
    """Name the class of images; where an image shows several classes, all of them.

    Args:
        run: the run folder.
        images: image files.
        json: print all probabilities, as JSON.
    """
    if not images:
        raise UsageError(
            found="no image.", expected="at least one image file.", fix="fitwell predict RUN photo.jpg another.png"
        )
    import fitwell
    from fitwell.data.labels import SEPARATOR, join_names

    classifier = fitwell.load(run)
    probs = classifier.predict_proba(images)
    found = zip(images, classifier.decide(probs), probs, strict=True)
    named = [(str(path), answer, dict(zip(classifier.classes, row, strict=True))) for path, answer, row in found]
    if json:
        rows = [{"path": path, "predicted": answer, "probabilities": row} for path, answer, row in named]
        print_json({"run": str(classifier.run.path), "predictions": rows})
        return
    for path, answer, row in named:
        names = [answer] if isinstance(answer, str) else sorted(answer)
        print(f"{path}\t{join_names(names) or '(none)'}\t{SEPARATOR.join(f'{row[name]:.3f}' for name in names)}")
