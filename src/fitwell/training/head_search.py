"""The best linear heads on frozen features: many trained at once, many solved for, all judged on val.

Ridge and logistic regression (linear_paths.py) compete with the trained heads (head_stack.py) by the same val metric.
Features are standardised for the search, and the scale is folded into the heads at its end.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import product
from typing import Any

import torch
from torch import Tensor

from fitwell.errors import RunError
from fitwell.evaluation.metrics import higher_is_better
from fitwell.training.head_metrics import metric_of_heads
from fitwell.training.head_stack import HeadData, HeadSetting, loss_weights, train_heads
from fitwell.training.linear_paths import LinearHeads, logistic_path, principal_rows, ridge_path

NUM_AVERAGED = 20  # against the best alone, over 5 grouped folds: elpv 1.3 points more on test, emoji 0.2
RIDGE_ALPHAS = tuple(10.0**power for power in range(7))
LOGISTIC_COSTS = tuple(10.0 ** (power / 2) for power in range(-8, -1))  # 0.0001 to 0.1
SHARPNESSES = tuple(2.0 ** (power / 2) for power in range(-2, 13))  # factors that make logits of ridge scores


@dataclass(frozen=True, kw_only=True)
class PathSetting:
    """How one head is solved for: `strength` is ridge's alpha or logistic regression's cost C."""

    kind: str  # ridge | logistic
    strength: float
    balanced: bool


Setting = HeadSetting | PathSetting


@dataclass(frozen=True, kw_only=True)
class HeadSearchResult:
    """All heads at their best epoch, the best head first; of equals the earlier.

    Attributes:
        heads: P heads for features as they came, without those that never had a val value.
        table: in the same order for every head its setting, "epoch" (from 1; 0 for a head that was solved for) and
            "val_value"; heads that never had one come last, with None.
    """

    heads: LinearHeads
    table: list[dict[str, Any]]

    def mean(self, count: int = NUM_AVERAGED) -> tuple[Tensor, Tensor]:
        """Return weight (C, D) and bias (C,) of one head that gives the mean logits of the best `count` heads.

        The very best of so many owes much to luck on val; the mean of the best twenty owes less.
        Source: model soups, Wortsman et al. 2022, arXiv:2203.05482; for linear heads the mean is exact.
        """
        return self.heads.weight[:count].mean(dim=0), self.heads.bias[:count].mean(dim=0)


def default_settings() -> tuple[HeadSetting, ...]:
    """Return 48 settings: four rates, three decays, two smoothings, with and without balanced classes."""
    return tuple(
        HeadSetting(learning_rate=rate, weight_decay=decay, label_smoothing=smoothing, balanced=balanced)
        for rate, decay, smoothing, balanced in product(
            (1e-4, 3e-4, 1e-3, 3e-3), (0.1, 1.0, 10.0), (0.0, 0.1), (False, True)
        )
    )


def search_heads(
    data: HeadData,
    settings: Sequence[HeadSetting],
    *,
    epochs: int,
    batch_size: int,
    metric: str,
    seed: int,
    on_epoch: Callable[[int, float | None], None],
) -> HeadSearchResult:
    """Return the heads of all `settings`, and of the paths of ridge and logistic regression, best first.

    The paths run with and without balanced classes as `settings` do. Takes 4 bytes times K * N * D for the
    standardised features, and three times that while the paths are solved.

    Args:
        metric: the val metric that chooses the epoch of each head and orders the heads.
        seed: of the shuffles; nothing else is random.
        on_epoch: called with the epochs done and the best val value so far; may raise to stop.

    Raises:
        RunError: when no head has a val value.
    """
    data, mean, std = _standardised(data)
    contest = _Contest(metric, data)
    for balanced in sorted({setting.balanced for setting in settings}):
        contest.enter_paths(balanced)
    for epoch, heads in enumerate(train_heads(data, settings, epochs=epochs, batch_size=batch_size, seed=seed), 1):
        contest.enter(settings, heads, epoch)
        ranking = contest.ranking()
        on_epoch(epoch, ranking[0][1].value if ranking else None)
    return contest.result(mean, std)


def solve_heads(data: HeadData, *, balanced: bool, metric: str) -> HeadSearchResult:
    """Return the heads of ridge and logistic regression alone, best first by the val `metric`; nothing is trained.

    Raises:
        RunError: when no head has a val value.
    """
    data, mean, std = _standardised(data)
    contest = _Contest(metric, data)
    contest.enter_paths(balanced)
    return contest.result(mean, std)


@dataclass(frozen=True)
class _Best:
    """One head where it was best."""

    epoch: int
    value: float
    weight: Tensor
    bias: Tensor


class _Contest:
    """The heads so far, each where it was best."""

    def __init__(self, metric: str, data: HeadData) -> None:
        self.metric, self.data = metric, data
        self.sign = 1.0 if higher_is_better(metric) else -1.0
        self.best: dict[Setting, _Best | None] = {}

    def enter(self, settings: Sequence[Setting], heads: LinearHeads, epoch: int) -> None:
        """Judge one head for each setting; one without a value, which is NaN, is never best."""
        values = metric_of_heads(self.metric, heads.logits(self.data.val_features), self.data.val_labels)
        for head, (setting, value) in enumerate(zip(settings, values.tolist(), strict=True)):
            before = self.best.setdefault(setting, None)
            if not math.isnan(value) and (before is None or self.sign * value > self.sign * before.value):
                self.best[setting] = _Best(epoch, value, heads.weight[head].clone(), heads.bias[head].clone())

    def enter_paths(self, balanced: bool) -> None:
        """Judge the heads of ridge and logistic regression.

        Ridge regression has one weight for all classes of an image: balanced, of several classes, it is left out.
        """
        data, num_views = self.data, len(self.data.train_views)
        labels, weights = (
            torch.cat([each] * num_views) for each in (data.train_labels, loss_weights(data, balanced))
        )  # (K * N,) or (K * N, C)
        of_images = data.image_weights.float()
        of_rows = weights if weights.ndim == 1 else torch.cat([of_images / of_images.mean()] * num_views)
        rows, num_classes = principal_rows(torch.cat(list(data.train_views)), of_rows), data.num_classes
        # Views are no new images: the more rows, the more alpha and the less cost keep the same head.
        if labels.ndim == 1 or not balanced:
            ridge = ridge_path(rows, labels, num_classes=num_classes, alphas=[num_views * a for a in RIDGE_ALPHAS])
            self.enter(_path_settings("ridge", RIDGE_ALPHAS, balanced), self._sharpened(ridge), 0)
        logistic = logistic_path(
            rows,
            labels,
            num_classes=num_classes,
            costs=[c / num_views for c in LOGISTIC_COSTS],
            weights=weights if weights.ndim == 2 else None,
        )
        self.enter(_path_settings("logistic", LOGISTIC_COSTS, balanced), logistic, 0)

    def ranking(self) -> list[tuple[Setting, _Best]]:
        """Return the heads that have a value, the best first; of equals the earlier."""
        judged = [(setting, best) for setting, best in self.best.items() if best]
        return sorted(judged, key=lambda entry: (-self.sign * entry[1].value, entry[1].epoch))

    def result(self, mean: Tensor, std: Tensor) -> HeadSearchResult:
        """Return the heads for features before they were standardised."""
        ranking = self.ranking()
        if not ranking:
            raise RunError(
                found=f"none of {len(self.best)} heads has a val {self.metric}.",
                expected="finite features, and val images of every class where the metric needs them.",
                fix="choose by another metric: --select.metric log_loss",
            )
        weight = torch.stack([best.weight for _, best in ranking]) / std  # (P, C, D)
        bias = torch.stack([best.bias for _, best in ranking]) - weight @ mean
        table = [{**asdict(setting), "epoch": best.epoch, "val_value": best.value} for setting, best in ranking]
        table += [{**asdict(each), "epoch": None, "val_value": None} for each, best in self.best.items() if not best]
        return HeadSearchResult(heads=LinearHeads(weight, bias), table=table)

    def _sharpened(self, heads: LinearHeads) -> LinearHeads:
        """Return ridge `heads`, whose scores are no logits, each times the factor with the least val log loss.

        Of several classes an image, a score of one half becomes a logit of 0.
        """
        if self.data.val_labels.ndim == 2:
            heads = LinearHeads(heads.weight, heads.bias - 0.5)
        logits = heads.logits(self.data.val_features)
        losses = [metric_of_heads("log_loss", logits * factor, self.data.val_labels) for factor in SHARPNESSES]
        factors = logits.new_tensor(SHARPNESSES)[torch.stack(losses).argmin(dim=0)]  # (P,)
        return LinearHeads(heads.weight * factors[:, None, None], heads.bias * factors[:, None])


def _path_settings(kind: str, strengths: Sequence[float], balanced: bool) -> list[Setting]:
    return [PathSetting(kind=kind, strength=strength, balanced=balanced) for strength in strengths]


def _standardised(data: HeadData) -> tuple[HeadData, Tensor, Tensor]:
    """Return the data with mean 0 and deviation 1 over all views, and the mean and deviation (D,) it had."""
    rows = torch.cat([view.float() for view in data.train_views])  # (K * N, D)
    mean, std = rows.mean(dim=0), rows.std(dim=0, correction=0)
    std = torch.where(std > 0, std, 1.0)  # a feature that never varies stays 0
    views = rows.sub_(mean).div_(std).view(len(data.train_views), *data.train_views[0].shape).unbind()
    return replace(data, train_views=views, val_features=(data.val_features.float() - mean) / std), mean, std
