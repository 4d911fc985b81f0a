"""The whole evaluation of 100,000 predictions of 100 classes: seconds and peak memory, every number with its interval.

Each run is a process of its own and writes what a split leaves: predictions, metrics with 2,000 resamples, per class,
calibration plain and tempered against a perfect model, pictures. Imports are not counted in the seconds, but the
memory is that of the whole process. Asked: at most 60 s and 2 GB, on one thread.

    python benchmarks/evaluation_scale.py [--images 100000] [--classes 100] [--runs 3]
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

MOST_SECONDS, MOST_BYTES = 60, 2e9


def evaluate_once(num_images, num_classes, seed):
    """Runs in a process of its own."""
    import pandas as pd

    from fitwell.evaluation.evaluate import write_evaluation
    from fitwell.run_folder import RunFolder

    rng = np.random.default_rng(seed)
    classes = tuple(f"class {index:03}" for index in range(num_classes))
    labels = rng.choice(num_classes, num_images, p=rng.dirichlet(np.full(num_classes, 5.0)))
    logits = rng.normal(size=(num_images, num_classes)).astype(np.float32)
    logits[np.arange(num_images), labels] += 3
    names = [f"{number:06}" for number in range(num_images)]
    images = pd.DataFrame({"id": names, "path": names, "label": [classes[each] for each in labels]})
    with tempfile.TemporaryDirectory() as folder:
        run = RunFolder(Path(folder))
        run.update(temperature={"value": 1.5, "fitted_on": "val", "num_images": num_images})
        started = time.perf_counter()
        metrics = write_evaluation(run, "test", images, logits, classes, majority=classes[0])
        seconds = time.perf_counter() - started
    return {
        "seconds": round(seconds, 2),
        "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "metrics": {name: entry["interval"] for name, entry in metrics["metrics"].items()},
    }


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--images", type=int, default=100_000)
    parser.add_argument("--classes", type=int, default=100)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--seed", type=int, help="evaluate once, in this process")
    given = parser.parse_args()
    if given.seed is not None:
        print(json.dumps(evaluate_once(given.images, given.classes, given.seed)))
        return
    from result import mean_interval, progress, write_result

    sizes = ["--images", str(given.images), "--classes", str(given.classes)]
    runs = []
    for seed in range(given.runs):
        command = [sys.executable, __file__, *sizes, "--seed", str(seed)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        runs.append(json.loads(done.stdout))
        progress(f"run {seed + 1} of {given.runs}: {runs[-1]['seconds']} s, {runs[-1]['peak_bytes'] / 1e9:.2f} GB")
    result = {
        "images": given.images,
        "classes": given.classes,
        "resamples": 2000,
        "seconds": mean_interval([run["seconds"] for run in runs]),
        "peak_gigabytes": mean_interval([run["peak_bytes"] / 1e9 for run in runs]),
        "kept": all(run["seconds"] <= MOST_SECONDS and run["peak_bytes"] <= MOST_BYTES for run in runs),
        "intervals_of_the_first_run": runs[0]["metrics"],
    }
    write_result("evaluation_scale", result)


if __name__ == "__main__":
    main()
