"""What a finished classifier is to reach: bounds on its metrics, on every class, on time, memory and disk."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from fitwell.recipe.section import Fraction, Positive, Section, Size

Bounded = Literal[  # every metric of evaluations that has an interval: without one, nothing could be decided
    "accuracy",
    "balanced_accuracy",
    "macro_f1",
    "auc",
    "quadratic_kappa",
    "mean_absolute_error",
    "macro_precision",
    "weighted_precision",
    "weighted_f1",
    "matthews_correlation",
    "cohen_kappa",
    "brier_score",
    "average_precision",
    "partial_auc",
    "sensitivity_at_95_specificity",
    "micro_f1",
    "exact_match",
    "hamming_loss",
]


class Targets(Section):
    """What is to be reached; of the images that were judged, test first of all."""

    metrics: dict[Bounded, Annotated[float, Field(allow_inf_nan=False)]] = Field(
        {}, description="at least so much of each, such as {accuracy: 0.85}; of errors and losses at most"
    )
    every_class: Fraction | None = Field(None, description="recall of every class, at least")
    latency_milliseconds: Positive | None = Field(None, description="median for one picture, once it is decoded")
    weights_size: Size | None = Field(None, description="of the weights on disk, at most, such as 20MB")
    memory: Size | None = Field(None, description="of a process that loads it and names one picture, at most")

    def is_empty(self) -> bool:
        """Return whether nothing is asked for."""
        return self == Targets()
