import numpy as np
import pytest
import scipy.special
import scipy.stats
from statsmodels.stats.proportion import proportion_confint

from bootstrap import bootstrap_intervals
from fitwell.evaluation import intervals
from fitwell.evaluation.intervals import (
    BOOTSTRAPPED,
    Units,
    auc_interval,
    draw,
    expansion,
    find_units,
    interval_of,
    interval_of_share,
    resample,
    student_interval,
    wilson_interval,
)
from fitwell.evaluation.metrics import (
    FURTHER_METRICS,
    auc,
    confusion_matrix,
    further_metrics,
    higher_is_better,
    softmax,
)
from fitwell.evaluation.ranking import RANKING_METRICS, ranking_metrics


def make_case(num_images, num_classes, seed):
    rng = np.random.default_rng(seed)
    labels = np.concatenate([np.arange(num_classes), rng.integers(0, num_classes, num_images - num_classes)])
    logits = np.round(rng.normal(size=(num_images, num_classes)), 1)  # some equal scores
    logits[np.arange(num_images), labels] += 1
    return softmax(logits), labels


def columns_of(chunks):
    return np.concatenate(list(chunks), axis=1).T  # (B, N)


def by_hand(probs, labels, multiplicities):
    """Repeat the images as often as drawn and call the plain metrics: slow and obviously right."""
    rows = []
    for times in multiplicities.astype(int):
        picked = np.repeat(np.arange(len(labels)), times)
        values = [metric(probs[picked], labels[picked]) for metric in BOOTSTRAPPED.values()]
        rows.append([np.nan if value is None else value for value in values])
    return np.array(rows)


@pytest.mark.parametrize(("successes", "total"), [(0, 10), (10, 10), (7, 10), (527, 596), (1, 1)])
@pytest.mark.parametrize("confidence", [0.9, 0.95])
def test_wilson_interval_equals_statsmodels(successes, total, confidence):
    expected = proportion_confint(successes, total, alpha=1 - confidence, method="wilson")
    assert wilson_interval(successes, total, confidence) == pytest.approx(expected, abs=1e-12)


def test_wilson_interval_of_nothing_is_everything():
    assert wilson_interval(0, 0) == (0.0, 1.0)


@pytest.mark.parametrize("values", [[0.8, 0.9], [0.71, 0.74, 0.69, 0.80, 0.77], [0.5, 0.5, 0.5]])
def test_the_interval_of_a_mean_over_seeds_is_students(values):
    expected = scipy.stats.t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / np.sqrt(len(values))
    mean = np.mean(values)
    assert student_interval(values) == pytest.approx((mean - expected, mean + expected), abs=1e-12)


def test_one_value_has_no_interval():
    assert student_interval([0.5]) is None


@pytest.mark.parametrize("num_classes", [2, 3])
@pytest.mark.parametrize("grouped", [False, True])
def test_resampled_metrics_equal_a_naive_loop_over_the_same_multiplicities(num_classes, grouped, monkeypatch):
    monkeypatch.setattr(intervals, "CHUNK_CELLS", 7 * 40)  # several chunks
    probs, labels = make_case(40, num_classes, seed=num_classes)
    groups = np.array([f"g{index % 9}" for index in range(40)]) if grouped else None
    units = find_units(labels, groups)
    drawn = resample(probs, labels, units, names=BOOTSTRAPPED, num_resamples=60, seed=3)
    multiplicities = columns_of(draw(units, num_resamples=60, seed=3))
    expected = by_hand(probs, labels, multiplicities)
    for column, name in enumerate(BOOTSTRAPPED):
        np.testing.assert_allclose(drawn.metrics[name], expected[:, column], atol=1e-12)
    picked = np.repeat(np.arange(40), multiplicities[5].astype(int))
    matrix = confusion_matrix(probs[picked], labels[picked])
    np.testing.assert_allclose(drawn.recall[5], matrix.diagonal() / matrix.sum(axis=1), atol=1e-12)
    np.testing.assert_allclose(drawn.precision[5], matrix.diagonal() / matrix.sum(axis=0), atol=1e-12)


