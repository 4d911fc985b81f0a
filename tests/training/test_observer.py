from fitwell.training.observer import Action, Extracted, notify


def test_every_observer_hears_the_event_even_after_one_asked_to_stop():
    heard = []
    event = Extracted("head", 1, 2)

    def stopper(event):
        heard.append(("stopper", event))
        return Action.STOP

    def listener(event):
        heard.append(("listener", event))

    assert notify([stopper, listener], event) is True
    assert heard == [("stopper", event), ("listener", event)]
    assert notify([listener], event) is False
