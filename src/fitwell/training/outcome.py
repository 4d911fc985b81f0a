"""How a run ended, written down whatever happens."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from fitwell.errors import FitwellError, ResourceError, RunError, RunStopped
from fitwell.run_folder import RunFolder

log = logging.getLogger(__name__)


@contextmanager
def recording_outcome(run: RunFolder) -> Iterator[None]:
    """Keep run.json's state true, whatever happens inside."""
    run.update(state="running", exit=None)
    try:
        yield
    except (KeyboardInterrupt, Exception) as error:
        if not run.path.is_dir():
            raise _gone(run) from error
        run.update(**_end_of(error))
        if isinstance(error, MemoryError):
            raise _out_of_memory(run) from error
        raise
    run.update(state="finished", exit={"code": 0, "reason": "finished"})


def _end_of(error: BaseException) -> dict[str, Any]:
    """Return the state and the exit that run.json keeps."""
    if isinstance(error, RunStopped):
        return {"state": "interrupted", "exit": {"code": error.exit_code, "reason": error.found}}
    if isinstance(error, (KeyboardInterrupt, FitwellError, MemoryError)):
        code = getattr(error, "exit_code", 130 if isinstance(error, KeyboardInterrupt) else 5)
        return {"state": "failed", "exit": {"code": code, "reason": str(error) or type(error).__name__}}
    log.error("a bug in fitwell", exc_info=error)
    return {"state": "failed", "exit": {"code": 70, "reason": repr(error)}}


def _gone(run: RunFolder) -> RunError:
    return RunError(
        found=f"{run.path} is gone: it was moved or deleted while the run wrote to it.",
        expected="a folder that stays where it is until its run ends.",
        fix="put it back and run: fitwell resume RUN, or train again.",
    )


def _out_of_memory(run: RunFolder) -> ResourceError:
    return ResourceError(
        found=f"memory ran out while training {run.path}.",
        expected="room for the network, a batch and the cached activations.",
        fix="set execution.batch_size or augment.views lower and train again.",
    )
