"""What every part of a recipe is made of: the frozen section and the kinds of values."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ByteSize, ConfigDict, Field, WithJsonSchema

Auto = Literal["auto"]
Metric = Literal[
    "auto",
    "accuracy",
    "balanced_accuracy",
    "macro_f1",
    "auc",
    "average_precision",
    "log_loss",
    "quadratic_kappa",
    "mean_absolute_error",
]
Fraction = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]
Dropout = Annotated[float, Field(ge=0, lt=1)]
Size = Annotated[ByteSize, WithJsonSchema({"type": "string", "format": "size", "examples": ["8GB"]})]


class Section(BaseModel):
    """A part of a recipe: frozen, and unknown keys are mistakes."""

    model_config = ConfigDict(extra="forbid", frozen=True)
