"""What a trained run takes: time for a picture, memory and disk, measured on this machine."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

from fitwell.errors import ResourceError
from fitwell.evaluation.trained import Trained, load_trained
from fitwell.evaluation.verdicts import Footprint
from fitwell.recipe.goals import Targets
from fitwell.run_folder import RunFolder

PROGRAM = "import sys; from fitwell.evaluation.footprint import name_one_picture; name_one_picture(sys.argv[1])"


def measure_footprint(run: RunFolder, model: Trained, targets: Targets) -> Footprint:
    """Return what `model`, which is that of `run`, takes; time and memory only where `targets` bound them.

    Raises:
        ResourceError: when a process cannot hold the model.
    """
    latencies = model.latencies() if targets.latency_milliseconds is not None else []
    memory = measure_memory(run) if targets.memory is not None else None
    return Footprint(latencies, model.weights_bytes, memory)


def measure_memory(run: RunFolder) -> int:
    """Return the most bytes that a process of its own holds, which loads `run` and names one picture.

    It is the machine's own memory; that of a GPU is not counted.

    Raises:
        ResourceError: when the process does not come to its end.
    """
    done = subprocess.run([sys.executable, "-c", PROGRAM, str(run.path)], capture_output=True, text=True)
    if done.returncode:
        said = done.stderr.strip().splitlines() or ["it said nothing"]
        raise ResourceError(
            found=f"a process that was to load {run.path} ended with {done.returncode}: {said[-1]}",
            expected="memory for the model once more, beside this process.",
            fix="free some memory, or leave targets.memory out.",
        )
    return int(done.stdout.split()[-1])


def name_one_picture(path: str) -> None:
    """Load the run at `path`, name a picture, and print the most bytes that this process held."""
    load_trained(RunFolder(Path(path))).latencies(count=1)
    print(peak_bytes())


def peak_bytes(status: Path = Path("/proc/self/status")) -> int:
    """Return the most memory that this process held since its program began.

    Linux counts the parent's peak as the child's in getrusage, so that /proc is asked first. Source: man 5 proc
    (VmHWM), man 2 getrusage.
    """
    for line in status.read_text().splitlines() if status.exists() else ():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