@pytest.mark.parametrize("sizes", [(7,), (50,), (2,)])
@pytest.mark.parametrize("of_classes", [False, True])
def test_of_one_stratum_the_expansion_is_hesterbergs(sizes, of_classes):
    units = Units(np.arange(sizes[0]), (np.arange(sizes[0]),), "groups")
    expected = (np.sqrt(sizes[0] / (sizes[0] - 1)), sizes[0] - 1)
    assert expansion(units, of_classes=of_classes) == pytest.approx(expected, rel=1e-12)


def test_the_expansion_of_fifteen_and_thirty_five_images_worked_by_hand():
    units = find_units(np.repeat([0, 1], [35, 15]), None)
    # over images: sum n_h 50, sum n_h - 1 48; 50^2 / (15^2 / 14 + 35^2 / 34) = 2500 / 52.1008
    assert expansion(units) == pytest.approx((np.sqrt(50 / 48), 47.98388), rel=1e-6)
    # over classes: sum 1 / n_h 0.0952381, sum (n_h - 1) / n_h^2 0.0899773; (2 / 21)^2 / (1 / 3150 + 1 / 41650)
    assert expansion(units, of_classes=True) == pytest.approx((1.0288186, 26.5625), rel=1e-6)


def test_the_degrees_of_freedom_over_classes_are_welchs_where_both_spread_alike():
    first, second = np.tile([-1.0, 1.0], 4), np.tile([-1.0, 1.0], 11)  # made to have a variance of 1, 8 and 22 of them
    first, second = first / first.std(ddof=1), second / second.std(ddof=1)
    expected = scipy.stats.ttest_ind(first, second, equal_var=False).df
    _, found = expansion(find_units(np.repeat([0, 1], [8, 22]), None), of_classes=True)
    assert found == pytest.approx(expected, rel=1e-12)


def test_the_factor_is_what_resamples_of_strata_spread_too_little():
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], [30, 4])
    values = np.concatenate([rng.normal(size=30), rng.normal(size=4)])
    for label in (0, 1):  # both classes spread alike, as is taken for granted
        values[labels == label] /= values[labels == label].std(ddof=1)
    units = find_units(labels, None)
    times = columns_of(draw(units, num_resamples=60_000, seed=0))
    means = [(times * (labels == label)) @ values / (labels == label).sum() for label in (0, 1)]
    unbiased = 1 / 30 + 1 / 4
    factor, _ = expansion(units, of_classes=True)
    assert factor**2 * np.var(np.mean(means, axis=0)) == pytest.approx(unbiased / 4, rel=0.02)


def test_strata_of_one_unit_show_no_spread_and_do_not_count():
    with_single, without = (find_units(np.repeat([0, 1, 2], sizes), None) for sizes in ([9, 1, 5], [9, 0, 5]))
    for of_classes in (False, True):
        assert expansion(with_single, of_classes=of_classes) == expansion(without, of_classes=of_classes)
    assert expansion(find_units(np.array([0, 1]), None)) == (1.0, np.inf)


@pytest.mark.parametrize("of_classes", [False, True])
def test_interval_is_the_expanded_percentiles_of_the_naive_loop(of_classes):
    probs, labels = make_case(50, 2, seed=7)
    units = find_units(labels, None)
    values = by_hand(probs, labels, columns_of(draw(units, num_resamples=999, seed=0)))
    factor, degrees = expansion(units, of_classes=of_classes)
    place = int(1000 * scipy.stats.norm.cdf(factor * scipy.stats.t.ppf(0.025, degrees)))
    drawn = resample(probs, labels, units, names=BOOTSTRAPPED, num_resamples=999)
    for column, (name, metric) in enumerate(BOOTSTRAPPED.items()):
        found = interval_of(drawn.metrics[name], metric(probs, labels), units, labels=labels, of_classes=of_classes)
        ordered = np.sort(values[:, column])
        assert (found.low, found.high) == pytest.approx((ordered[place - 1], ordered[-place]), abs=1e-12)


