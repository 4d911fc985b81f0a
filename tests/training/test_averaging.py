"""The moving average of the weights."""

import pytest
import torch
from torch import nn

from fitwell.training.averaging import WeightAverage


def network():
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.Linear(3, 2))
    module[0].requires_grad_(False)
    return module


def walk(module, average, steps):
    for _ in range(steps):
        with torch.no_grad():
            for parameter in module.parameters():
                if parameter.requires_grad:
                    parameter.add_(1.0)
            module[1].running_mean.add_(1.0)
        average.update()


def test_early_steps_count_less():
    module = network()
    average, start = WeightAverage(module, 0.5), module[2].bias.detach().clone()
    walk(module, average, 3)
    # Decays 2/11, 3/12, 4/13 while they are below 0.5; the weight is 1, 2, 3 steps from its start.
    expected = 0.0
    for number, decay in enumerate((2 / 11, 3 / 12, 4 / 13), start=1):
        expected = decay * expected + (1 - decay) * number
    with average.in_place():
        torch.testing.assert_close(module[2].bias, start + expected)


def test_after_the_warmup_it_is_torchs_own():
    module = network()
    average = WeightAverage(module, 0.05)  # below (1 + n) / (10 + n) from the first step
    reference = torch.optim.swa_utils.AveragedModel(
        module, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.05), use_buffers=True
    )
    reference.update_parameters(module)  # its first update copies
    for _ in range(4):
        walk(module, average, 1)
        reference.update_parameters(module)
    with average.in_place():
        torch.testing.assert_close(dict(module.state_dict()), dict(reference.module.state_dict()))


def test_the_weights_come_back_whatever_happens_meanwhile():
    module = network()
    average = WeightAverage(module, 0.9)
    walk(module, average, 2)
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}

    def interrupted():
        with average.in_place():
            assert not torch.equal(module[2].bias, before["2.bias"])
            raise RuntimeError("stopped")

    with pytest.raises(RuntimeError, match="stopped"):
        interrupted()
    torch.testing.assert_close(dict(module.state_dict()), before, rtol=0, atol=0)


def test_what_is_frozen_is_not_averaged_and_running_statistics_are():
    average = WeightAverage(network(), 0.9).state()["average"]
    assert set(average) == {"1.weight", "1.bias", "2.weight", "2.bias", "1.running_mean", "1.running_var"}


def test_a_resumed_average_goes_on_as_if_nothing_had_happened():
    whole, parted = network(), network()
    first, second = WeightAverage(whole, 0.9), WeightAverage(parted, 0.9)
    walk(whole, first, 5)
    walk(parted, second, 2)
    state = second.state()
    resumed = WeightAverage(parted, 0.9)
    resumed.load(state)
    walk(parted, resumed, 3)
    torch.testing.assert_close(first.state(), resumed.state(), rtol=0, atol=0)
