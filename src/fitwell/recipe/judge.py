"""How a finished classifier is judged, beyond its metrics: the rule by which val chooses a threshold."""

from __future__ import annotations

import re
from dataclasses import dataclass

from pydantic import Field, field_validator

from fitwell.recipe.section import Section

NUMBER = r"(\d+(?:\.\d*)?|\.\d+)"
DEMAND = re.compile(rf"(specificity|sensitivity|precision)\s*>=\s*{NUMBER}")
COSTS = re.compile(rf"costs\(\s*false_negative\s*=\s*{NUMBER}\s*,\s*false_positive\s*=\s*{NUMBER}\s*\)")
EXPECTED = (
    'youden, "specificity >= 0.95", "sensitivity >= 0.9", "precision >= 0.9" with a share above 0 and at most 1, or '
    '"costs(false_negative=5, false_positive=1)" with numbers above 0'
)


@dataclass(frozen=True)
class Rule:
    """How a threshold is chosen; with neither demand nor costs, by Youden's index, sensitivity + specificity - 1.

    Attributes:
        demand: what must reach the share `least`: specificity, sensitivity or precision.
        costs: of a false negative and of a false positive, in the same unit.
    """

    demand: str | None = None
    least: float = 0.0
    costs: tuple[float, float] | None = None


def parse_rule(text: str) -> Rule:
    """Return the rule that `text` says.

    Raises:
        ValueError: when it says none; the message names what was expected.
    """
    written = text.strip()
    if written == "youden":
        return Rule()
    demand, costs = DEMAND.fullmatch(written), COSTS.fullmatch(written)
    if demand and 0 < float(demand[2]) <= 1:
        return Rule(demand=demand[1], least=float(demand[2]))
    if costs and float(costs[1]) > 0 and float(costs[2]) > 0:
        return Rule(costs=(float(costs[1]), float(costs[2])))
    raise ValueError(f"{text!r} is no rule for a threshold; expected {EXPECTED}")


class Judge(Section):
    """What val chooses for whoever uses the classifier of two classes; metrics and probabilities stay as they are."""

    operating_point: str = Field(
        "youden",
        description="rule for the threshold: youden, 'specificity >= 0.95' (or sensitivity, precision), or "
        "'costs(false_negative=5, false_positive=1)'",
    )
    positive: str | None = Field(
        None, description="the one of two classes that is looked for; null: the second one by name"
    )

    @field_validator("operating_point")
    @classmethod
    def _is_a_rule(cls, text: str) -> str:
        parse_rule(text)
        return text
