"""The suites under examples/: that they can be read, and that their tables are what their pages say."""

import importlib.util
from pathlib import Path

import pandas as pd
import pytest

from fitwell.experiments.suite import plan_entries, read_suite

EXAMPLES = Path(__file__).parents[1] / "examples"
SUITES = sorted(EXAMPLES.glob("*/*.yaml"))


def load_tables():
    spec = importlib.util.spec_from_file_location("elpv_tables", EXAMPLES / "elpv_tables.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def cells():
    labels = ["defective"] * 821 + ["functional"] * 1803
    kinds = ["mono", "poly"] * 1312
    return pd.DataFrame({"path": [f"{number}.png" for number in range(2624)], "label": labels, "cell": kinds})


@pytest.mark.parametrize("path", [path for path in SUITES if "tasks:" in path.read_text()], ids=lambda path: path.stem)
def test_every_example_is_a_suite_whose_recipes_validate(path):
    suite = read_suite(path)
    assert len(plan_entries(suite, path.parent)) == len(suite.tasks) * len(suite.recipes) * len(suite.seeds)


def test_screening_has_every_negative_and_five_percent_positives(cells):
    table = load_tables().screening_table(cells)
    counts = table["label"].value_counts()
    assert counts["functional"] == 1803
    assert counts["defective"] == 95  # of 1,898
    assert load_tables().screening_table(cells).equals(table)


def test_each_fast_question_has_two_answers(cells):
    tables = load_tables().fast_tables(cells)
    assert {name: sorted(set(table["label"])) for name, table in tables.items()} == {
        "mono": ["defective", "functional"],
        "poly": ["defective", "functional"],
        "any": ["defective", "functional"],
        "kind": ["mono", "poly"],
    }
