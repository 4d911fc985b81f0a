import numpy as np
import pytest
import scipy.stats
from sklearn.metrics import roc_auc_score
from statsmodels.stats.contingency_tables import mcnemar as mcnemar_by_statsmodels
from statsmodels.stats.multitest import multipletests

from fitwell.evaluation.intervals import find_units, interval_of
from fitwell.evaluation.paired_tests import auc_covariance, bootstrap_p, delong, holm, mcnemar, resampled_t


def answers(both, fixes, breaks, neither):
    """Whether each of two classifiers is right, image by image."""
    right = np.repeat([True, False, True, False], [both, fixes, breaks, neither])
    other = np.repeat([True, True, False, False], [both, fixes, breaks, neither])
    return right, other


@pytest.mark.parametrize(("fixes", "breaks"), [(1, 0), (3, 9), (5, 19), (6, 19), (31, 12), (90, 40)])
def test_mcnemar_is_the_exact_p_of_statsmodels_less_the_chance_of_what_was_found(fixes, breaks):
    found = mcnemar(*answers(50, fixes, breaks, 7))
    exact = mcnemar_by_statsmodels([[50, breaks], [fixes, 7]], exact=True).pvalue
    assert found["p"] == pytest.approx(exact - scipy.stats.binom.pmf(fixes, fixes + breaks, 0.5), abs=1e-12)
    assert (found["fixes"], found["breaks"]) == (fixes, breaks)


def test_mcnemar_on_the_airways_of_21_children_is_as_published():
    assert mcnemar(*answers(1, 7, 1, 12))["p"] == pytest.approx(0.039, abs=5e-4)  # Fagerland et al. 2013, table 5


@pytest.mark.parametrize("each", [0, 1, 12])
def test_as_many_fixes_as_breaks_have_a_p_of_one(each):
    assert mcnemar(*answers(5, each, each, 3))["p"] == pytest.approx(1, abs=1e-12)


def test_with_many_disagreements_mcnemar_is_its_chi_square():
    found = mcnemar(*answers(0, 5200, 5000, 0))
    expected = mcnemar_by_statsmodels([[0, 5000], [5200, 0]], exact=False, correction=False)
    assert found["p"] == pytest.approx(expected.pvalue, rel=1e-3)


def rounded_scores(seed, num_images=70, num_classifiers=2):
    """Scores that lean to the truth and to each other, some of them equal."""
    rng = np.random.default_rng(seed)
    positive = np.arange(num_images) % 3 == 0
    shared = rng.normal(size=num_images) + positive
    return np.round(shared + rng.normal(size=(num_classifiers, num_images)), 1), positive


def naive_covariance(scores, positive):
    """DeLong's paper, word for word: every pair, then covariances of the structural components."""
    components = []
    for row in scores:
        psi = np.array([[float(x > y) + (x == y) / 2 for y in row[~positive]] for x in row[positive]])
        components.append((psi.mean(axis=1), psi.mean(axis=0), psi.mean()))
    m, n = int(positive.sum()), int((~positive).sum())
    covariance = np.empty((len(scores), len(scores)))
    for i, (v10_i, v01_i, area_i) in enumerate(components):
        for j, (v10_j, v01_j, area_j) in enumerate(components):
            s10 = sum((a - area_i) * (b - area_j) for a, b in zip(v10_i, v10_j, strict=True)) / (m - 1)
            s01 = sum((a - area_i) * (b - area_j) for a, b in zip(v01_i, v01_j, strict=True)) / (n - 1)
            covariance[i, j] = s10 / m + s01 / n
    return covariance


@pytest.mark.parametrize("seed", range(4))
def test_the_covariance_of_areas_is_that_of_all_pairs(seed):
    scores, positive = rounded_scores(seed, num_classifiers=3)
    areas, covariance = auc_covariance(scores, positive)
    assert areas == pytest.approx([roc_auc_score(positive, row) for row in scores], abs=1e-12)
    np.testing.assert_allclose(covariance, naive_covariance(scores, positive), rtol=0, atol=1e-15)


