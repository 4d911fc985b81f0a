import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression, Ridge

from fitwell.training.linear_paths import LinearHeads, logistic_path, principal_rows, ridge_path


def problem(num_rows=300, width=12, num_classes=3, seed=0):
    """Standardised rows of overlapping classes with unequal columns, labels and weights."""
    random = np.random.default_rng(seed)
    labels = random.integers(num_classes, size=num_rows)
    centres = random.normal(size=(num_classes, width))
    mixing = random.normal(size=(width, width)) * 2.0 ** -np.arange(width)
    rows = (centres[labels] + 2 * random.normal(size=(num_rows, width))) @ mixing
    rows = (rows - rows.mean(axis=0)) / rows.std(axis=0)
    weights = random.uniform(0.2, 2, size=num_rows)
    return rows.astype(np.float32), labels, (weights / weights.mean()).astype(np.float32)


def turned(rows, weights):
    return principal_rows(torch.from_numpy(rows), torch.from_numpy(weights))


def test_the_logits_of_many_heads_are_those_of_each():
    heads = LinearHeads(torch.tensor([[[1.0, 2.0]], [[0.0, -1.0]]]), torch.tensor([[0.5], [1.0]]))
    features = torch.tensor([[1.0, 1.0], [3.0, 0.0], [0.0, 2.0]])
    assert heads.logits(features).tolist() == [[[3.5, 3.5, 4.5]], [[0.0, 1.0, -1.0]]]


def test_principal_rows_are_uncorrelated_and_turn_back_into_the_rows():
    rows, _, weights = problem()
    found = turned(rows, weights)
    covariance = found.coordinates.T @ (found.weights[:, None] * found.coordinates) / len(rows)
    np.testing.assert_allclose(covariance, torch.diag(found.variances), atol=2e-5)
    np.testing.assert_allclose(found.coordinates @ found.axes.T + found.mean, rows, atol=1e-5)


@pytest.mark.parametrize(("num_rows", "num_classes"), [(300, 3), (9, 2)])
def test_ridge_equals_scikit_learns_for_every_alpha(num_rows, num_classes):
    rows, labels, weights = problem(num_rows=num_rows, num_classes=num_classes)
    alphas = (0.1, 3.0, 100.0)
    heads = ridge_path(turned(rows, weights), torch.from_numpy(labels), num_classes=num_classes, alphas=alphas)
    for head, alpha in enumerate(alphas):
        expected = Ridge(alpha=alpha).fit(rows.astype(float), np.eye(num_classes)[labels], sample_weight=weights)
        np.testing.assert_allclose(heads.weight[head], expected.coef_, atol=1e-4)
        np.testing.assert_allclose(heads.bias[head], expected.intercept_, atol=1e-4)


@pytest.mark.parametrize(("num_rows", "num_classes"), [(300, 3), (300, 2), (10, 3)])
def test_logistic_regression_equals_scikit_learns_for_every_cost(num_rows, num_classes):
    rows, labels, weights = problem(num_rows=num_rows, num_classes=num_classes)
    costs = (1e-3, 1e-2, 0.1, 1.0)
    heads = logistic_path(turned(rows, weights), torch.from_numpy(labels), num_classes=num_classes, costs=costs)
    probs = heads.logits(torch.from_numpy(rows)).softmax(dim=1)
    for head, cost in enumerate(costs):
        reference = LogisticRegression(C=cost, tol=1e-9, max_iter=10_000)
        expected = reference.fit(rows.astype(float), labels, sample_weight=weights).predict_proba(rows.astype(float))
        np.testing.assert_allclose(probs[head].T, expected, atol=1e-4)


def test_the_order_of_the_costs_changes_only_the_way_there():
    rows, labels, weights = problem()
    turned_rows, truth = turned(rows, weights), torch.from_numpy(labels)
    up = logistic_path(turned_rows, truth, num_classes=3, costs=(0.01, 1.0))
    down = logistic_path(turned_rows, truth, num_classes=3, costs=(1.0, 0.01))
    np.testing.assert_allclose(up.weight, down.weight.flip(0), atol=1e-3)


def several(num_rows=300):
    """The same rows, and three targets that may hold together, with a weight for each."""
    rows, _, weights = problem(num_rows=num_rows)
    random = np.random.default_rng(1)
    targets = random.random((num_rows, 3)) < 1 / (1 + np.exp(-rows[:, :3] - (0.0, -1.0, -2.0)))
    return rows, targets, weights, random.uniform(0.2, 2, size=targets.shape).astype(np.float32)


def test_ridge_of_several_classes_equals_scikit_learns():
    rows, targets, weights, _ = several()
    heads = ridge_path(turned(rows, weights), torch.from_numpy(targets), num_classes=3, alphas=(3.0,))
    expected = Ridge(alpha=3.0).fit(rows.astype(float), targets.astype(float), sample_weight=weights)
    np.testing.assert_allclose(heads.weight[0], expected.coef_, atol=1e-4)
    np.testing.assert_allclose(heads.bias[0], expected.intercept_, atol=1e-4)


@pytest.mark.parametrize("weighed", [False, True])
def test_each_of_several_classes_is_scikit_learns_logistic_regression(weighed):
    rows, targets, weights, of_classes = several()
    costs = (1e-3, 0.1, 1.0)
    heads = logistic_path(
        turned(rows, weights),
        torch.from_numpy(targets),
        num_classes=3,
        costs=costs,
        weights=torch.from_numpy(of_classes) if weighed else None,
    )
    probs = heads.logits(torch.from_numpy(rows)).sigmoid()
    for head, cost in enumerate(costs):
        for index in range(3):
            reference = LogisticRegression(C=cost, tol=1e-9, max_iter=10_000)
            reference.fit(rows.astype(float), targets[:, index], of_classes[:, index] if weighed else weights)
            expected = reference.predict_proba(rows.astype(float))[:, 1]
            np.testing.assert_allclose(probs[head, index], expected, atol=1e-4)
