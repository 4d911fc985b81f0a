"""What the images are to be recognised as: one of several classes, which may have an order, or any number of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, Self

from pydantic import Field, model_validator

from fitwell.data.labels import SEPARATOR
from fitwell.recipe.section import Section

OF_A_TABLE = ("path", "label", "group", "split", "weight")  # columns that say something else
SINGLE_ONLY = {  # key -> values that only single classes can have, and what to write instead
    "loss.kind": (("ordinal",), "cross_entropy or focal, which judge each class by itself"),
    "select.metric": (
        ("accuracy", "balanced_accuracy", "macro_f1", "quadratic_kappa", "mean_absolute_error"),
        "auc, average_precision or log_loss, which need no threshold: those are chosen when training is over",
    ),
    "balance.sampler": (
        ("balanced", "effective_number"),
        "none, because an image drawn for one class brings its others along; class_weights balance each class",
    ),
}
MULTI_LABEL_ONLY = {"select.metric": (("average_precision",), "auc, or kind: multi_label")}


class Target(Section):
    """What the images are to be recognised as."""

    kind: Literal["single", "multi_label"] = Field(
        "single",
        description="multi_label: an image shows any number of the classes, even none, as its label a|b or columns say",
    )
    columns: tuple[str, ...] = Field(
        (), description="multi_label: all classes, each a column of 0 and 1 in the table; empty: the labels name them"
    )
    order: tuple[str, ...] = Field(
        (), description="all classes from the least to the most, such as grades of a disease; empty: they have no order"
    )

    @property
    def is_multi_label(self) -> bool:
        """Whether an image shows any number of the classes."""
        return self.kind == "multi_label"

    @model_validator(mode="after")
    def _each_class_once(self) -> Self:
        for key, names in (("order", self.order), ("columns", self.columns)):
            twice = sorted({name for name in names if names.count(name) > 1})
            if twice:
                raise ValueError(f"{key} names {twice[0]} more than once; expected every class once")
        return self

    @model_validator(mode="after")
    def _order_is_of_single_classes(self) -> Self:
        if self.order and self.is_multi_label:
            raise ValueError("order is given and kind is multi_label; expected kind: single, or no order")
        return self

    @model_validator(mode="after")
    def _columns_name_classes(self) -> Self:
        if self.columns and not self.is_multi_label:
            raise ValueError("columns are given and kind is single; expected kind: multi_label, or no columns")
        if len(self.columns) == 1:
            raise ValueError(f"columns names {self.columns[0]} alone; expected two classes, or kind: single")
        for name in self.columns:
            if name in OF_A_TABLE or SEPARATOR in name or name.strip() != name or not name:
                raise ValueError(f"columns names {name!r}; expected a class, without {SEPARATOR} and outer blanks")
        return self


def refused_setting(target: Target, chosen: Mapping[str, str]) -> str | None:
    """Return what is wrong with the first setting that makes no sense for `target`; None when all do.

    Args:
        chosen: the values of the keys in `SINGLE_ONLY`.
    """
    refused = SINGLE_ONLY if target.is_multi_label else MULTI_LABEL_ONLY
    for key, (values, instead) in refused.items():
        if chosen[key] in values:
            return f"{key} is {chosen[key]} and target.kind is {target.kind}; expected {instead}"
    return None
