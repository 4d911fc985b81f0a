"""What a run said about its test images, one class each or any number: how good that is, also in resamples."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fitwell.data.labels import join_names
from fitwell.evaluation.evaluate_label_sets import name_classes
from fitwell.evaluation.intervals import Codes, Floats, Units, resample
from fitwell.evaluation.metrics import Probs, all_metrics, bounds_of
from fitwell.evaluation.multi_label import Targets, naming_metrics, ranking_metrics
from fitwell.evaluation.multi_label_intervals import resample_label_sets, strata_of

FEWEST_FOR_DELONG = 2  # images of each class: a variance needs two


@dataclass(frozen=True)
class SingleClasses:
    """One class for each image.

    Attributes:
        probs: (N, C). labels: (N,). ordered: whether the classes go from less to more.
    """

    probs: Probs
    labels: Codes
    ordered: bool
    metric_of_right = "accuracy"

    @property
    def strata(self) -> Codes:
        """The class (N,) of each image, within which resamples are drawn."""
        return self.labels

    @property
    def right(self) -> NDArray[np.bool_]:
        """Whether each image (N,) was given its class."""
        return np.asarray(self.probs.argmax(axis=1) == self.labels)

    @property
    def ranking(self) -> tuple[Floats, NDArray[np.bool_]] | None:
        """Of two classes the scores (N,) and which images are of the second; None where DeLong's test has no use."""
        positive: NDArray[np.bool_] = self.labels == 1
        if self.probs.shape[1] != 2 or min(positive.sum(), (~positive).sum()) < FEWEST_FOR_DELONG:
            return None
        return self.probs[:, 1].astype(np.float64), positive

    def names(self, classes: tuple[str, ...]) -> list[str]:
        """Return the class that each image was given."""
        return [classes[index] for index in self.probs.argmax(axis=1)]

    def metrics(self) -> dict[str, float | None]:
        """Return every metric."""
        return all_metrics(self.probs, self.labels, ordered=self.ordered)

    def resampled(self, units: Units) -> dict[str, Floats]:
        """Return (B,) of each metric in resamples that are the same for all runs on these images."""
        return resample(self.probs, self.labels, units, names=self.metrics().keys() - {"log_loss"}).metrics

    def bounds(self, metric: str) -> tuple[float, float]:
        """Return the least and the largest value of a metric."""
        return bounds_of(metric, self.probs.shape[1])


@dataclass(frozen=True)
class ClassSets:
    """Any number of classes for each image.

    Attributes:
        probs: (N, C). targets: (N, C) what each image shows. named: (N, C) what it was given, by the run's thresholds.
    """

    probs: Probs
    targets: Targets
    named: Targets
    metric_of_right = "exact_match"
    ranking = None

    @property
    def strata(self) -> Codes:
        """The rarest class (N,) of each image, within which resamples are drawn."""
        return strata_of(self.targets)

    @property
    def right(self) -> NDArray[np.bool_]:
        """Whether each image (N,) was given all that it shows and nothing else."""
        return np.asarray((self.named == self.targets).all(axis=1))

    def names(self, classes: tuple[str, ...]) -> list[str]:
        """Return the classes that each image was given, joined."""
        return [join_names(names) for names in name_classes(self.named, classes)]

    def metrics(self) -> dict[str, float | None]:
        """Return every metric."""
        return ranking_metrics(self.probs, self.targets) | naming_metrics(self.named, self.targets)

    def resampled(self, units: Units) -> dict[str, Floats]:
        """Return (B,) of each metric in resamples that are the same for all runs on these images."""
        return resample_label_sets(self.probs, self.targets, self.named, units).metrics

    def bounds(self, metric: str) -> tuple[float, float]:
        """Return the least and the largest value of a metric."""
        return 0.0, 1.0


Answers = SingleClasses | ClassSets
