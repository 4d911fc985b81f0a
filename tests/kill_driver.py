"""Train a run in child processes that SIGKILL themselves, one at each point, then let it end. Run as a script.

    python kill_driver.py RUN '[[17, 0.02], ["head", 0]]'

A point is a step or a phase, and the seconds from there to the kill. Every step writes a checkpoint, so a kill some
milliseconds after a step hits the writing. Prints how many kills left a half-written file behind.
"""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

from fitwell.run_folder import RunFolder
from fitwell.training.observer import Searched, StepDone
from fitwell.training.session import continue_run


def train_with_kills(run, points):
    """Train in a process of its own, on one thread; how many kills came, and how many of them tore a file."""
    command = [sys.executable, "-W", "ignore", __file__, str(run.path), json.dumps(points)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment, timeout=400)
    killed, torn = re.search(r"killed (\d+) torn (\d+) last 0", done.stdout).groups()
    return int(killed), int(torn)


def kill_after(seconds):
    time.sleep(seconds)
    os.kill(os.getpid(), signal.SIGKILL)


def reaching(point):
    """A predicate of events, true once: at a step, or at the second step or first search epoch of a phase."""
    seen = 0

    def reached(event):
        nonlocal seen
        if isinstance(point, int):
            seen += isinstance(event, StepDone) and event.step >= point
            return seen == 1
        seen += isinstance(event, StepDone | Searched) and event.phase == point
        return seen == (1 if isinstance(event, Searched) else 2)

    return reached


def train(run, point, seconds):
    reached, doomed = reaching(point), False

    def observer(event):
        nonlocal doomed
        if doomed or not reached(event):
            return
        doomed = True
        if seconds:
            threading.Thread(target=kill_after, args=(seconds,), daemon=True).start()
        else:
            kill_after(0)

    continue_run(run, observers=(observer,), checkpoint_seconds=0.0)


def main():
    run, points = RunFolder(Path(sys.argv[1])), json.loads(sys.argv[2])
    torn = killed = 0
    for point, seconds in [*points, (sys.maxsize, 0)]:
        child = os.fork()
        if child == 0:
            train(run, point, seconds)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        killed += os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
        torn += len(list(run.checkpoints.glob("*.tmp-*"))) > 0
        for leftover in run.checkpoints.glob("*.tmp-*"):
            leftover.unlink()
    print(f"killed {killed} torn {torn} last {status}")


if __name__ == "__main__":
    main()
