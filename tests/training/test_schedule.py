"""Every schedule, step by step, beside torch's own or numbers worked by hand."""

import math
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch.optim import lr_scheduler

from fitwell.recipe.phase import Phase
from fitwell.recipe.read import read_recipe
from fitwell.training.schedule import Schedule, planned_rates, schedule_of


def rates(steps: int | None = None, **settings):
    schedule = Schedule(**settings)
    return [schedule.learning_rate(step) for step in range(steps or settings["num_ticks"])]


def torchs(build: Callable[[torch.optim.Optimizer], lr_scheduler.LRScheduler], steps: int, peak: float) -> list[float]:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=peak)
    reference, expected = build(optimizer), []
    for _ in range(steps):
        expected.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # one cycle complains of the step after its last
            reference.step() if len(expected) < steps else None
    return expected


def test_warmup_reaches_the_peak_in_equal_parts():
    # The plants team's five warmup epochs: 2e-4, 4e-4, 6e-4, 8e-4, 1e-3.
    warm = rates(kind="constant", peak=1e-3, num_ticks=7, warmup_ticks=5)
    assert warm == pytest.approx([2e-4, 4e-4, 6e-4, 8e-4, 1e-3, 1e-3, 1e-3])


def test_a_rate_that_changes_with_the_epoch_stays_all_its_steps():
    phase = Phase(
        name="head",
        train="head",
        epochs=7,
        learning_rate=1e-3,
        warmup_epochs=5,
        schedule="constant",
        rate_changes="epoch",
    )
    schedule = schedule_of(phase, steps_per_epoch=3)
    found = [schedule.learning_rate(step) for step in range(21)]
    assert found == pytest.approx([rate for rate in (2e-4, 4e-4, 6e-4, 8e-4, 1e-3, 1e-3, 1e-3) for _ in range(3)])


def planned(name: str, folder: Path, steps_per_epoch: int) -> list[list[float]]:
    """The rate of every step of every phase of a built-in recipe."""
    phases = read_recipe(name, environment={}, folder=folder)[0].phases
    schedules = [schedule_of(phase, steps_per_epoch) for phase in phases]
    counts = [int(phase.epochs) * steps_per_epoch for phase in phases]
    return [[each.learning_rate(step) for step in range(n)] for each, n in zip(schedules, counts, strict=True)]


@pytest.mark.parametrize(
    ("name", "epochs", "rate"),
    [
        ("vgg19", (40, 20), 1e-4),
        ("resnet50", (35, 15), 5e-5),
        ("densenet121", (35, 15), 5e-5),
        ("mobilenet", (30, 10), 5e-5),
    ],
)
def test_the_plants_recipes_take_the_teams_rates_from_the_first_step_to_the_last(
    tmp_path: Path, name: str, epochs: tuple[int, int], rate: float
):
    head, tune = planned(f"plants-{name}", tmp_path, 3)
    of_epochs = [2e-4, 4e-4, 6e-4, 8e-4, 1e-3] + [1e-3] * (epochs[0] - 5)
    assert head == pytest.approx([each for each in of_epochs for _ in range(3)])
    assert tune == pytest.approx([rate] * 3 * epochs[1])  # where no plateau comes


def test_the_screening_recipe_warms_up_for_two_epochs_as_torchs_linear_rate(tmp_path: Path):
    head, tune = planned("glaucoma-screening", tmp_path, 4)
    expected = torchs(lambda optimizer: lr_scheduler.LinearLR(optimizer, 1 / 8, total_iters=7), 20, 1e-4)
    assert head == pytest.approx(expected)
    assert tune == pytest.approx([1e-5] * 40)


