import pytest
import torch

from fitwell.errors import UsageError
from fitwell.model.compute import Compute
from fitwell.model.network import build_network, create_backbone
from fitwell.recipe.schema import Execution, Images, Recipe
from fitwell.training import plan
from fitwell.training.plan import Candidate, plan_execution

PLAIN = Compute("cpu", "float32", "contiguous")
FASTER = Compute("cpu", "float32", "channels_last")


def network():
    torch.manual_seed(0)
    return build_network(create_backbone("test_efficientnet"), num_classes=2, dropout=0.0)


def recipe(**execution):
    return Recipe(images=Images(size=32), execution=Execution(**execution))


def test_everything_auto_is_measured_filled_and_explained():
    planned, candidates = plan_execution(network(), recipe(batch_size=8))
    execution = planned.execution
    assert execution.device in ("cpu", "cuda:0", "mps")
    assert execution.precision in ("float32", "bfloat16")
    assert execution.memory_format in ("contiguous", "channels_last")
    assert [entry.key for entry in planned.resolved] == [
        "execution.device",
        "execution.memory_format",
        "execution.precision",
        "execution.workers",
    ]
    assert [entry["memory_format"] for entry in candidates[:2]] == ["contiguous", "channels_last"]
    assert candidates[3]["precision"] == "bfloat16"
    assert all(entry["images_per_second"] > 0 for entry in candidates)
    assert candidates[0]["agreement"] == pytest.approx(1.0)
    assert "images/s" in planned.resolved[1].reason


def test_what_was_asked_for_is_neither_measured_nor_changed():
    asked = recipe(device="cpu", precision="float32", memory_format="contiguous", batch_size=8, workers=3)
    planned, candidates = plan_execution(network(), asked)
    assert planned == asked
    assert candidates == []


def test_an_absent_device_is_an_error():
    with pytest.raises(UsageError, match=r"execution\.device is cuda:99"):
        plan_execution(network(), recipe(device="cuda:99"))


@pytest.mark.parametrize(
    ("rate", "agreement", "chosen", "reason"),
    [
        (20.0, 0.9999, FASTER, "channels_last 20.0 images/s, contiguous 10.0, ratio 2.00"),
        (10.2, 1.0, PLAIN, "1.05 is needed"),
        (99.0, 0.99, PLAIN, "agree only to cosine 0.9900"),
        (99.0, float("nan"), PLAIN, "agree only to cosine nan"),
    ],
)
def test_a_candidate_must_be_clearly_faster_and_agree(rate, agreement, chosen, reason):
    pair = [Candidate(PLAIN, 10.0, 1.0), Candidate(FASTER, rate, agreement)]
    compute, why = plan._choose(pair, "memory_format")
    assert compute == chosen
    assert reason in why
