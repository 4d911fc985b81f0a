import pytest
import torch

from fitwell.training.schedule import Schedule


def rates(**settings):
    schedule = Schedule(**settings)
    return [schedule.learning_rate(step) for step in range(settings["num_steps"])]


def test_warmup_reaches_the_peak_in_equal_parts():
    # The plants team's five warmup epochs: 2e-4, 4e-4, 6e-4, 8e-4, 1e-3.
    warm = rates(kind="constant", peak=1e-3, num_steps=7, warmup_steps=5)
    assert warm == pytest.approx([2e-4, 4e-4, 6e-4, 8e-4, 1e-3, 1e-3, 1e-3])


def test_cosine_equals_torchs_cosine_annealing():
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.3)
    reference = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=20)
    expected = []
    for _ in range(20):
        expected.append(reference.get_last_lr()[0])
        optimizer.step()
        reference.step()
    assert rates(kind="cosine", peak=0.3, num_steps=20, warmup_steps=0) == pytest.approx(expected)


def test_cosine_begins_at_the_peak_after_warmup():
    schedule = Schedule(kind="cosine", peak=1.0, num_steps=30, warmup_steps=10)
    assert schedule.learning_rate(9) == schedule.learning_rate(10) == 1.0
    assert schedule.learning_rate(20) == pytest.approx(0.5)


def test_a_plateau_scales_the_rate_but_not_the_warmup():
    schedule = Schedule(kind="plateau", peak=1.0, num_steps=30, warmup_steps=2)
    assert schedule.learning_rate(0, plateau_scale=0.25) == 0.5
    assert schedule.learning_rate(5, plateau_scale=0.25) == 0.25