def test_images_are_drawn_within_their_class():
    labels = np.array([0] * 12 + [1] * 3)
    times = columns_of(draw(find_units(labels, None), num_resamples=50, seed=1))
    assert (times[:, :12].sum(axis=1) == 12).all()
    assert (times[:, 12:].sum(axis=1) == 3).all()
    assert times.max() > 1


def test_whole_groups_are_drawn_and_never_parts_of_them():
    labels = np.tile([0, 1], 10)
    groups = np.repeat(["a", "b", "c", "d", "e"], 4)
    units = find_units(labels, groups)
    times = columns_of(draw(units, num_resamples=50, seed=1))
    assert units.count == 5
    assert (times.reshape(50, 5, 4) == times.reshape(50, 5, 4)[:, :, :1]).all()
    assert (times.sum(axis=1) == 20).all()


def test_groups_of_one_class_each_are_drawn_within_their_class():
    labels = np.array([0, 0, 0, 0, 1, 1, 1])
    groups = np.array(["a", "a", "b", "b", "c", "d", "e"])
    units = find_units(labels, groups)
    assert [stratum.tolist() for stratum in units.strata] == [[0, 1], [2, 3, 4]]
    times = columns_of(draw(units, num_resamples=30, seed=0))
    assert (times[:, :4].sum(axis=1) == 4).all()


def test_groups_widen_the_interval_when_images_of_a_group_agree():
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(8), 40)
    labels = np.tile([0, 1], 160)
    right = (np.arange(8) < 6)[groups] ^ (rng.random(320) < 0.05)  # six groups easy, two hard
    probs = np.where(right[:, None], np.eye(2)[labels] * 0.8 + 0.1, np.eye(2)[1 - labels] * 0.8 + 0.1)
    alone = bootstrap_intervals(probs, labels, None, num_resamples=400)["accuracy"]
    grouped = bootstrap_intervals(probs, labels, groups, num_resamples=400)["accuracy"]
    assert grouped[1] - grouped[0] > 3 * (alone[1] - alone[0])


def test_the_same_seed_gives_the_same_interval_and_another_seed_another():
    probs, labels = make_case(60, 3, seed=2)
    first, again, other = (bootstrap_intervals(probs, labels, None, num_resamples=300, seed=s) for s in (0, 0, 1))
    assert first == again
    assert first != other


def test_a_perfect_result_has_an_exact_bound_and_no_zero_width():
    labels = np.array([0] * 30 + [1] * 20)
    found = bootstrap_intervals(np.eye(2)[labels], labels, None, num_resamples=50)
    low, high = proportion_confint(20, 20, method="beta")
    for name in BOOTSTRAPPED:
        expected = (low, high) if higher_is_better(name) else (1 - high, 1 - low)
        assert found[name] == pytest.approx(expected, abs=1e-12)


def test_a_perfect_result_on_groups_counts_groups_not_images():
    labels = np.tile([0, 1], 70)
    groups = np.repeat(np.arange(7), 20)
    found = bootstrap_intervals(np.eye(2)[labels], labels, groups, num_resamples=50)
    assert found["auc"] == pytest.approx(proportion_confint(7, 7, method="beta"), abs=1e-12)


def test_one_answer_for_all_images_has_no_zero_width_either():
    labels = np.array([0] * 30 + [1] * 20)
    low, high = bootstrap_intervals(np.tile([0.9, 0.1], (50, 1)), labels, None, num_resamples=50)["balanced_accuracy"]
    assert low < 0.5 < high


def test_one_group_says_hardly_anything():
    probs, labels = make_case(40, 2, seed=1)
    low, high = bootstrap_intervals(probs, labels, np.zeros(40), num_resamples=50)["accuracy"]
    assert high - low > 0.5


