"""What a phase may be asked for."""

from typing import Any

import pytest
from pydantic import ValidationError

from fitwell.recipe.phase import Last, Phase, Stages

PHASE: dict[str, Any] = {"name": "head", "train": "head", "epochs": 3, "learning_rate": 1e-3}


@pytest.mark.parametrize(
    "change", [{"epochs": 0}, {"learning_rate": 0}, {"train": {"last": 0}}, {"patience": 0}, {"train": "some"}]
)
def test_a_phase_needs_something_to_do(change: dict[str, Any]):
    with pytest.raises(ValidationError):
        Phase.model_validate({**PHASE, **change})


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".hidden", "a b", "x" * 65])
def test_a_phase_name_is_also_a_folder_name(name: str):
    with pytest.raises(ValidationError):
        Phase.model_validate({**PHASE, "name": name})


def test_what_trains_is_a_word_or_a_number_of_layers_or_stages():
    trains = [Phase.model_validate({**PHASE, "train": train}).train for train in ("all", {"last": 3}, {"stages": 2})]
    assert trains == ["all", Last(last=3), Stages(stages=2)]


def test_warmup_must_end_before_its_phase():
    with pytest.raises(ValidationError, match=r"warmup_epochs is 3; expected less than epochs \(3\)"):
        Phase.model_validate({**PHASE, "warmup_epochs": 3})
    with pytest.raises(ValidationError, match=r"expected less than epochs \(3\)"):
        Phase.model_validate({**PHASE, "epochs": "auto", "warmup_epochs": 4})


def test_the_heads_rate_is_a_multiple_of_the_backbones():
    assert Phase(**PHASE).head_factor == 1.0
    assert Phase(**PHASE, head_learning_rate=5e-3).head_factor == pytest.approx(5e-3 / PHASE["learning_rate"])


def test_only_a_head_can_be_searched_and_the_search_needs_no_schedule():
    assert Phase(name="head", train="head", epochs=3, learning_rate="search").learning_rate == "search"
    for changes in (
        {"train": "all"},
        {"patience": 2},
        {"warmup_epochs": 1},
        {"head_learning_rate": 1e-3},
        {"image_size": 64},
    ):
        with pytest.raises(
            ValidationError,
            match="expected train: head, and no patience, warmup_epochs, head_learning_rate or image_size",
        ):
            Phase(**{"name": "p", "train": "head", "epochs": 3, "learning_rate": "search", **changes})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schedule": "one_cycle", "warmup_epochs": 1}, "one_cycle, which has its own warmup"),
        ({"schedule": "one_cycle", "min_learning_rate": 1e-5}, "one_cycle, which has its own warmup"),
        ({"min_learning_rate": 1e-3}, r"min_learning_rate is 0.001; expected less than learning_rate \(0.001\)"),
        ({"restart_factor": 0}, "greater than or equal to 1"),
        ({"power": 0}, "greater than 0"),
    ],
)
def test_a_schedule_is_one_that_can_be_drawn(change: dict[str, Any], message: str):
    with pytest.raises(ValidationError, match=message):
        Phase.model_validate({**PHASE, **change})


@pytest.mark.parametrize(("image_size", "smaller"), [(None, False), (224, False), (160, True)])
def test_pictures_are_smaller_only_below_the_recipes_size(image_size: int | None, smaller: bool):
    assert Phase(**PHASE, image_size=image_size).sees_smaller(224) is smaller


def gradual(**changes: Any) -> Phase:
    return Phase.model_validate({**PHASE, "train": {"gradual": {"every": 2, "stages": 1}}, **changes})


@pytest.mark.parametrize(
    ("epochs", "stages", "expected"),
    [
        (7, 1, [("head", 2), (1, 2), (2, 2), (3, 1)]),
        (6, 1, [("head", 2), (1, 2), (2, 2)]),
        (12, 2, [("head", 2), (2, 2), (4, 2), (5, 6)]),  # all five stages are free, and go on
        (2, 1, [("head", 2)]),
    ],
)
def test_a_gradual_phase_frees_stage_after_stage(epochs: int, stages: int, expected: list[tuple[Any, int]]):
    steps = gradual(epochs=epochs, train={"gradual": {"every": 2, "stages": stages}}).steps(num_stages=5)
    found = [(step.train.stages if isinstance(step.train, Stages) else step.train, step.epochs) for step in steps]
    assert found == expected
    assert [step.name for step in steps] == [f"head-{number}" for number in range(1, len(steps) + 1)]


def test_only_the_first_step_warms_up_and_draws_the_head():
    steps = gradual(epochs=6, warmup_epochs=1, head="fresh").steps(num_stages=5)
    assert [(step.warmup_epochs, step.head) for step in steps] == [(1, "fresh"), (0, "kept"), (0, "kept")]


def test_the_first_step_must_outlast_the_warmup():
    with pytest.raises(ValidationError, match=r"less than train\.gradual\.every \(2\)"):
        gradual(epochs=9, warmup_epochs=2)


def test_another_phase_is_its_own_only_step():
    assert Phase(**PHASE).steps(num_stages=5) == (Phase(**PHASE),)
