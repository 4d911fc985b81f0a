"""The demo with seeds 1 to 3: seconds, and test metrics with their spread.

python benchmarks/demo_seeds.py
"""

import json
import os
import subprocess
import sys
import tempfile
import time

from result import mean_interval, write_result

SEEDS = (1, 2, 3)
METRICS = ("auc", "balanced_accuracy", "accuracy")


def main() -> None:
    runs = []
    for seed in SEEDS:
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, "-m", "fitwell", "demo", "--seed", str(seed), "--runs-dir", folder, "--json"]
            started = time.monotonic()
            own_cache = {**os.environ, "XDG_CACHE_HOME": folder}  # empty: as for somebody who runs it once
            done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True, env=own_cache)
            seconds = time.monotonic() - started
        test = json.loads(done.stdout)["test"]
        metrics = {name: test["metrics"][name] for name in METRICS}
        runs.append({"seed": seed, "seconds": round(seconds, 1), "num_images": test["num_images"], "test": metrics})
    spread = {name: mean_interval([run["test"][name]["value"] for run in runs], bounds=(0, 1)) for name in METRICS}
    seconds = mean_interval([run["seconds"] for run in runs])
    write_result("demo_seeds", {"spread_over_seeds": spread, "seconds": seconds, "runs": runs})


if __name__ == "__main__":
    main()