def test_delong_compares_the_difference_with_its_error():
    scores, positive = rounded_scores(7)
    found = delong(scores, positive)
    covariance = naive_covariance(scores, positive)
    error = np.sqrt(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
    areas = [roc_auc_score(positive, row) for row in scores]
    assert found["difference"] == pytest.approx(areas[1] - areas[0], abs=1e-12)
    assert found["standard_error"] == pytest.approx(error, rel=1e-9)
    assert found["p"] == pytest.approx(2 * scipy.stats.norm.sf(abs(areas[1] - areas[0]) / error), rel=1e-9)


def test_equal_rankings_have_no_z():
    scores, positive = rounded_scores(1)
    assert delong(np.array([scores[0], 2 * scores[0]]), positive) == {
        "difference": 0.0,
        "standard_error": 0.0,
        "z": None,
        "p": None,
    }


@pytest.mark.parametrize("of_classes", [False, True])
def test_the_p_of_a_bootstrap_is_at_most_a_level_just_where_the_interval_of_that_level_leaves_zero_out(of_classes):
    labels = np.repeat([0, 1], [40, 12])
    units = find_units(labels, None)
    for num_beyond in range(1, 60):  # of 2,000; with none, no level that resamples can tell holds zero
        differences = np.random.default_rng(num_beyond).permutation(np.arange(2000) - num_beyond + 0.5)
        p = bootstrap_p(differences, units, of_classes=of_classes)
        for level in (0.01, 0.05, p * 1.0001, p * 0.9999):
            interval = interval_of(differences, 1.0, units, labels=labels, confidence=1 - level, of_classes=of_classes)
            assert (interval.low > 0) == (p <= level)


def test_the_p_of_a_bootstrap_worked_by_hand():
    units = find_units(np.zeros(10, int), None)
    differences = np.arange(1999) - 99.5  # 100 are below zero: (100 + 1) / (1999 + 1) of the normal is z = -1.640
    z = scipy.stats.norm.ppf(101 / 2000) / np.sqrt(10 / 9)
    assert bootstrap_p(differences, units) == pytest.approx(2 * scipy.stats.t.cdf(z, 9), rel=1e-12)


def test_resamples_that_never_differ_give_a_p_of_one():
    assert bootstrap_p(np.zeros(50), find_units(np.arange(10) % 2, None)) == 1.0


def test_a_difference_that_is_not_defined_in_any_resample_has_no_p():
    assert bootstrap_p(np.full(50, np.nan), find_units(np.arange(10) % 2, None)) is None


def test_without_shared_training_images_it_is_the_paired_t_test():
    differences = [0.02, -0.01, 0.03, 0.04, 0.01]
    found = resampled_t(differences, confidence=0.95)
    expected = scipy.stats.ttest_1samp(differences, 0)
    assert (found["t"], found["p"]) == pytest.approx((expected.statistic, expected.pvalue))
    assert found["interval"] == pytest.approx(list(expected.confidence_interval(0.95)))
    assert (found["n"], found["degrees_of_freedom"]) == (5, 4)


def test_the_correction_for_shared_training_images_is_that_of_nadeau_and_bengio():
    differences = [0.02, -0.01, 0.03, 0.04, 0.01]  # mean 0.018, variance 0.00037; (1/5 + 1/4) * 0.00037 = 0.0001665
    found = resampled_t(differences, test_train_ratio=1 / 4, confidence=0.95)
    assert found["t"] == pytest.approx(0.018 / np.sqrt(0.0001665))
    assert found["p"] == pytest.approx(2 * scipy.stats.t.sf(found["t"], 4))


def test_differences_as_alike_as_the_correction_takes_them_for_are_called_different_in_5_of_100():
    rng, ratio = np.random.default_rng(0), 1 / 4
    alike = ratio / (1 + ratio)  # the correlation of which Nadeau & Bengio's eq. 8 comes
    drawn = alike**0.5 * rng.normal(size=(10_000, 1)) + (1 - alike) ** 0.5 * rng.normal(size=(10_000, 5))
    claims = [resampled_t(each, test_train_ratio=ratio, confidence=0.95)["p"] < 0.05 for each in drawn]
    assert 0.045 < np.mean(claims) < 0.055


def test_differences_that_are_all_equal_have_no_p():
    found = resampled_t([0.25, 0.25, 0.25], confidence=0.95)
    assert (found["difference"], found["interval"], found["t"], found["p"]) == (0.25, None, None, None)


@pytest.mark.parametrize("p_values", [[0.01, 0.04, 0.03, 0.005], [0.5, 0.6], [0.02], [0.04, 0.04, 0.001, 0.9, 0.3]])
def test_holm_equals_statsmodels(p_values):
    assert holm(p_values) == pytest.approx(multipletests(p_values, method="holm")[1])
