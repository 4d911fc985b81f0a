import subprocess
import sys

import pytest

from fitwell.errors import ResourceError
from fitwell.evaluation.footprint import measure_footprint, measure_memory, peak_bytes
from fitwell.evaluation.trained import load_trained
from fitwell.recipe.goals import Targets
from fitwell.run_folder import RunFolder

HOLDS_AND_LETS_GO = """
from fitwell.evaluation.footprint import peak_bytes
before = peak_bytes()
held = b"x" * 400_000_000
del held
print(peak_bytes() - before)
"""


def test_the_peak_counts_what_was_let_go_of():
    done = subprocess.run([sys.executable, "-c", HOLDS_AND_LETS_GO], capture_output=True, text=True, check=True)
    assert int(done.stdout) == pytest.approx(400_000_000, abs=100_000_000)  # importing has a peak of its own


@pytest.mark.parametrize("status", [None, "Name: python"])
def test_where_proc_does_not_tell_the_system_is_asked(tmp_path, status):
    if status:
        (tmp_path / "status").write_text(status)
    assert peak_bytes(tmp_path / "status") >= 0.9 * peak_bytes()


def test_only_what_has_a_bound_is_measured(fitted):
    model = load_trained(fitted.run)
    found = measure_footprint(fitted.run, model, Targets(weights_size=1_000_000))
    assert (found.latencies, found.peak_memory_bytes) == ([], None)
    assert found.weights_bytes == fitted.run.best_weights.stat().st_size


def test_memory_is_that_of_a_process_of_its_own(fitted):
    small = measure_memory(fitted.run)
    held = b"x" * 1_000_000_000
    assert measure_memory(fitted.run) == pytest.approx(small, rel=0.1)  # what the parent holds does not count
    assert fitted.run.best_weights.stat().st_size < small < len(held)


def test_a_process_that_cannot_load_the_run_is_told(tmp_path):
    with pytest.raises(ResourceError, match="No such file"):
        measure_memory(RunFolder(tmp_path))
