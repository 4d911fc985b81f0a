"""Every error a user can cause, as one tree.

    FitwellError               exit code
    ├── UsageError             2   an argument, a path, a missing extra
    │   └── RecipeError        2   a recipe that does not say what can be run
    ├── DataError              3   the images or their table
    ├── RunError               1   a run that failed or cannot go on
    │   ├── CheckpointError    1   a checkpoint that is missing, damaged or foreign
    │   └── RunLockedError     1   another process writes the same run
    ├── ResourceError          5   memory or disk ran out
    └── RunStopped             130 or 143: the user or the system asked the run to stop

Each one says what was found, what was expected, and how to fix it.
"""

from __future__ import annotations

from collections.abc import Callable


class FitwellError(Exception):
    """A mistake that the user can mend.

    Args:
        found: the received value and its place.
        expected: what would have been right.
        fix: an edit or a command.
    """

    exit_code = 1

    def __init__(self, *, found: str, expected: str, fix: str) -> None:
        super().__init__(found, expected, fix)
        self.found = found
        self.expected = expected
        self.fix = fix

    def __str__(self) -> str:
        return f"Found: {self.found}\nExpected: {self.expected}\nFix: {self.fix}"

    def __reduce__(self) -> tuple[Callable[..., FitwellError], tuple[type[FitwellError], dict[str, object]]]:
        return _rebuild, (type(self), self.__dict__)


def _rebuild(kind: type[FitwellError], state: dict[str, object]) -> FitwellError:
    """Make the error again in another process; pickle alone would call it without its keywords."""
    error = kind.__new__(kind)
    error.__dict__.update(state)
    return error


class UsageError(FitwellError):
    """An argument, a path or an installation that cannot be used."""

    exit_code = 2


class RecipeError(UsageError):
    """A recipe that does not validate; lists every mistake at once."""


class DataError(FitwellError):
    """Images or a table that cannot be trained on.

    Args:
        code: the finding's code, such as "DATA103", where `fitwell explain` has more to say.
    """

    exit_code = 3

    def __init__(self, *, found: str, expected: str, fix: str, code: str = "") -> None:
        super().__init__(found=found, expected=expected, fix=fix)
        self.code = code


class RunError(FitwellError):
    """A run that failed or cannot be continued."""


class CheckpointError(RunError):
    """A checkpoint that is missing, damaged or of another run."""


class RunLockedError(RunError):
    """Another process writes the same run."""


class ResourceError(FitwellError):
    """Memory or disk ran out."""

    exit_code = 5


class RunStopped(FitwellError):  # noqa: N818 - nothing went wrong
    """The run was asked to stop and stands checkpointed.

    Args:
        signal_number: 2 (Ctrl-C) gives exit code 130, 15 (SIGTERM) gives 143.
    """

    def __init__(self, signal_number: int, *, found: str, expected: str, fix: str) -> None:
        super().__init__(found=found, expected=expected, fix=fix)
        self.exit_code = 128 + signal_number
