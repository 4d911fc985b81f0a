"""How a benchmark writes its result: figures with machine, versions, n and interval."""

import json
import platform
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

import numpy as np
import torch
from scipy import stats

RESULTS = Path(__file__).parent / "results"


def mean_interval(values: Sequence[float], bounds: tuple[float, float] = (-np.inf, np.inf)) -> dict[str, object]:
    """Return mean, standard deviation and 95 % Student interval of the mean, cut off at the metric's `bounds`."""
    array = np.asarray(values, dtype=float)
    mean, sd, n = array.mean(), array.std(ddof=1), len(array)
    half = stats.t.ppf(0.975, n - 1) * sd / np.sqrt(n)
    return {
        "mean": round(float(mean), 4),
        "sd": round(float(sd), 4),
        "interval": [round(float(max(mean - half, bounds[0])), 4), round(float(min(mean + half, bounds[1])), 4)],
        "n": n,
        "values": [round(float(value), 4) for value in array],
    }


def write_result(name: str, content: dict[str, object]) -> None:
    """Write `results/<name>.json` and print it."""
    packages = ("fitwell", "torch", "timm", "numpy", "scikit-learn", "pillow")
    record = {
        "benchmark": name,
        "date": datetime.now(UTC).date().isoformat(),
        "machine": {
            "processor": _processor(),
            "cores": torch.get_num_threads(),
            "system": platform.platform(),
        },
        "versions": {package: metadata.version(package) for package in packages},
        **content,
    }
    RESULTS.mkdir(exist_ok=True)
    text = json.dumps(record, indent=2)
    (RESULTS / f"{name}.json").write_text(text + "\n")
    print(text)


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()
