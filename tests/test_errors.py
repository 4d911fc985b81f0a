"""Every error a user can cause: three parts and an exit code."""

import pickle

import pytest

from fitwell import errors
from fitwell.errors import FitwellError, RunStopped

EXIT_CODES = {
    "FitwellError": 1,
    "UsageError": 2,
    "RecipeError": 2,
    "DataError": 3,
    "RunError": 1,
    "CheckpointError": 1,
    "RunLockedError": 1,
    "ResourceError": 5,
}
PARTS = {"found": "2 cats in x.csv.", "expected": "3 cats.", "fix": "add a cat."}


def error_classes() -> dict[str, type[FitwellError]]:
    found = {name: value for name, value in vars(errors).items() if isinstance(value, type)}
    return {name: value for name, value in found.items() if issubclass(value, FitwellError)}


def test_the_tree_in_the_docstring_names_every_error():
    assert set(error_classes()) == {*EXIT_CODES, "RunStopped"}
    for name in error_classes():
        assert name in str(errors.__doc__)


@pytest.mark.parametrize(("name", "exit_code"), EXIT_CODES.items())
def test_each_error_says_three_things_and_has_its_exit_code(name: str, exit_code: int):
    with pytest.raises(FitwellError) as caught:
        raise error_classes()[name](**PARTS)
    assert str(caught.value) == "Found: 2 cats in x.csv.\nExpected: 3 cats.\nFix: add a cat."
    assert (caught.value.found, caught.value.expected, caught.value.fix) == tuple(PARTS.values())
    assert caught.value.exit_code == exit_code


@pytest.mark.parametrize(("signal_number", "exit_code"), [(2, 130), (15, 143)])
def test_a_stopped_run_exits_as_its_signal_asks(signal_number: int, exit_code: int):
    with pytest.raises(RunStopped, match="Fix: add a cat") as caught:
        raise RunStopped(signal_number, **PARTS)
    assert caught.value.exit_code == exit_code


def test_the_parts_cannot_be_left_out():
    with pytest.raises(TypeError, match="fix"):
        errors.DataError(found="a", expected="b")  # type: ignore[call-arg]


@pytest.mark.parametrize("error", [errors.DataError(**PARTS), RunStopped(15, **PARTS)])
def test_an_error_comes_whole_out_of_another_process(error: FitwellError):
    again = pickle.loads(pickle.dumps(error))  # noqa: S301
    assert (type(again), str(again), again.exit_code) == (type(error), str(error), error.exit_code)