@pytest.mark.parametrize("net", ["mobilenet", "squeezenet", "resnet"])
def test_the_rear_view_recipes_restart_as_torchs_stepped_per_batch(tmp_path: Path, net: str):
    (found,) = planned(f"rear-view-{net}", tmp_path, 4)
    expected = torchs(
        lambda optimizer: lr_scheduler.CosineAnnealingWarmRestarts(optimizer, T_0=40, T_mult=2, eta_min=1e-6), 400, 1e-3
    )
    assert found == pytest.approx(expected)
    assert [step // 4 + 1 for step in range(400) if found[step] == 1e-3] == [1, 11, 31, 71]


def test_a_cosine_warmup_rises_slowly_at_both_ends():
    warm = rates(kind="constant", peak=2.0, num_ticks=4, warmup=("cosine"), warmup_ticks=4)
    assert warm == pytest.approx([1 - math.cos(math.pi / 4), 1.0, 1 + math.cos(math.pi / 4), 2.0])


def test_cosine_equals_torchs_cosine_annealing():
    expected = torchs(lambda optimizer: lr_scheduler.CosineAnnealingLR(optimizer, T_max=20, eta_min=0.01), 20, 0.3)
    assert rates(kind="cosine", peak=0.3, num_ticks=20, floor=0.01) == pytest.approx(expected)


def test_cosine_begins_at_the_peak_after_warmup():
    schedule = Schedule(kind="cosine", peak=1.0, num_ticks=30, warmup_ticks=10)
    assert schedule.learning_rate(9) == schedule.learning_rate(10) == 1.0
    assert schedule.learning_rate(20) == pytest.approx(0.5)


@pytest.mark.parametrize("factor", [1, 2, 3])
def test_warm_restarts_equal_torchs(factor: int):
    # The rear-view team's: first cosine of 10 epochs, each twice as long as the last, down to 1e-6, a batch at a time.
    steps_per_epoch = 4
    phase = Phase(
        name="all",
        train="all",
        epochs=100,
        learning_rate=1e-3,
        schedule="warm_restarts",
        restart_epochs=10,
        restart_factor=factor,
        min_learning_rate=1e-6,
    )
    schedule = schedule_of(phase, steps_per_epoch)
    expected = torchs(
        lambda optimizer: lr_scheduler.CosineAnnealingWarmRestarts(
            optimizer, T_0=10 * steps_per_epoch, T_mult=factor, eta_min=1e-6
        ),
        400,
        1e-3,
    )
    assert [schedule.learning_rate(step) for step in range(400)] == pytest.approx(expected)


def test_warm_restarts_begin_anew_at_the_epochs_that_the_team_watches():
    schedule = Schedule(kind="warm_restarts", peak=1.0, num_ticks=100, restart_ticks=10, restart_factor=2)
    at_peak = [tick + 1 for tick in range(100) if schedule.learning_rate(tick) == 1.0]
    assert at_peak == [1, 11, 31, 71]


@pytest.mark.parametrize("steps", [5, 20, 97])
def test_one_cycle_equals_torchs(steps: int):
    expected = torchs(lambda optimizer: lr_scheduler.OneCycleLR(optimizer, max_lr=0.2, total_steps=steps), steps, 0.2)
    assert rates(kind="one_cycle", peak=0.2, num_ticks=steps) == pytest.approx(expected)


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_one_cycle_of_a_few_steps_stays_between_its_end_and_its_peak(steps: int):
    assert all(0 < rate <= 0.2 for rate in rates(kind="one_cycle", peak=0.2, num_ticks=steps))


@pytest.mark.parametrize("power", [1.0, 2.0])
def test_polynomial_equals_torchs(power: float):
    expected = torchs(lambda optimizer: lr_scheduler.PolynomialLR(optimizer, total_iters=12, power=power), 12, 0.5)
    assert rates(kind="polynomial", peak=0.5, num_ticks=12, power=power) == pytest.approx(expected)


def test_polynomial_ends_at_its_floor():
    assert rates(kind="polynomial", peak=1.0, num_ticks=4, floor=0.2) == pytest.approx([1.0, 0.8, 0.6, 0.4])


def test_a_plateau_scales_the_rate_but_not_the_warmup():
    schedule = Schedule(kind="plateau", peak=1.0, num_ticks=30, warmup_ticks=2)
    assert schedule.learning_rate(0, plateau_scale=0.25) == 0.5
    assert schedule.learning_rate(5, plateau_scale=0.25) == 0.25


def test_a_plateau_goes_no_lower_than_its_floor():
    assert Schedule(kind="plateau", peak=1.0, num_ticks=9, floor=0.1).learning_rate(5, plateau_scale=0.01) == 0.1


def test_the_picture_of_a_plan_has_its_rates_from_the_first_step_to_the_last(tmp_path: Path):
    (phase,) = read_recipe("rear-view-resnet", environment={}, folder=tmp_path)[0].phases
    (every,) = planned("rear-view-resnet", tmp_path, 4)
    assert planned_rates(phase, 4, 400) == every
    assert planned_rates(phase, 4, 3) == [every[0], every[200], every[399]]  # step 199.5 is the even one


def test_no_rate_is_planned_where_heads_are_searched(tmp_path: Path):
    head, tune = read_recipe("auto", environment={}, folder=tmp_path)[0].phases
    assert planned_rates(head, 4, 5) == []
    assert len(planned_rates(tune.model_copy(update={"epochs": 3}), 4, 5)) == 5
