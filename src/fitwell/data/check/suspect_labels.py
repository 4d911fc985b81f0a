"""Labels that the other images contradict: a classifier that never saw an image is sure of another class.

A logistic regression on frozen features judges each image out of fold; quality is the probability of the given class
(cleanlab's self-confidence). How many labels confident learning would name stands in the evidence, and no more: where
classes are hard to tell it names most of them wrongly, and where they are easy it passes over wrong ones. Needs the
extra `labels`; never reaches torch, because the features come from the caller.

Measured in benchmarks/suspect_labels.py. Source: Northcutt et al. 2021, "Confident Learning", arXiv:1911.00068.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fitwell.data.finding import Case, Finding
from fitwell.errors import UsageError

FOLDS = 5
STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)  # C of the regression: the larger, the closer it fits
MOST_ITERATIONS = 2000
LEAST_PROB = 1e-12  # below it a probability counts as this much, so that one image cannot decide alone
# Probability of another class from which on a label is named. With 5 % of the labels wrong, 97 % (emoji) and 72 %
# (solar cells) of those named are wrong; of the many more that confident learning names, 25 % and 46 %. With none
# changed it names 1.6 % and 1.7 % of all labels; confident learning 10.5 % and 3.7 %. Means of 5 seeds.
SURE = 0.9


@dataclass(frozen=True)
class Judgement:
    """What the other images say about each label.

    Attributes:
        probs: (N, C) probability of each class, from a classifier that saw neither the image nor its group.
        judged: (N,) False where the class has too few groups; such a label is taken at its word, with probability 1.
        strength: C of the regression, chosen by the likelihood of the given labels; NaN when nothing was judged.
    """

    probs: NDArray[np.float64]
    judged: NDArray[np.bool_]
    strength: float

    def quality(self, given: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the probability (N,) of the given class, which cleanlab calls self-confidence."""
        from cleanlab.rank import get_label_quality_scores

        return np.asarray(get_label_quality_scores(given, self.probs, method="self_confidence"))


def find_suspect_labels(
    features: NDArray[np.float32],
    labels: NDArray[Any],
    paths: Sequence[str],
    groups: NDArray[Any] | None,
    *,
    seed: int = 0,
) -> Finding | None:
    """Return DATA701 about the labels that are probably wrong, the most suspect first; None without any.

    Args:
        features: (N, D) of a frozen backbone.
        labels: (N,) as given.
        paths: N names for the cases.
        groups: (N,) images that must not judge each other: clusters of duplicates, because copies with the same
            wrong label vouch for each other (AUC of quality 0.79 instead of 0.95 on emoji). Not patients or modules:
            their other images are the best witnesses (0.92 instead of 0.86 on solar cells). None: each is alone.

    Raises:
        UsageError: when the extra `labels` is not installed.
    """
    _require_cleanlab()
    from cleanlab.filter import find_label_issues

    classes, given = np.unique(labels, return_inverse=True)
    judgement = _judge(features, given, groups, seed)
    probs, quality = judgement.probs, judgement.quality(given)
    likeliest = probs.argmax(axis=1)
    suspects = np.flatnonzero((likeliest != given) & (probs.max(axis=1) >= SURE))
    if not len(suspects):
        return None
    cases = []
    for image in suspects[np.argsort(quality[suspects], kind="stable")]:
        looks = f"looks like {classes[likeliest[image]]} (p = {probs[image].max():.2f})"
        cases.append(Case(paths[image], f"given {classes[given[image]]}, {looks}, quality {quality[image]:.2g}"))
    evidence = {
        "num_judged": int(judgement.judged.sum()),
        "agreement": round(float((likeliest == given)[judgement.judged].mean()), 4),
        "confident_learning": int(find_label_issues(given, probs, filter_by="confident_learning", n_jobs=1).sum()),
        "sure": SURE,
        "strength": judgement.strength,
        "folds": FOLDS,
    }
    verb = "is" if len(cases) == 1 else "are"
    message = f"{len(cases):,} of {len(given):,} labels {verb} contradicted by the other images."
    return Finding("DATA701", message, tuple(cases), evidence)


def score_labels(
    features: NDArray[np.float32], labels: NDArray[Any], groups: NDArray[Any] | None, *, seed: int = 0
) -> NDArray[np.float64]:
    """Return the quality (N,) of each label in [0, 1], low is suspect: the probability of the given class.

    Arguments as for `find_suspect_labels`.

    Raises:
        UsageError: when the extra `labels` is not installed.
    """
    _require_cleanlab()
    given = np.unique(labels, return_inverse=True)[1]
    return _judge(features, given, groups, seed).quality(given)


def _require_cleanlab() -> None:
    try:
        import cleanlab.filter  # noqa: F401 - brings scikit-learn
    except ImportError as error:
        raise UsageError(
            found="labels are to be checked, and the package cleanlab is not installed.",
            expected="the extra `labels`, which finds wrong ones.",
            fix='pip install "fitwell[labels]"',
        ) from error


def _judge(
    features: NDArray[np.float32], given: NDArray[np.int64], groups: NDArray[Any] | None, seed: int
) -> Judgement:
    """Judge each label by images of other folds; a group lies in one fold."""
    folds = _assign_folds(given, np.arange(len(given)) if groups is None else groups, seed)
    judged = folds >= 0
    if len(np.unique(given[judged])) < 2:
        return Judgement(np.eye(given.max() + 1)[given], np.zeros_like(judged), float("nan"))
    judgements = [
        Judgement(_predict_out_of_fold(features, given, folds, strength), judged, strength) for strength in STRENGTHS
    ]
    return max(judgements, key=lambda judgement: np.log(np.maximum(judgement.quality(given), LEAST_PROB)).mean())


def _predict_out_of_fold(
    features: NDArray[np.float32], given: NDArray[np.int64], folds: NDArray[np.int64], strength: float
) -> NDArray[np.float64]:
    """Return probabilities (N, C) from the images of the other folds; certainty for fold -1."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    probs = np.eye(given.max() + 1)[given]
    for fold in range(FOLDS):
        learned, held = (folds >= 0) & (folds != fold), folds == fold
        regression = LogisticRegression(C=strength, tol=1e-3, max_iter=MOST_ITERATIONS)
        classifier = make_pipeline(StandardScaler(), regression).fit(features[learned], given[learned])
        probs[np.ix_(held, classifier.classes_)] = classifier.predict_proba(features[held])
    return probs


def _assign_folds(given: NDArray[np.int64], groups: NDArray[Any], seed: int) -> NDArray[np.int64]:
    """Return the fold (N,) of each image: groups stay together, stratified by the label of their first image.

    A class with fewer than `FOLDS` such groups would be missing where it is judged: -1 for its images.
    """
    from sklearn.model_selection import StratifiedKFold

    _, first, group = np.unique(groups, return_index=True, return_inverse=True)
    kinds = given[first]  # (G,)
    is_large = np.bincount(kinds, minlength=given.max() + 1) >= FOLDS  # (C,)
    divided = np.flatnonzero(is_large[kinds])
    fold_of_group = np.full(len(first), -1)
    if len(divided):
        splitter = StratifiedKFold(FOLDS, shuffle=True, random_state=seed)
        for fold, (_, held) in enumerate(splitter.split(divided, kinds[divided])):
            fold_of_group[divided[held]] = fold
    return np.where(is_large[given], fold_of_group[group], -1)
