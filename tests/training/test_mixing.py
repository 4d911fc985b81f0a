import numpy as np
import pytest
import torch

from fitwell.training.mixing import Mix, draw_mix


def drawn(step, alpha=0.4, batch_size=6, seed=3):
    return draw_mix(alpha, batch_size, seed=seed, step=step, device="cpu")


def test_without_alpha_nothing_is_blended():
    assert drawn(0, alpha=0.0) is None


def test_a_blend_is_the_hand_worked_mean_of_each_image_and_its_partner():
    values = torch.tensor([[0.0, 8.0], [4.0, 0.0], [8.0, 4.0]])
    blended = Mix(0.75, torch.tensor([1, 2, 0])).blend(values)
    assert blended.tolist() == [[1.0, 6.0], [5.0, 1.0], [6.0, 5.0]]


def test_the_step_and_the_seed_alone_decide_the_blend():
    torch.manual_seed(0)
    first = drawn(5)
    torch.manual_seed(1)
    assert drawn(5).share == first.share
    assert drawn(5).partners.equal(first.partners)
    assert drawn(6).share != first.share
    assert drawn(5, seed=4).share != first.share
    assert sorted(first.partners.tolist()) == list(range(6))


def test_shares_are_the_larger_ones_of_the_beta_distribution():
    shares = np.array([drawn(step, alpha=0.4).share for step in range(2000)])
    reference = np.random.default_rng(0).beta(0.4, 0.4, 200_000)
    expected = np.maximum(reference, 1 - reference)
    assert shares.min() >= 0.5
    assert shares.mean() == pytest.approx(expected.mean(), abs=0.01)
    assert np.quantile(shares, [0.1, 0.5]) == pytest.approx(np.quantile(expected, [0.1, 0.5]), abs=0.03)
