import math

import numpy as np
import pytest
import torch

from fitwell.recipe.schema import Augment
from fitwell.training.mixing import Mix, draw_mix, mix_examples

MIXUP, CUTMIX, BOTH = Augment(mixup=0.4), Augment(cutmix=1.0), Augment(mixup=0.4, cutmix=1.0)
PICTURES = torch.rand(6, 3, 20, 30)


def drawn(step, settings=MIXUP, values=PICTURES, seed=3):
    return draw_mix(settings, values, seed=seed, step=step)


def test_without_alpha_nothing_is_blended():
    assert drawn(0, Augment()) is None


def test_a_blend_is_the_hand_worked_mean_of_each_image_and_its_partner():
    values = torch.tensor([[0.0, 8.0], [4.0, 0.0], [8.0, 4.0]])
    blended = Mix(0.75, torch.tensor([1, 2, 0])).blend(values)
    assert blended.tolist() == [[1.0, 6.0], [5.0, 1.0], [6.0, 5.0]]


def test_cutmix_takes_the_box_from_the_partner_and_leaves_the_rest():
    values = torch.stack([torch.zeros(1, 3, 4), torch.ones(1, 3, 4)]).to(memory_format=torch.channels_last)
    joined = Mix(0.5, torch.tensor([1, 0]), (1, 3, 0, 3)).blend(values)
    assert joined[0, 0].tolist() == [[0, 0, 0, 0], [1, 1, 1, 0], [1, 1, 1, 0]]
    assert torch.equal(joined[1], 1 - joined[0])
    assert values[0].sum() == 0
    assert joined.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("settings", [MIXUP, CUTMIX])
def test_the_step_and_the_seed_alone_decide_the_blend(settings):
    torch.manual_seed(0)
    first = drawn(5, settings)
    torch.manual_seed(1)
    assert (drawn(5, settings).share, drawn(5, settings).box) == (first.share, first.box)
    assert drawn(5, settings).partners.equal(first.partners)
    assert drawn(6, settings).share != first.share
    assert drawn(5, settings, seed=4).share != first.share
    assert sorted(first.partners.tolist()) == list(range(6))


def test_shares_are_the_larger_ones_of_the_beta_distribution():
    shares = np.array([drawn(step).share for step in range(2000)])
    reference = np.random.default_rng(0).beta(0.4, 0.4, 200_000)
    expected = np.maximum(reference, 1 - reference)
    assert shares.min() >= 0.5
    assert shares.mean() == pytest.approx(expected.mean(), abs=0.01)
    assert np.quantile(shares, [0.1, 0.5]) == pytest.approx(np.quantile(expected, [0.1, 0.5]), abs=0.03)


def test_cutmix_is_shared_by_the_area_that_it_leaves():
    for step in range(50):
        mix = drawn(step, CUTMIX)
        top, bottom, left, right = mix.box
        assert 0 <= top <= bottom <= 20
        assert 0 <= left <= right <= 30
        covered = mix.blend(torch.eye(6)[:, :, None, None].expand(6, 6, 20, 30).contiguous())
        own = torch.stack([covered[image, image].mean() for image in range(6) if mix.partners[image] != image])
        torch.testing.assert_close(own, torch.full_like(own, mix.share))


def test_cutmix_boxes_are_those_of_the_paper_before_the_rim_cuts_them():
    # r_w = W sqrt(1 - lambda), r_h = H sqrt(1 - lambda) about a place drawn evenly: what is drawn for a share of
    # 0.75 covers half of each side, 10 and 15 pixels, or what the rim leaves of it.
    rng = np.random.default_rng(0)
    from fitwell.training.mixing import _draw_side

    sides = [_draw_side(20, 0.75, rng) for _ in range(500)]
    lengths = [end - start for start, end in sides]
    assert max(lengths) == 20 * math.sqrt(0.25)
    assert min(lengths) == 5
    assert np.mean([length == 10 for length in lengths]) == pytest.approx(11 / 20, abs=0.07)


def test_pooled_features_are_blended_by_the_share_that_a_cut_would_have():
    mix = drawn(1, CUTMIX, values=torch.rand(6, 8))
    assert mix.box is None
    assert 0 <= mix.share <= 1


def test_with_both_each_batch_takes_one_of_them():
    kinds = [drawn(step, BOTH).box is None for step in range(200)]
    assert np.mean(kinds) == pytest.approx(0.5, abs=0.12)


def test_examples_are_each_image_as_a_step_of_its_own_would_join_it():
    examples = mix_examples(BOTH, PICTURES, seed=3)
    for number, example in enumerate(examples):
        assert torch.equal(example, drawn(number, BOTH).blend(PICTURES)[number])
    assert mix_examples(Augment(), PICTURES, seed=3) is None
