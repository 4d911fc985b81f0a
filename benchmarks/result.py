"""How a benchmark writes its result, figures with machine, versions, n and interval, and how the page reads it."""

import io
import json
import platform
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from PIL import Image
from scipy import stats

from fitwell.data.index import Dataset
from fitwell.files import sha256_of_file

RESULTS = Path(__file__).parent / "results"
DOCS = RESULTS.parents[1] / "docs"
PROBE_SECONDS = 0.6  # of each figure
PROBE_SIDE = 2048  # of the matrices


def mean_interval(values: Sequence[float], bounds: tuple[float, float] = (-np.inf, np.inf)) -> dict[str, object]:
    """Return mean, standard deviation and 95 % Student interval of the mean, cut off at the metric's `bounds`."""
    array = np.asarray(values, dtype=float)
    mean, n = array.mean(), len(array)
    found: dict[str, object] = {"mean": round(float(mean), 4), "sd": None, "interval": None, "n": n}
    if n > 1:
        sd = array.std(ddof=1)
        half = stats.t.ppf(0.975, n - 1) * sd / np.sqrt(n)
        interval = [round(float(max(mean - half, bounds[0])), 4), round(float(min(mean + half, bounds[1])), 4)]
        found |= {"sd": round(float(sd), 4), "interval": interval}
    return {**found, "values": [round(float(value), 4) for value in array]}


def paired_ratio(slower: Sequence[float], faster: Sequence[float]) -> dict[str, object]:
    """Return how many times `slower` is `faster`: geometric mean and 95 % Student interval over the n pairs."""
    logs = np.log(np.asarray(slower, dtype=float) / np.asarray(faster, dtype=float))
    interval = None
    if len(logs) > 1:
        half = stats.t.ppf(0.975, len(logs) - 1) * logs.std(ddof=1) / np.sqrt(len(logs))
        interval = [round(float(np.exp(end)), 3) for end in (logs.mean() - half, logs.mean() + half)]
    return {"ratio": round(float(np.exp(logs.mean())), 3), "interval": interval, "n": len(logs)}


def alternate(candidates: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Run the candidates in turn, A B A B ..., one pass unmeasured; return the seconds of each, a list per candidate.

    A pass is unmeasured because the first pays for allocation, selection of kernels and the page cache.
    """
    seconds: dict[str, list[float]] = {name: [] for name in candidates}
    for round_number in range(rounds + 1):
        for name, work in candidates.items():
            started = time.perf_counter()
            work()
            took = time.perf_counter() - started
            if round_number > 0:
                seconds[name].append(took)
            progress(f"round {round_number} of {rounds}: {name} {took:.3f} s")
    return seconds


def progress(line: str) -> None:
    """Tell whoever waits; the result itself goes to stdout."""
    print(line, file=sys.stderr, flush=True)


def probe_machine() -> dict[str, float]:
    """Return what one thread of this machine does now: so that figures of two machines can be compared."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        left, right = torch.randn(2, PROBE_SIDE, PROBE_SIDE)
        block = torch.empty(32 * 2**20, dtype=torch.float32)  # 128 MiB, beyond the caches
        target = torch.empty_like(block)
        random = np.random.default_rng(0)
        coarse = Image.fromarray(random.integers(0, 256, (32, 42, 3), dtype=np.uint8))
        picture = io.BytesIO()
        coarse.resize((500, 375), Image.Resampling.BICUBIC).save(picture, "JPEG", quality=90)
        return {
            "gemm_float32_gigaflops": _rate(lambda: left @ right) * 2 * PROBE_SIDE**3 / 1e9,
            "copy_gigabytes_per_second": _rate(lambda: target.copy_(block)) * 2 * block.nbytes / 1e9,
            "jpeg_500x375_per_second": _rate(lambda: np.asarray(Image.open(picture))),
        }
    finally:
        torch.set_num_threads(threads)


def _rate(work: Callable[[], object]) -> float:
    """Return how often a second `work` runs."""
    work()
    started, done = time.perf_counter(), 0
    while time.perf_counter() - started < PROBE_SECONDS:
        work()
        done += 1
    return round(done / (time.perf_counter() - started), 3)


def with_hashes(dataset: Dataset) -> pd.DataFrame:
    """Return the images with what their kept features are found by; a check would compute it on the way."""
    return dataset.images.assign(sha256=[sha256_of_file(dataset.root / path) for path in dataset.images["path"]])


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
            "one_thread": probe_machine(),
        },
        "versions": {package: metadata.version(package) for package in packages},
        **content,
    }
    RESULTS.mkdir(exist_ok=True)
    text = json.dumps(record, indent=2)
    (RESULTS / f"{name}.json").write_text(text + "\n")
    print(text)


def read(name: str) -> dict[str, Any] | None:
    """Return the result of that name, or None where there is none."""
    path = RESULTS / f"{name}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def interval(low: float, high: float, digits: int) -> str:
    return f"{low:.{digits}f} to {high:.{digits}f}"


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()
