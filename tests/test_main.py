import subprocess
import sys


def test_python_m_fitwell_is_the_command_line_and_returns_its_exit_code():
    done = subprocess.run([sys.executable, "-m", "fitwell", "nonsense"], capture_output=True, text=True)
    assert done.returncode == 2
    assert "nonsense" in done.stderr
