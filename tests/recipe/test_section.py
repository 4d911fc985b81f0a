"""The parts of a recipe are frozen and know their keys."""

import pytest
from pydantic import TypeAdapter, ValidationError

from fitwell.recipe.section import NotNegative, Positive, Section, Size


class Part(Section):
    value: int = 1


def test_a_part_cannot_be_changed():
    with pytest.raises(ValidationError, match="frozen"):
        Part().value = 2  # type: ignore[misc]


def test_a_part_refuses_keys_that_it_does_not_know():
    with pytest.raises(ValidationError, match="Extra inputs"):
        Part.model_validate({"valeu": 2})


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1.0])
def test_numbers_are_finite_and_not_negative(value: float):
    for kind in (Positive, NotNegative):
        with pytest.raises(ValidationError):
            TypeAdapter(kind).validate_python(value)


def test_a_size_carries_a_unit():
    assert TypeAdapter(Size).validate_python("2GiB") == 2**31
