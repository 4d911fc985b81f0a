"""How a run ended, written down whatever happens."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from fitwell.errors import FitwellError, ResourceError, RunStopped
from fitwell.run_folder import RunFolder

log = logging.getLogger(__name__)


@contextmanager
def recording_outcome(run: RunFolder) -> Iterator[None]:
    """Keep run.json's state true, whatever happens inside."""
    run.update(state="running", exit=None)
    try:
        yield
    except RunStopped as stopped:
        run.update(state="interrupted", exit={"code": stopped.exit_code, "reason": stopped.found})
        raise
    except (KeyboardInterrupt, FitwellError, MemoryError) as error:
        code = getattr(error, "exit_code", 130 if isinstance(error, KeyboardInterrupt) else 5)
        run.update(state="failed", exit={"code": code, "reason": str(error) or type(error).__name__})
        if isinstance(error, MemoryError):
            raise _out_of_memory(run) from error
        raise
    except Exception as error:
        log.exception("a bug in fitwell")
        run.update(state="failed", exit={"code": 70, "reason": repr(error)})
        raise
    run.update(state="finished", exit={"code": 0, "reason": "finished"})


def _out_of_memory(run: RunFolder) -> ResourceError:
    return ResourceError(
        found=f"memory ran out while training {run.path}.",
        expected="room for the network, a batch and the cached activations.",
        fix="set execution.batch_size or augment.views lower and train again.",
    )
