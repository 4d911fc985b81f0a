import numpy as np
import pytest

from fitwell.evaluation import intervals
from fitwell.evaluation.intervals import draw, find_units
from fitwell.evaluation.multi_label import naming_metrics, per_class, ranking_metrics
from fitwell.evaluation.multi_label_intervals import BOOTSTRAPPED, PER_CLASS, resample_label_sets, strata_of

CLASSES = ("a", "b", "c")


def make_case(num_images, seed):
    rng = np.random.default_rng(seed)
    targets = rng.random((num_images, 3)) < (0.15, 0.4, 0.6)
    probs = np.round(np.clip(rng.random(targets.shape) + 0.2 * targets, 0, 1), 1)  # some equal scores
    return probs, targets


def by_hand(probs, targets, named, times):
    """Repeat the images as often as drawn and call the plain metrics: slow and obviously right."""
    picked = np.repeat(np.arange(len(targets)), times.astype(int))
    found = ranking_metrics(probs[picked], targets[picked]) | naming_metrics(named[picked], targets[picked])
    rows = per_class(probs[picked], targets[picked], np.full(3, 0.5), CLASSES)
    return found, rows


@pytest.mark.parametrize("grouped", [False, True])
def test_resampled_metrics_equal_a_naive_loop_over_the_same_multiplicities(grouped, monkeypatch):
    monkeypatch.setattr(intervals, "CHUNK_CELLS", 7 * 40)  # several chunks
    probs, targets = make_case(40, seed=2)
    named = probs >= 0.5
    groups = np.array([f"g{index % 9}" for index in range(40)]) if grouped else None
    units = find_units(strata_of(targets), groups)
    drawn = resample_label_sets(probs, targets, named, units, num_resamples=40, seed=3)
    multiplicities = np.concatenate(list(draw(units, num_resamples=40, seed=3)), axis=1).T  # (B, N)
    for row, times in enumerate(multiplicities):
        found, classes = by_hand(probs, targets, named, times)
        for name in BOOTSTRAPPED:
            expected = np.nan if found[name] is None else found[name]
            np.testing.assert_allclose(drawn.metrics[name][row], expected, atol=1e-12)
        for name in PER_CLASS:
            expected = [np.nan if each[name] is None else each[name] for each in classes]
            np.testing.assert_allclose(drawn.per_class[name][row], expected, atol=1e-12)


def test_the_stratum_of_an_image_is_its_rarest_class():
    targets = np.array([[1, 1, 0], [0, 1, 0], [0, 1, 1], [0, 0, 0], [0, 0, 1]], dtype=bool)
    assert strata_of(targets).tolist() == [0, 1, 2, 3, 2]


def test_a_rare_class_is_missing_from_no_resample():
    probs, targets = make_case(200, seed=4)
    targets[:, 0] = False
    targets[:6, 0] = True
    units = find_units(strata_of(targets), None)
    drawn = resample_label_sets(probs, targets, probs >= 0.5, units, num_resamples=500)
    assert not np.isnan(drawn.metrics["auc"]).any()
