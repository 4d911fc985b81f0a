"""The heads that teams use, their first weights and their penalty."""

import math

import pytest
import torch
from torch import nn

from fitwell.model.head import build_head, output_layer, set_prior, weight_penalty
from fitwell.recipe.schema import Head, Hidden

LOGO_HEADS = {  # the logo team's three
    "linear": (Head(dropout=0.2), ["Dropout", "Linear"]),
    "256": (
        Head(hidden=(Hidden(units=256, dropout=0.3),), dropout=0.2),
        ["Dropout", "Linear", "ReLU", "Dropout", "Linear"],
    ),
    "128": (
        Head(hidden=(Hidden(units=128, dropout=0.2, batch_norm=True),), dropout=0.1),
        ["Dropout", "Linear", "BatchNorm1d", "ReLU", "Dropout", "Linear"],
    ),
}


@pytest.mark.parametrize("name", LOGO_HEADS)
def test_a_head_has_the_layers_that_were_asked_for(name: str):
    settings, expected = LOGO_HEADS[name]
    head = build_head(settings, num_features=40, num_classes=4)
    assert [type(layer).__name__ for layer in head] == expected
    dropouts = [layer.p for layer in head if isinstance(layer, nn.Dropout)]
    assert dropouts == [*(hidden.dropout for hidden in settings.hidden), settings.dropout]
    assert head.eval()(torch.randn(3, 40)).shape == (3, 4)


def test_the_screening_head_normalises_after_each_hidden_layer():
    hidden = (Hidden(units=256, dropout=0.3, batch_norm=True), Hidden(units=128, dropout=0.3, batch_norm=True))
    head = build_head(Head(hidden=hidden, dropout=0.2, initialisation="glorot"), 64, 2)
    assert [layer.p for layer in head if isinstance(layer, nn.Dropout)] == [0.3, 0.3, 0.2]
    assert sum(isinstance(layer, nn.BatchNorm1d) for layer in head) == 2


def test_hidden_layers_begin_as_he_says_and_the_last_as_glorot_says():
    torch.manual_seed(0)
    head = build_head(Head(hidden=(Hidden(units=600),), initialisation="glorot"), 400, 200)
    hidden, last = (layer for layer in head if isinstance(layer, nn.Linear))
    assert float(hidden.weight.detach().std()) == pytest.approx(math.sqrt(2 / 400), rel=0.02)
    assert float(last.weight.detach().abs().max()) == pytest.approx(
        math.sqrt(6 / (600 + 200)), rel=0.01
    )  # uniform up to there
    assert not hidden.bias.any()
    assert not last.bias.any()


def test_at_first_all_classes_are_about_equally_likely():
    torch.manual_seed(0)
    probs = build_head(Head(), 100, 5).eval()(torch.randn(50, 100)).softmax(dim=1).detach()
    assert float((probs - 0.2).abs().max()) < 0.1


def test_a_prior_is_the_first_answer_to_every_image():
    shares = torch.tensor([0.9, 0.08, 0.02])
    head = build_head(Head(hidden=(Hidden(units=8),)), 16, 3).eval()
    set_prior(head, shares.log())
    nn.init.zeros_(output_layer(head).weight)
    torch.testing.assert_close(head(torch.randn(2, 16)).softmax(dim=1), shares.expand(2, 3))


def test_the_penalty_is_that_of_every_linear_layer_but_its_biases():
    head = build_head(Head(hidden=(Hidden(units=2, batch_norm=True),)), 3, 2)
    for layer in head:
        if isinstance(layer, nn.Linear):
            nn.init.constant_(layer.weight, 2.0)
            nn.init.constant_(layer.bias, 7.0)
    # 3 * 2 and 2 * 2 weights of 2 ** 2
    assert float(torch.as_tensor(weight_penalty(head, 5e-4)).detach()) == pytest.approx(5e-4 * 10 * 4)
    assert weight_penalty(head, 0.0) == 0.0
