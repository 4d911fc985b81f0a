"""The suites under examples/: that they can be read, and that their tables are what their pages say."""

import importlib.util
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

from fitwell.experiments.suite import plan_entries, read_suite
from fitwell.recipe.read import read_recipe
from fitwell.recipe.schema import Augment, Color, Head, Hidden

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


def recipes_of(folder):
    """The first task's recipes of an example, by name."""
    path = EXAMPLES / folder / f"{folder}.yaml"
    entries = plan_entries(read_suite(path), path.parent)
    return {entry.variant: entry.recipe for entry in reversed(entries)}


def test_screening_tries_the_plan_and_its_three_fallbacks():
    found = {
        name: (
            recipe.loss.kind,
            recipe.loss.focal_gamma,
            recipe.balance.class_weights["defective"],
            recipe.balance.class_weights["functional"],
            recipe.phases[0].learning_rate,
        )
        for name, recipe in recipes_of("screening").items()
        if name != "moving-norms"
    }
    assert found == {
        "plan": ("focal", 1.5, 0.75, 0.25, 1e-4),
        "milder-focus": ("focal", 1.0, 0.85, 0.15, 1e-4),
        "weighted": ("cross_entropy", 1.5, 8, 1, 1e-4),
        "faster": ("focal", 1.5, 0.75, 0.25, 2e-4),
    }


def test_logos_tries_the_teams_three_heads():
    assert {name: recipe.model.head for name, recipe in recipes_of("logos").items()} == {
        "linear": Head(dropout=0.2),
        "relu-256": Head(hidden=(Hidden(units=256, dropout=0.3),), dropout=0.2),
        "norm-128": Head(hidden=(Hidden(units=128, dropout=0.2, batch_norm=True),), dropout=0.1),
    }


def test_rear_view_before_is_the_teams_first_column():
    before = read_recipe("before.yaml", environment={}, folder=EXAMPLES / "rear-view")[0]
    (phase,) = before.phases
    color = Color(brightness=0.3, contrast=0.3, saturation=0.2, hue=0.1)
    assert before.augment == Augment(rotate_degrees=15, crop_area=(1, 1), scale=(0.9, 1.1), translate=0.1, color=color)
    assert (before.execution.batch_size, phase.epochs, phase.patience, phase.learning_rate) == (32, 50, 10, 1e-3)
    assert (phase.schedule, phase.plateau_factor, phase.plateau_patience) == ("plateau", 0.5, 6)  # torch's patience 5
    assert (before.select.metric, before.loss.label_smoothing, before.optimizer.clip_norm) == ("log_loss", 0, None)
    assert (before.model.head.dropout, before.optimizer.weight_decay) == (0.2, 1e-4)


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