def test_resamples_without_a_class_are_left_out_of_the_auc_and_counted():
    probs, labels = make_case(40, 2, seed=5)
    labels = np.where(np.arange(40) % 10 == 0, 1, 0)  # class 1 in every tenth image
    groups = np.arange(40) // 20 * 100 + np.arange(40) % 20 // 5  # eight groups, four of mixed class
    units = find_units(labels, groups)
    drawn = resample(probs, labels, units, names=("accuracy", "auc"), num_resamples=2000)
    undefined = int(np.isnan(drawn.metrics["auc"]).sum())
    assert undefined == pytest.approx(2000 * 0.5**8, abs=12)
    assert not np.isnan(drawn.metrics["accuracy"]).any()
    assert interval_of(drawn.metrics["auc"], 0.5, units, labels=labels).num_left_out == undefined


def test_a_metric_undefined_in_most_resamples_has_no_interval():
    units = find_units(np.array([0, 1]), None)
    values = np.array([0.5, np.nan, np.nan])
    assert interval_of(values, 0.5, units, labels=np.array([0, 1])) is None
    probs, labels = make_case(20, 2, seed=0)
    assert bootstrap_intervals(probs, np.zeros_like(labels), None, num_resamples=20)["auc"] is None


def test_a_difference_may_be_below_zero():
    units = find_units(np.array([0, 0, 1, 1]), None)
    interval = interval_of(np.zeros(50), 0.0, units, labels=np.array([0, 0, 1, 1]), bounds=(-1.0, 1.0))
    assert interval.low == -interval.high < 0


def test_the_interval_of_a_share_of_independent_images_is_wilsons():
    hits = np.arange(30) < 21
    interval = interval_of_share(hits, np.arange(30) % 2, None)
    assert (interval.low, interval.high) == pytest.approx(wilson_interval(21, 30))
    assert interval.method == "Wilson, 21 of 30 images"
    assert interval_of_share(hits[:0], np.arange(0), None) is None


def test_the_interval_of_a_share_over_groups_is_that_of_the_accuracy():
    probs, labels = make_case(60, 2, seed=4)
    groups = np.array([f"g{index // 6}" for index in range(60)])
    interval = interval_of_share(probs.argmax(axis=1) == labels, labels, groups)
    assert (interval.low, interval.high) == pytest.approx(bootstrap_intervals(probs, labels, groups)["accuracy"])


def test_a_class_that_is_never_predicted_has_no_precision_in_any_resample():
    labels = np.array([0, 0, 1, 1])
    drawn = resample(np.tile([0.9, 0.1], (4, 1)), labels, find_units(labels, None), names=(), num_resamples=10)
    assert np.isnan(drawn.precision[:, 1]).all()
    np.testing.assert_array_equal(drawn.recall, np.tile([1.0, 0.0], (10, 1)))


