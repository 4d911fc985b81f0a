"""Records of a training, short enough to work out by hand."""

from fitwell.evaluation.analysis.course import Training
from fitwell.recipe.read import parse_recipe

PHASES = """\
phases:
  - {name: head, train: head, epochs: 6, learning_rate: 1e-3}
  - {name: tune, train: all, epochs: 6, learning_rate: 1e-4, schedule: plateau}
"""


def make_epochs(*values, phase="tune", metric="accuracy", **changes):
    """An epoch for each val value; train stands still at 0.5, and 100 val images are half cats, half dogs."""
    return [
        {
            "kind": "epoch",
            "phase": phase,
            "epoch": number,
            "step": number,
            "train": {"loss": 1.0, "accuracy": 0.5},
            "val": {"accuracy": 0.5, "log_loss": 1.0, metric: value},
            "val_per_class": {"cat": value, "dog": value},
            "learning_rate": {"head": 1e-3},
            "seconds": {"train": 2.0, "val": 1.0},
            **{key: given[number - 1] for key, given in changes.items()},
        }
        for number, value in enumerate(values, start=1)
    ]


def losses(*pairs, accuracy=0.5):
    """Train and val losses as the columns that `make_epochs` takes."""
    train = [{"loss": one, "accuracy": accuracy} for one, _ in pairs]
    return train, [other for _, other in pairs]


def make_training(*epochs, metric="accuracy", recipe="", **changes):
    given = {"train_counts": {"cat": 200, "dog": 200}, "val_counts": {"cat": 50, "dog": 50}} | changes
    return Training(
        epochs=epochs,
        metric=metric,
        recipe=parse_recipe("version: 1\n" + (recipe if "phases:" in recipe else PHASES + recipe), "test"),
        num_train=sum(given["train_counts"].values()),
        num_val=sum(given["val_counts"].values()),
        **given,
    )
