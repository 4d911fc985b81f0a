"""`python -m fitwell`."""

import subprocess
import sys

import fitwell


def test_the_module_is_the_command_line():
    result = subprocess.run([sys.executable, "-m", "fitwell", "--version"], capture_output=True, text=True)
    assert (result.returncode, result.stdout.strip()) == (0, fitwell.__version__)


def test_the_exit_code_reaches_the_shell():
    result = subprocess.run([sys.executable, "-m", "fitwell", "no-such-command"], capture_output=True, text=True)
    assert result.returncode == 2
    assert result.stdout == ""
    assert result.stderr.startswith("error: ")
