"""Fine-tuning against logistic regression on frozen features, paired over grouped folds of the solar cells.

Each fold's modules are the test images of one run; a fifth of the other modules chooses (val), the rest trains. The
regression sees train and val, gets the same pictures at the same size through the same frozen backbone, and its
strength is the one for which evaluation figures of this data set were published (C = 0.001, standardised features).

    python benchmarks/grouped_folds.py [recipe]
"""

import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
from result import mean_interval, with_hashes, write_result
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from fitwell import classifier
from fitwell.data.demo import elpv_dataset
from fitwell.evaluation.trained import load_trained
from fitwell.training.features import frozen_features
from fitwell.training.session import continue_run

FOLDS = 4


def with_split(dataset, test, labels, groups):
    """The dataset with a split column: `test` indices, and a grouped fifth of the rest as val."""
    split = np.full(len(labels), "train", dtype=object)
    split[test] = "test"
    rest = np.flatnonzero(split == "train")
    _, val = next(StratifiedGroupKFold(5, shuffle=True, random_state=1).split(rest, labels[rest], groups[rest]))
    split[rest[val]] = "val"
    return replace(dataset, images=dataset.images.assign(split=split))


def train_fold(dataset, recipe):
    """Train on the dataset's split; return the AUC on the test images.

    One cell was photographed in two modules, which the check calls a leak; both sides of the comparison have it.
    """
    with tempfile.TemporaryDirectory() as folder:
        prepared = classifier.prepare(dataset, classifier.read_settings(recipe, {}), on_data_error="warn")
        run = classifier.start(prepared, Path(folder), "fold")
        continue_run(run)
        model = load_trained(run)
    test = dataset.images[dataset.images["split"] == "test"]
    logits = model.logits(dataset.root, list(test["path"]))
    functional = model.classes.index("functional")
    scores = logits[:, functional] - logits[:, 1 - functional]
    return float(roc_auc_score(test["label"] == "functional", scores))


def main() -> None:
    recipe = sys.argv[1] if len(sys.argv) > 1 else "auto"
    dataset = elpv_dataset()
    labels = (dataset.images["label"] == "functional").to_numpy().astype(int)
    groups = dataset.images["group"].to_numpy()
    folds = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=0).split(labels, labels, groups)
    features, rows = None, []
    for fold, (rest, test) in enumerate(folds):
        fitwell_auc = train_fold(with_split(dataset, test, labels, groups), recipe)
        if features is None:
            features = frozen_features(dataset.root, with_hashes(dataset), classifier.read_settings(recipe, {}))
        regression = make_pipeline(StandardScaler(), LogisticRegression(C=1e-3, max_iter=5000))
        regression.fit(features[rest], labels[rest])
        regression_auc = float(roc_auc_score(labels[test], regression.predict_proba(features[test])[:, 1]))
        rows.append({"fold": fold, "num_test": len(test), "regression_auc": regression_auc, "fitwell_auc": fitwell_auc})
        print(rows[-1], file=sys.stderr)
    write_result(
        "grouped_folds",
        {
            "recipe": recipe,
            "fitwell_auc": mean_interval([row["fitwell_auc"] for row in rows], bounds=(0, 1)),
            "regression_auc": mean_interval([row["regression_auc"] for row in rows], bounds=(0, 1)),
            "paired_difference": mean_interval([row["fitwell_auc"] - row["regression_auc"] for row in rows]),
            "folds": rows,
        },
    )


if __name__ == "__main__":
    main()
