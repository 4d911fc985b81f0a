"""Which device computes, and why. A device that was asked for and is absent is an error, never a fallback."""

from __future__ import annotations

import re
from dataclasses import dataclass

from fitwell.errors import UsageError


@dataclass(frozen=True)
class Accelerators:
    """What the machine offers besides its processor: the names of its CUDA devices, and Apple's MPS."""

    cuda: tuple[str, ...] = ()
    mps: bool = False


def choose_device(asked: str, accelerators: Accelerators | None = None) -> tuple[str, str]:
    """Return the device in torch's words and the reason.

    Args:
        asked: auto | cpu | cuda | cuda:N | mps.
        accelerators: what is present; looked up when not given.

    Raises:
        UsageError: when `asked` is not a device or is absent.
    """
    if asked == "cpu":
        return "cpu", "it was asked for"
    if asked not in ("auto", "cuda", "mps") and not re.fullmatch(r"cuda:\d+", asked):
        raise UsageError(
            found=f"execution.device is {asked!r}.",
            expected="auto, cpu, cuda, cuda:N (N counts from 0) or mps.",
            fix="leave it at auto to use the best device that is present.",
        )
    present = find_accelerators() if accelerators is None else accelerators
    if asked == "auto":
        return _best(present)
    if asked == "mps" and present.mps:
        return "mps", "it was asked for"
    number = int(asked.partition(":")[2] or 0)
    if asked.startswith("cuda") and number < len(present.cuda):
        return f"cuda:{number}", f"it was asked for ({present.cuda[number]})"
    raise UsageError(
        found=f"execution.device is {asked}, and the machine offers {_describe(present)}.",
        expected="a device that is present.",
        fix="use `--execution.device auto`, or install a build of torch that supports the device.",
    )


def find_accelerators() -> Accelerators:
    """Ask torch which accelerators it can use."""
    import torch

    names = [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]
    return Accelerators(cuda=tuple(names), mps=torch.backends.mps.is_available())


def _best(present: Accelerators) -> tuple[str, str]:
    if present.cuda:
        return "cuda:0", f"a CUDA device is present ({present.cuda[0]})"
    if present.mps:
        return "mps", "Apple's MPS is present"
    return "cpu", "no accelerator is present"


def _describe(present: Accelerators) -> str:
    names = ["cpu", *(f"cuda:{number} ({name})" for number, name in enumerate(present.cuda))]
    return ", ".join([*names, "mps"] if present.mps else names)
