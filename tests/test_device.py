"""Which device computes, and why."""

import pytest

from fitwell.device import Accelerators, choose_device, find_accelerators
from fitwell.errors import UsageError

NONE = Accelerators()
TWO = Accelerators(cuda=("First card", "Second card"))
APPLE = Accelerators(mps=True)


@pytest.mark.parametrize(
    ("asked", "present", "device", "reason"),
    [
        ("auto", NONE, "cpu", "no accelerator is present"),
        ("auto", TWO, "cuda:0", "a CUDA device is present (First card)"),
        ("auto", APPLE, "mps", "Apple's MPS is present"),
        ("cpu", TWO, "cpu", "it was asked for"),
        ("cuda", TWO, "cuda:0", "it was asked for (First card)"),
        ("cuda:1", TWO, "cuda:1", "it was asked for (Second card)"),
        ("mps", APPLE, "mps", "it was asked for"),
    ],
)
def test_the_device_and_its_reason(asked: str, present: Accelerators, device: str, reason: str):
    assert choose_device(asked, present) == (device, reason)


@pytest.mark.parametrize(
    ("asked", "present", "offered"),
    [
        ("cuda", NONE, "offers cpu."),
        ("cuda:2", TWO, r"offers cpu, cuda:0 \(First card\), cuda:1 \(Second card\)\."),
        ("mps", TWO, "offers cpu, cuda:0"),
        ("cuda:0", APPLE, "offers cpu, mps"),
    ],
)
def test_an_absent_device_is_an_error_and_never_a_fallback(asked: str, present: Accelerators, offered: str):
    with pytest.raises(UsageError, match=rf"execution\.device is {asked}, and the machine {offered}") as caught:
        choose_device(asked, present)
    assert caught.value.expected == "a device that is present."
    assert "--execution.device auto" in caught.value.fix


@pytest.mark.parametrize("asked", ["gpu", "cuda:", "cuda:x", "cuda:-1", "CPU", ""])
def test_a_word_that_is_no_device_is_an_error(asked: str):
    with pytest.raises(UsageError, match=r"execution\.device is") as caught:
        choose_device(asked, NONE)
    assert "cuda:N" in caught.value.expected
    assert "auto" in caught.value.fix


def test_the_machine_is_asked_when_nothing_is_given():
    present = find_accelerators()
    expected = "cuda:0" if present.cuda else "mps" if present.mps else "cpu"
    assert choose_device("auto")[0] == expected
