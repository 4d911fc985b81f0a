"""The command line: every command by name, and one place that turns errors into messages and exit codes.

Exit codes: 0 ok, 1 the run failed, 2 usage or recipe, 3 data, 4 a quality gate, 5 out of resources, 70 our bug,
130 interrupted, 143 terminated.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Sequence

from cyclopts import App, CycloptsError

from fitwell.cli import check, compare, demo, ensemble, judge, recipes, shortlist, suite, train
from fitwell.cli.output import print_error
from fitwell.errors import FitwellError

BUG = 70
USAGE = 2

app = App(
    name="fitwell",
    help="Turn labelled images into a classifier you can defend.",
    help_format="plaintext",  # markdown would cost a tenth of a second at every --help
)
app.command(demo.demo)
app.command(check.check)
app.command(check.explain)
app.command(shortlist.shortlist)
app.command(train.train)
app.command(train.resume)
app.command(suite.suite)
app.command(judge.evaluate)
app.command(judge.predict)
app.command(compare.compare)
app.command(ensemble.ensemble)
recipes_app = App(name="recipes", help="List and show the recipes.")
recipes_app.command(recipes.list_recipes, name="list")
recipes_app.command(recipes.show)
app.command(recipes_app)


def run(arguments: Sequence[str]) -> int:
    """Run one command; return its exit code."""
    as_json = "--json" in arguments
    try:
        code = app(arguments, exit_on_error=False, print_error=False, result_action="return_value")
    except CycloptsError as error:
        print_error(str(error), as_json=as_json, code=USAGE)
        return USAGE
    except FitwellError as error:
        print_error(error, as_json=as_json, code=error.exit_code)
        return error.exit_code
    except KeyboardInterrupt:
        print_error("interrupted.", as_json=as_json, code=130)
        return 130
    except BrokenPipeError:
        return 0  # the reader of our output, such as head, has seen enough
    except Exception as error:
        traceback.print_exc(file=sys.stderr)
        message = f"{type(error).__name__}: {error}\nThis is a bug in fitwell: please report it with the lines above."
        print_error(message, as_json=as_json, code=BUG)
        return BUG
    return int(code or 0)
