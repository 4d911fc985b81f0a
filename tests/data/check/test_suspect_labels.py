import re
import subprocess
import sys

import numpy as np
import pytest
from cleanlab.rank import get_label_quality_scores
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import PredefinedSplit, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from fitwell.data.check import suspect_labels
from fitwell.data.check.suspect_labels import FOLDS, find_suspect_labels, score_labels
from fitwell.errors import UsageError

CLASSES = np.array(["cat", "dog", "owl"])


def make_set(per_class=60, num_features=12, distance=4.0, seed=0):
    """Features in clouds, one around each class's own point; labels in turn."""
    random = np.random.default_rng(seed)
    given = np.arange(3 * per_class) % 3
    centers = distance * np.eye(3, num_features)
    features = centers[given] + random.normal(size=(len(given), num_features))
    return features.astype(np.float32), CLASSES[given], [f"{number:03}.png" for number in range(len(given))]


def plant(labels, images):
    """Give `images` the next class instead of their own."""
    wrong = labels.copy()
    for image in images:
        wrong[image] = CLASSES[(list(CLASSES).index(labels[image]) + 1) % 3]
    return wrong


def test_planted_labels_are_found_and_nothing_else():
    features, labels, paths = make_set(per_class=200, distance=6.0)
    planted = [3, 40, 77, 119, 200, 404]
    finding = find_suspect_labels(features, plant(labels, planted), paths, None)
    named = {case.name for case in finding.cases}
    assert finding.code == "DATA701"
    assert named < {paths[image] for image in planted}
    assert len(named) == 5  # of the sixth it is only 0.73 sure
    assert finding.message == "5 of 600 labels are contradicted by the other images."
    assert finding.evidence["confident_learning"] < 5  # why that does not decide


def test_a_case_tells_what_was_given_and_what_it_looks_like():
    features, labels, paths = make_set(per_class=100, distance=6.0)
    finding = find_suspect_labels(features, plant(labels, [3]), paths, None)
    (case,) = finding.cases
    assert case.name == "003.png"
    assert re.fullmatch(r"given dog, looks like cat \(p = (0\.9\d|1\.00)\), quality 0\.0\d*", case.detail)
    assert finding.message == "1 of 300 labels is contradicted by the other images."
    assert finding.evidence["agreement"] == round(299 / 300, 4)
    assert finding.evidence["strength"] in suspect_labels.STRENGTHS
    assert finding.evidence["num_judged"] == 300


def test_the_most_suspect_comes_first():
    features, labels, paths = make_set(distance=6.0)
    wrong = plant(labels, range(0, 180, 30))
    finding = find_suspect_labels(features, wrong, paths, None)
    quality = dict(zip(paths, score_labels(features, wrong, None), strict=True))
    order = [quality[case.name] for case in finding.cases]
    assert order == sorted(order)
    assert order[0] < order[-1]


def test_right_labels_of_clear_classes_are_left_alone():
    features, labels, paths = make_set(distance=8.0)
    assert find_suspect_labels(features, labels, paths, None) is None


def test_labels_without_any_meaning_are_not_all_suspect():
    features, labels, paths = make_set(distance=0.0)
    finding = find_suspect_labels(features, labels, paths, None)
    assert finding is None or len(finding.cases) < 5


def test_quality_is_that_of_cleanlab_over_cross_validated_probabilities():
    """The folds and the regression done again by hand."""
    features, labels, _ = make_set()
    wrong = plant(labels, [3, 40])
    given = np.searchsorted(CLASSES, wrong)
    folds = suspect_labels._assign_folds(given, np.arange(len(given)), 0)
    judgement = suspect_labels._judge(features, given, None, 0)
    probs = np.empty((len(given), 3))
    for fold in range(FOLDS):
        regression = LogisticRegression(C=judgement.strength, max_iter=5000, tol=1e-6)
        model = make_pipeline(StandardScaler(), regression).fit(features[folds != fold], given[folds != fold])
        probs[folds == fold] = model.predict_proba(features[folds == fold])
    expected = get_label_quality_scores(given, probs)
    assert np.abs(score_labels(features, wrong, None) - expected).max() < 0.03  # the solver stops earlier than here
    assert roc_auc_score(wrong != labels, -expected) == 1


