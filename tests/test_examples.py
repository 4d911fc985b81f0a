"""The suites under examples/: that they can be read, and that their tables are what their pages say."""

import importlib.util
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

from fitwell.experiments.suite import plan_entries, read_suite

EXAMPLES = Path(__file__).parents[1] / "examples"
SUITES = sorted(EXAMPLES.glob("*/*.yaml"))


def load(script):
    spec = importlib.util.spec_from_file_location(script, EXAMPLES / f"{script}.py")
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
    table = load("elpv_tables").screening_table(cells)
    counts = table["label"].value_counts()
    assert counts["functional"] == 1803
    assert counts["defective"] == 95  # of 1,898
    assert load("elpv_tables").screening_table(cells).equals(table)


def test_each_fast_question_has_two_answers(cells):
    tables = load("elpv_tables").fast_tables(cells)
    assert {name: sorted(set(table["label"])) for name, table in tables.items()} == {
        "mono": ["defective", "functional"],
        "poly": ["defective", "functional"],
        "any": ["defective", "functional"],
        "kind": ["mono", "poly"],
    }


def icon(shapes, *, width=100, gradient=False):
    return {"body": "<path/>" * shapes + "<linearGradient/>" * gradient, "width": width, "height": 100}


def test_a_logo_has_a_kind_only_where_its_source_leaves_no_doubt():
    icons = {
        "bell": icon(5, width=300),  # a wordmark, because its brand has an icon
        "bell-icon": icon(2),
        "crown": icon(8),
        "dune": icon(1, gradient=True),
        "elm": icon(5),  # neither simple nor complex
        "fern": icon(1, width=300),  # wide: words, perhaps
        "gem": icon(1),  # a wordmark as high as wide
        "gem-icon": icon(3),
    }
    kinds = load("drawn_pictures").logo_kinds({"icons": icons})
    assert dict(zip(kinds["name"], kinds["label"], strict=True)) == {
        "bell": "text",
        "bell-icon": "simple",
        "crown": "complex",
        "dune": "gradient",
    }
    assert kinds["group"].tolist() == ["bell", "bell", "crown", "dune"]
    assert kinds["aspect"].tolist() == ["3.000", "1.000", "1.000", "1.000"]


def test_skin_tones_of_an_emoji_are_one_group_and_people_have_one_tone():
    names = ("waving-hand", "waving-hand-dark-skin-tone", "santa-light", "santa", "flag")
    metadata = {"categories": {"People & Body": names[:2], "Activities": names[2:4], "Flags": names[4:]}}
    kinds = load("drawn_pictures").emoji_kinds({"icons": dict.fromkeys(names)}, metadata)
    assert kinds.to_numpy().tolist() == [
        ["santa", "activities", "santa"],
        ["santa-light", "activities", "santa"],
        ["waving-hand", "people-body", "waving-hand"],
    ]


def test_an_icon_is_drawn_with_its_longer_side_as_asked(tmp_path):
    body = '<rect width="20" height="10" fill="red"/>'
    icons = {"icons": {"bar": {"body": body, "width": 20, "height": 10}}}
    load("drawn_pictures").draw(icons, "bar", 40, tmp_path / "bar.png")
    with Image.open(tmp_path / "bar.png") as picture:
        assert (picture.size, picture.mode, picture.getpixel((5, 5))) == ((40, 20), "RGBA", (255, 0, 0, 255))
