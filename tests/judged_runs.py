"""Run folders as a comparison finds them: a recipe, a split and predictions of the test images, without training."""

import numpy as np
import pandas as pd

from fitwell.data.split import assign_splits, data_fingerprint, read_split, split_hash, write_split
from fitwell.evaluation.evaluate import predictions_table
from fitwell.evaluation.metrics import softmax
from fitwell.evaluation.multi_label import sigmoid
from fitwell.files import write_bytes
from fitwell.recipe.read import write_recipe
from fitwell.recipe.schema import Images, Optimizer, Recipe, Split
from fitwell.run_folder import RunFolder


def make_images(num_images=200, classes=("cat", "dog"), groups=None):
    """A table before it is divided; `groups` is how many."""
    images = pd.DataFrame(
        {
            "path": [f"{index:03}.png" for index in range(num_images)],
            "label": [classes[index % len(classes)] for index in range(num_images)],
            "sha256": [f"{index:064x}" for index in range(num_images)],
        }
    )
    return images if groups is None else images.assign(group=[f"g{index % groups}" for index in range(num_images)])


def make_run(folder, recipe=None, images=None, *, gain=1.0, seed=0, parts=None):
    """A run that divides `images` by its recipe's seed, or as `parts` says, and predicts as well as `gain` says."""
    recipe, images = recipe or Recipe(), make_images() if images is None else images
    if parts is None:
        images = assign_splits(images, val_fraction=0.2, test_fraction=0.4, seed=recipe.seed)
    else:
        images = images.assign(split=parts)
    classes = sorted(set(images["label"]))
    run = write_run(folder, recipe, images, classes)
    judge(run, classes, gain, seed)
    return run


def write_run(folder, recipe, images, classes):
    """A run of these divided images that has not been judged."""
    folder.mkdir(parents=True)
    run = RunFolder(folder)
    write_split(run.split, images)
    write_recipe(run.recipe, recipe)
    run.update(
        id=run.id,
        data={"classes": classes, "source": "cats", "root": "/cats", "fingerprint": data_fingerprint(images)},
        split={"hash": split_hash(images)},
    )
    return run


def judge(run, classes, gain, seed):
    """Write predictions.parquet of the test images."""
    split = read_split(run.split)
    test = split[split["split"] == "test"]
    logits = np.random.default_rng(seed).normal(size=(len(test), len(classes)))
    logits[np.arange(len(test)), [classes.index(label) for label in test["label"]]] += gain
    run.evaluation("test").mkdir(parents=True)
    table = predictions_table(test, {"predicted": said(logits, classes)}, softmax(logits), tuple(classes))
    write_bytes(run.evaluation("test") / "predictions.parquet", table)


def said(logits, classes):
    """The class that each image is given."""
    return [classes[index] for index in logits.argmax(axis=1)]


def read_test(run):
    """(N, C) probabilities, (N,) labels and the table of the test predictions, sorted by id."""
    table = pd.read_parquet(run.evaluation("test") / "predictions.parquet").sort_values("id", ignore_index=True)
    classes = [name.removeprefix("p_") for name in table.columns if name.startswith("p_")]
    labels = np.array([classes.index(label) for label in table["label"]])
    return table[[f"p_{name}" for name in classes]].to_numpy(), labels, table


PLAIN = Recipe(images=Images(size=128))
DECAY = Recipe(images=Images(size=128), optimizer=Optimizer(weight_decay=0.1))
SIZE = Recipe(images=Images(size=160))
SETS = Recipe(target={"kind": "multi_label"})
SETS_DECAY = Recipe(target={"kind": "multi_label"}, optimizer=Optimizer(weight_decay=0.1))
CLASSES = ("cat", "cow", "dog")  # of which an image of these shows any number


def with_fold(recipe, fold, seed=0):
    return recipe.model_copy(update={"split": Split(folds=4, fold=fold), "seed": seed})


def fold_parts(fold, num_images=200):
    """Test is every fourth image from `fold` on, val the next, train the rest: no class is missed."""
    place = np.arange(num_images) // 2 % 4
    return np.where(place == fold - 1, "test", np.where(place == fold % 4, "val", "train"))


def make_targets(num_images=200):
    """(N, C) what the images show: any number of classes, some of them none."""
    return np.random.default_rng(7).random((num_images, len(CLASSES))) < 0.4


def joined(cells):
    return ["|".join(name for name, shown in zip(CLASSES, row, strict=True) if shown) for row in cells]


def make_set_run(folder, recipe, *, gain, seed=0, parts=None):
    """A run whose images show any number of classes, and that gives them as well as `gain` says."""
    targets = make_targets()
    images = make_images().assign(label=joined(targets), split=fold_parts(1) if parts is None else parts)
    run = write_run(folder, recipe, images, list(CLASSES))
    images = read_split(run.split)
    test = images["split"] == "test"
    logits = np.random.default_rng(seed).normal(size=targets.shape) + gain * (2 * targets - 1)
    run.evaluation("test").mkdir(parents=True)
    answers = {"predicted": joined(logits[test] >= 0.3)}
    table = predictions_table(images[test], answers, sigmoid(logits[test]), CLASSES)
    write_bytes(run.evaluation("test") / "predictions.parquet", table)
    return run