def test_the_strength_is_the_one_that_makes_the_labels_likeliest():
    features, labels, _ = make_set(per_class=30, num_features=60, distance=2.0)
    given = np.searchsorted(CLASSES, labels)
    splitter = PredefinedSplit(suspect_labels._assign_folds(given, np.arange(len(given)), 0))
    losses = []
    for strength in suspect_labels.STRENGTHS:
        model = make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=5000))
        losses.append(-cross_val_score(model, features, given, cv=splitter, scoring="neg_log_loss").mean())
    best = suspect_labels.STRENGTHS[int(np.argmin(losses))]
    assert best not in (suspect_labels.STRENGTHS[0], suspect_labels.STRENGTHS[-1])
    assert suspect_labels._judge(features, given, None, 0).strength == best


def test_copies_with_the_same_wrong_label_do_not_vouch_for_each_other():
    features, labels, _ = make_set(num_features=150)
    wrong = plant(labels, range(0, 180, 20))
    copies = np.arange(0, 180, 20).repeat(3)
    features, wrong = np.concatenate([features, features[copies]]), np.concatenate([wrong, wrong[copies]])
    clusters = np.concatenate([np.arange(180), copies])
    apart, together = score_labels(features, wrong, None), score_labels(features, wrong, clusters)
    assert together[copies].mean() < apart[copies].mean() / 2


def test_a_group_lies_in_one_fold_and_every_class_in_every_fold():
    random = np.random.default_rng(0)
    groups = random.integers(0, 60, 300)
    given = random.integers(0, 3, 300)
    folds = suspect_labels._assign_folds(given, groups, 0)
    assert all(len(set(folds[groups == group])) == 1 for group in range(60))
    assert all(set(given[folds == fold]) == {0, 1, 2} for fold in range(FOLDS))


def test_a_class_too_small_to_be_judged_is_taken_at_its_word():
    features, labels, paths = make_set(distance=8.0)
    keep = np.ones(len(labels), dtype=bool)
    keep[np.flatnonzero(labels == "owl")[FOLDS - 1 :]] = False
    finding = find_suspect_labels(features[keep], plant(labels, [3])[keep], np.array(paths)[keep].tolist(), None)
    assert [case.name for case in finding.cases] == ["003.png"]
    assert finding.evidence["num_judged"] == keep.sum() - (FOLDS - 1)
    assert score_labels(features[keep], labels[keep], None)[labels[keep] == "owl"].tolist() == [1.0] * (FOLDS - 1)


@pytest.mark.parametrize("per_class", [1, 4])
def test_where_no_class_can_be_judged_nothing_is_suspect(per_class):
    features, labels, paths = make_set(per_class=per_class)
    assert find_suspect_labels(features, labels, paths, None) is None
    assert score_labels(features, labels, None).tolist() == [1.0] * len(labels)


def test_a_single_class_that_can_be_judged_has_nothing_to_be_confused_with():
    features, labels, paths = make_set()
    keep = (labels == "cat") | (np.arange(len(labels)) < 9)
    assert find_suspect_labels(features[keep], labels[keep], np.array(paths)[keep].tolist(), None) is None


def test_the_same_seed_gives_the_same_scores():
    features, labels, _ = make_set()
    assert (
        score_labels(features, labels, None, seed=3).tolist() == score_labels(features, labels, None, seed=3).tolist()
    )


def test_constant_features_are_no_matter():
    features, labels, paths = make_set(distance=8.0)
    features[:, 5:] = 7.0
    assert find_suspect_labels(features, labels, paths, None) is None


def test_a_missing_extra_is_named_with_its_command(monkeypatch):
    features, labels, paths = make_set(per_class=5)
    monkeypatch.setitem(sys.modules, "cleanlab.filter", None)
    with pytest.raises(UsageError, match=r'pip install "fitwell\[labels\]"'):
        find_suspect_labels(features, labels, paths, None)
    with pytest.raises(UsageError, match=r'pip install "fitwell\[labels\]"'):
        score_labels(features, labels, None)


def test_suspect_labels_load_nothing_heavy_until_they_are_looked_for():
    heavy = {"torch", "sklearn", "cleanlab", "pandas", "scipy"}
    code = f"import sys, fitwell.data.check.suspect_labels; print(sorted({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
