"""Every bootstrapped metric's interval at once, put together as an evaluation does it."""

from fitwell.evaluation.intervals import BOOTSTRAPPED, NUM_RESAMPLES, find_units, interval_of, resample


def bootstrap_intervals(probs, labels, groups, *, num_resamples=NUM_RESAMPLES, seed=0):
    """Return (low, high) by metric; None where there is no interval."""
    units = find_units(labels, groups)
    drawn = resample(probs, labels, units, names=BOOTSTRAPPED, num_resamples=num_resamples, seed=seed)
    found = {
        name: interval_of(drawn.metrics[name], metric(probs, labels), units, labels=labels)
        for name, metric in BOOTSTRAPPED.items()
    }
    return {name: (interval.low, interval.high) if interval else None for name, interval in found.items()}
