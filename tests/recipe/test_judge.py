"""Rules for a threshold, read from text."""

import pytest
from pydantic import ValidationError

from fitwell.errors import RecipeError
from fitwell.recipe.judge import Judge, Rule, parse_rule
from fitwell.recipe.read import parse_recipe


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("youden", Rule()),
        ("specificity >= 0.95", Rule(demand="specificity", least=0.95)),
        ("sensitivity>=.9", Rule(demand="sensitivity", least=0.9)),
        (" precision >= 1 ", Rule(demand="precision", least=1)),
        ("costs(false_negative=5, false_positive=1)", Rule(costs=(5, 1))),
        ("costs( false_negative = 2.5 ,false_positive = 0.5 )", Rule(costs=(2.5, 0.5))),
    ],
)
def test_a_rule_is_read(text, rule):
    assert parse_rule(text) == rule


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Youden's",
        "specificity > 0.95",
        "specificity >= 95",
        "specificity >= 0",
        "recall >= 0.9",
        "costs(false_negative=5)",
        "costs(false_negative=0, false_positive=1)",
        "sensitivity >= 0.9.1",
    ],
)
def test_what_is_no_rule_is_refused_with_the_rules_there_are(text):
    with pytest.raises(ValueError, match="is no rule for a threshold; expected youden, ") as error:
        parse_rule(text)
    assert str(error.value).startswith(repr(text))
    with pytest.raises(ValidationError):
        Judge(operating_point=text)


def test_a_recipe_says_where_the_mistake_is():
    with pytest.raises(RecipeError) as error:
        parse_recipe("judge:\n  operating_point: specificity > 0.95\n", "my.yaml")
    assert "my.yaml:2" in error.value.found
    assert "judge.operating_point: 'specificity > 0.95' is no rule for a threshold" in error.value.found
    assert "costs(false_negative=5, false_positive=1)" in str(error.value)


def test_rules_need_no_quotes_in_yaml():
    for rule in ("specificity >= 0.95", "costs(false_negative=5, false_positive=1)"):
        assert parse_recipe(f"judge:\n  operating_point: {rule}\n", "my.yaml").judge.operating_point == rule
