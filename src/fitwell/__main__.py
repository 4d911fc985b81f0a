"""`fitwell` and `python -m fitwell`."""

from __future__ import annotations

import sys


def main() -> int:
    """Run the command line; return the exit code."""
    from fitwell.cli.app import run

    return run(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
