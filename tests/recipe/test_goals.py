import typing

import pytest
from pydantic import ValidationError

from fitwell.evaluation.class_counts import COUNTED
from fitwell.evaluation.metrics import FURTHER_METRICS, METRICS, ORDERED_METRICS
from fitwell.evaluation.multi_label import NAMING_METRICS
from fitwell.evaluation.multi_label import RANKING_METRICS as RANKING_OF_SEVERAL
from fitwell.evaluation.ranking import RANKING_METRICS
from fitwell.recipe.goals import Bounded, Targets
from fitwell.recipe.schema import Recipe


def test_a_recipe_asks_for_nothing_unless_it_says_so():
    assert Recipe().targets.is_empty()
    assert not Targets(every_class=0.8).is_empty()


def test_every_metric_with_an_interval_can_be_asked_for():
    known = {*METRICS, *ORDERED_METRICS, *FURTHER_METRICS, *RANKING_METRICS, *NAMING_METRICS, *RANKING_OF_SEVERAL}
    assert set(typing.get_args(Bounded)) == (known | set(COUNTED)) - {"log_loss"}


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"metrics": {"log_loss": 0.4}}, "log_loss"),
        ({"metrics": {"accuracy": float("nan")}}, "finite"),
        ({"every_class": 1.2}, "less than or equal to 1"),
        ({"latency_milliseconds": 0}, "greater than 0"),
        ({"weights_size": "huge"}, "byte"),
    ],
)
def test_what_cannot_be_asked_for_is_refused(asked, message):
    with pytest.raises(ValidationError, match=message):
        Targets.model_validate(asked)


def test_a_size_is_written_with_its_unit():
    assert Targets.model_validate({"weights_size": "20MB"}).weights_size == 20_000_000