@pytest.mark.parametrize("num_classes", [2, 4])
def test_further_metrics_and_rankings_equal_a_naive_loop_too(num_classes):
    probs, labels = make_case(40, num_classes, seed=6)
    units = find_units(labels, np.arange(40) // 4)
    names = [*FURTHER_METRICS, *(RANKING_METRICS if num_classes == 2 else ())]
    drawn = resample(probs, labels, units, names=names, num_resamples=40, seed=3)
    assert sorted(drawn.metrics) == sorted(names)
    for index, times in enumerate(columns_of(draw(units, num_resamples=40, seed=3)).astype(int)):
        picked = np.repeat(np.arange(40), times)
        expected = further_metrics(probs[picked], labels[picked])
        if num_classes == 2:
            expected |= ranking_metrics(probs[picked, 1], labels[picked] == 1)
        assert {name: drawn.metrics[name][index] for name in names} == pytest.approx(expected, abs=1e-12)


def test_only_the_metrics_that_are_named_are_computed():
    probs, labels = make_case(30, 2, seed=1)
    assert list(resample(probs, labels, find_units(labels, None), names=("auc",), num_resamples=5).metrics) == ["auc"]


def delong_by_hand(scores, positive):
    """The logit interval from all pairs, with Student's quantile."""
    psi = np.sign(scores[positive][:, None] - scores[~positive]) / 2 + 0.5
    area, rows, columns = psi.mean(), psi.mean(axis=1), psi.mean(axis=0)
    variance = rows.var(ddof=1) / len(rows) + columns.var(ddof=1) / len(columns)
    reach = scipy.stats.t.ppf(0.975, len(scores) - 1) * np.sqrt(variance) / (area * (1 - area))
    return scipy.special.expit(scipy.special.logit(area) + np.array([-reach, reach]))


def test_the_interval_of_the_auc_is_delongs_on_the_logit_scale():
    probs, labels = make_case(80, 2, seed=4)
    found = auc_interval(probs, labels, find_units(labels, None))
    assert (found.low, found.high) == pytest.approx(delong_by_hand(probs[:, 1], labels == 1), abs=1e-12)
    assert found.method == "DeLong on the logit scale, 80 images"


def test_groups_of_one_image_each_change_delongs_interval_by_their_degrees_of_freedom_alone():
    probs, labels = make_case(80, 2, seed=4)
    alone = auc_interval(probs, labels, find_units(labels, np.arange(80)))
    assert (alone.low, alone.high) == pytest.approx(delong_by_hand(probs[:, 1], labels == 1), abs=1e-12)


def test_copies_in_a_group_tell_nothing_new_about_the_auc():
    probs, labels = make_case(60, 3, seed=4)
    once = auc_interval(probs, labels, find_units(labels, np.arange(60)))
    copies, groups = np.repeat(np.arange(60), 5), np.repeat(np.arange(60), 5)
    five_times = auc_interval(probs[copies], labels[copies], find_units(labels[copies], groups))
    assert (five_times.low, five_times.high) == pytest.approx((once.low, once.high), abs=1e-12)


@pytest.mark.parametrize("num_classes", [2, 3])
@pytest.mark.parametrize("grouped", [False, True])
def test_delong_and_the_bootstrap_agree_on_many_images(num_classes, grouped):
    probs, labels = make_case(900, num_classes, seed=9)
    units = find_units(labels, np.arange(900) // 3 if grouped else None)
    drawn = resample(probs, labels, units, names=("auc",), num_resamples=1000).metrics["auc"]
    resampled = interval_of(drawn, auc(probs, labels), units, labels=labels)
    found = auc_interval(probs, labels, units)
    assert (found.low, found.high) == pytest.approx((resampled.low, resampled.high), abs=0.004)


@pytest.mark.parametrize(("scores", "ends"), [("right", (True, False)), ("wrong", (False, True))])
def test_an_auc_of_one_or_zero_has_the_exact_bound_of_the_rarest_class(scores, ends):
    labels = np.array([0] * 30 + [1] * 20)
    found = auc_interval(np.eye(2)[labels if scores == "right" else 1 - labels], labels, find_units(labels, None))
    low, _ = proportion_confint(20, 20, method="beta")
    assert (found.low, found.high) == pytest.approx((low, 1) if ends[0] else (0, 1 - low), abs=1e-12)
    assert found.method == "bound for no exception: 20 images hold the rarest class"


def test_a_constant_score_and_a_single_positive_have_no_zero_width():
    for labels, probs in (
        (np.array([0] * 30 + [1] * 20), np.full((50, 2), 0.5)),
        (np.array([0] * 30 + [1]), np.column_stack([np.linspace(0, 1, 31), np.linspace(1, 0, 31)])),
    ):
        found = auc_interval(probs, labels, find_units(labels, None))
        assert found.low < auc(probs, labels) < found.high or found.low == 0


def test_an_auc_of_one_class_has_no_interval():
    assert auc_interval(np.full((5, 2), 0.5), np.zeros(5, int), find_units(np.zeros(5, int), None)) is None


def test_a_bound_stays_within_the_metrics_own_range():
    labels = np.array([0, 0, 1, 1])
    units = find_units(labels, None)
    found = interval_of(np.zeros(9), 0.0, units, labels=labels, bounds=(-1.0, 1.0))
    assert (found.low, found.high) == pytest.approx((-0.842, 0.842), abs=1e-3)  # 1 - 0.025 ** (1 / 2)
