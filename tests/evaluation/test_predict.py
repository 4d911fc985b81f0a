import numpy as np
import pytest
import torch
from torch import nn

from fitwell.errors import RunError
from fitwell.evaluation.predict import predict_logits, run_batches
from fitwell.model.compute import Compute
from fitwell.model.engine import in_torch


def batches_of(inputs, *parts):
    return iter([(inputs[part], np.asarray(part)) for part in parts])


def test_outputs_stand_where_their_indices_say():
    inputs = torch.arange(5.0)[:, None]
    outputs = run_batches(nn.Identity(), batches_of(inputs, [4, 0], [1, 3], [2]), 5)
    assert torch.equal(outputs, inputs)


def test_outputs_are_float32_whatever_the_precision():
    extract = in_torch(nn.Linear(3, 2), Compute(), "bfloat16")
    logits = predict_logits(extract, batches_of(torch.ones(4, 3), [0, 1, 2, 3]), 4)
    assert logits.dtype == np.float32
    assert logits.shape == (4, 2)


def test_logits_that_are_not_finite_are_refused_with_the_image():
    inputs = torch.tensor([[0.0], [torch.nan], [torch.inf]])
    with pytest.raises(RunError, match=r"2 of 3 images got logits that are not finite; first: number 1"):
        predict_logits(nn.Identity(), batches_of(inputs, [0, 1, 2]), 3)


def test_no_batches_is_a_mistake_of_the_caller():
    with pytest.raises(ValueError, match="expected at least one"):
        run_batches(nn.Identity(), iter([]), 0)
