"""Train a run in child processes that SIGKILL themselves at random points, then let it end. Run as a script.

    python kill_driver.py RUN NUM_KILLS SEED

Every step writes a checkpoint, and the kill comes up to 30 ms after a random step, so many kills hit the writing.
Prints how many of them left a half-written file behind.
"""

import os
import random
import signal
import sys
import threading
import time
from pathlib import Path

from fitwell.run_folder import RunFolder
from fitwell.training.observer import StepDone
from fitwell.training.session import continue_run

LAST_TARGET = 60  # of 96 steps: a run that ends before its kill would prove nothing


def kill_soon(seconds):
    time.sleep(seconds)
    os.kill(os.getpid(), signal.SIGKILL)


def train(run, kill_at, delay):
    doomed = False

    def observer(event):
        nonlocal doomed
        if isinstance(event, StepDone) and not doomed and kill_at is not None and event.step >= kill_at:
            doomed = True
            threading.Thread(target=kill_soon, args=(delay,), daemon=True).start()

    continue_run(run, observers=(observer,), checkpoint_seconds=0.0)


def main():
    run, num_kills, seed = RunFolder(Path(sys.argv[1])), int(sys.argv[2]), int(sys.argv[3])
    randomness = random.Random(seed)  # noqa: S311
    kills = sorted(randomness.choices(range(1, LAST_TARGET), k=num_kills))
    torn = killed = 0
    for kill_at in [*kills, None]:
        child = os.fork()
        if child == 0:
            train(run, kill_at, randomness.random() * 0.03)
            os._exit(0)
        randomness.random()
        _, status = os.waitpid(child, 0)
        killed += os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
        torn += len(list(run.checkpoints.glob("*.tmp-*"))) > 0
        for leftover in run.checkpoints.glob("*.tmp-*"):
            leftover.unlink()
    print(f"killed {killed} torn {torn} last {status}")


if __name__ == "__main__":
    main()
