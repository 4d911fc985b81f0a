"""SIGTERM and Ctrl-C become a request that the loop answers at the next step with a checkpoint."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from fitwell.training.observer import Action, Event


class StopRequest:
    """An observer that asks to stop once a signal has come. `signal_number` is None until then."""

    def __init__(self) -> None:
        self.signal_number: int | None = None

    def __call__(self, event: Event) -> Action | None:
        """Ask for a stop when a signal has come."""
        return Action.STOP if self.signal_number is not None else None

    def receive(self, number: int, frame: FrameType | None) -> None:
        """Remember the signal; a second Ctrl-C does not wait for the step to end."""
        if self.signal_number is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.signal_number = number


@contextmanager
def stopping_on_signals() -> Iterator[StopRequest]:
    """Yield a StopRequest that hears SIGTERM and SIGINT; outside the main thread it hears nothing."""
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    numbers = (signal.SIGTERM, signal.SIGINT)
    before = {number: signal.signal(number, request.receive) for number in numbers}
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
