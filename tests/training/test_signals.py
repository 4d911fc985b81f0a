import os
import signal
import threading

import pytest

from fitwell.training.observer import Action, Extracted
from fitwell.training.signals import stopping_on_signals

EVENT = Extracted("head", 1, 2)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_becomes_a_request_to_stop_and_old_handlers_come_back(number):
    before = signal.getsignal(number)
    with stopping_on_signals() as stop:
        assert stop(EVENT) is None
        os.kill(os.getpid(), number)
        assert stop(EVENT) is Action.STOP
        assert stop.signal_number == number
    assert signal.getsignal(number) is before


def test_a_second_ctrl_c_does_not_wait():
    with stopping_on_signals():
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_another_thread_trains_without_signals():
    found = []

    def work():
        with stopping_on_signals() as stop:
            found.append(stop(EVENT))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [None]
