"""YAML 1.2 in and out."""

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from fitwell.errors import RecipeError
from fitwell.recipe.document import read_document, read_value, to_yaml

scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(10**9), 10**9)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs", "Zl", "Zp")), max_size=20)
    | st.sampled_from(["no", "on", "yes", "null", "~", "1e-3", "007", "0x10", "12:30", "2026-01-01", "# a", "a: b", ""])
)
keys = st.text("abcdefgh_", min_size=1, max_size=8)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3), max_leaves=5
)


def test_words_that_yaml_1_1_turns_into_booleans_and_times_stay_words():
    document = read_document("labels: [no, yes, on, off, 12:30, 2026-01-01]\n", "x.yaml")
    assert document.values == {"labels": ["no", "yes", "on", "off", "12:30", "2026-01-01"]}


def test_numbers_in_scientific_notation_are_numbers():
    assert read_document("a: 1e-3\nb: 5e-05\nc: 1_000\nd: 2.5\n", "x.yaml").values == {
        "a": 0.001,
        "b": 5e-5,
        "c": 1000,
        "d": 2.5,
    }


def test_every_key_and_item_knows_its_line():
    document = read_document("a: 1\n# why\nb:\n  - c: 2\n    d: 3\n  - 4\n", "x.yaml")
    assert document.lines == {
        ("a",): 1,
        ("b",): 3,
        ("b", 0): 4,
        ("b", 0, "c"): 4,
        ("b", 0, "d"): 5,
        ("b", 1): 6,
    }


def test_a_key_from_a_merge_stands_at_its_parent():
    document = read_document("a: &shared {x: 1}\nb:\n  <<: *shared\n", "x.yaml")
    assert document.values["b"] == {"x": 1}
    assert document.lines["b", "x"] == 2


def test_an_empty_text_is_an_empty_mapping():
    assert read_document("# only a comment\n", "x.yaml").values == {}


@pytest.mark.parametrize(
    ("text", "found", "fix"),
    [
        ("a: 1\nb: 2\na: 3\n", r'x\.yaml:3: found duplicate key "a"', "remove one of the two lines"),
        ("a:\n\tb: 1\n", r"x\.yaml:2: found character", "indent with spaces"),
        ("- a\n", r"x\.yaml holds a list", "fitwell recipes show auto"),
        ("7\n", r"x\.yaml holds the single value '7'", "fitwell recipes show auto"),
        ("a: b: c\n", r"x\.yaml:1: mapping values are not allowed", "need quotes"),
        ("a: [1\n", r"x\.yaml:2: expected ',' or '\]'", "need quotes"),
        ("a: 1\n---\nb: 2\n", r"x\.yaml:2: but found another document", "mend the line"),
        ("a: \x07\n", r"x\.yaml: special characters are not allowed", "mend the line"),
        ("%YAML 1.1\n---\na: no\n", r"x\.yaml declares an older YAML", "%YAML"),
        ("a: 1\nb: !env HOME\n", r"x\.yaml:2 holds a value of the YAML kind !env", "without a YAML tag"),
        ("a: " + "[" * 5000, r"x\.yaml nests brackets deeper", "close the brackets"),
        ("a: &x {b: 1}\n*x : 2\nc: *y\n", r"x\.yaml:\d: found", "mend the line"),
    ],
)
def test_a_text_that_is_no_mapping_says_where_and_what_to_do(text: str, found: str, fix: str):
    with pytest.raises(RecipeError, match=found) as caught:
        read_document(text, "x.yaml")
    assert fix in caught.value.fix
    assert caught.value.expected


def test_one_value_reads_as_in_a_file():
    assert read_value("1e-3", "--x") == 0.001
    assert read_value("null", "--x") is None
    assert read_value("[0.5, 1]", "--x") == [0.5, 1]
    assert read_value("no", "--x") == "no"


@settings(deadline=None, max_examples=50, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(keys, values, max_size=3))
@example({"list": ["?0", "? 0", "?"]})
def test_what_is_written_reads_back_equal(content: dict[str, object]):
    assert read_document(to_yaml(content, "written by a test"), "x.yaml").values == content


def test_written_yaml_is_in_block_style_under_its_header():
    content = {"a": {"b": 1, "c": [0.5, 1.0]}, "d": [{"e": "no"}]}
    assert to_yaml(content, "first\nsecond") == ("# first\n# second\na:\n  b: 1\n  c: [0.5, 1.0]\nd:\n  - e: no\n")
