from pathlib import Path

import pytest

from fitwell.errors import RecipeError, UsageError
from fitwell.experiments.suite import plan_entries, read_suite

TEXT = """\
tasks:
  chest: chest.csv
  hand: {data: hand, group_by: patient, settings: {images.size: 96}}
recipes:
  - fast
  - {name: slow, recipe: two-phase, settings: {optimizer.weight_decay: 0.1}}
seeds: [0, 1]
"""


def read(tmp_path, text):
    (tmp_path / "suite.yaml").write_text(text)
    return read_suite(tmp_path / "suite.yaml")


def test_a_path_alone_is_a_task_and_a_name_alone_a_recipe(tmp_path):
    suite = read(tmp_path, TEXT)
    assert suite.tasks["chest"].data == "chest.csv"
    assert (suite.recipes[0].name, suite.recipes[0].recipe) == ("fast", "fast")


def test_each_task_is_trained_by_each_recipe_with_each_seed(tmp_path):
    entries = plan_entries(read(tmp_path, TEXT), tmp_path)
    assert [entry.key for entry in entries] == [
        *("chest/fast/0", "chest/slow/0", "hand/fast/0", "hand/slow/0"),
        *("chest/fast/1", "chest/slow/1", "hand/fast/1", "hand/slow/1"),
    ]
    by_key = {entry.key: entry.recipe for entry in entries}
    assert by_key["hand/slow/1"].seed == 1
    assert by_key["hand/slow/1"].optimizer.weight_decay == 0.1
    assert (by_key["hand/fast/0"].images.size, by_key["chest/fast/0"].images.size) == (96, 128)


def test_a_recipe_file_lies_beside_the_suite(tmp_path):
    (tmp_path / "mine.yaml").write_text("images: {size: 48}\n")
    entries = plan_entries(read(tmp_path, "tasks: {a: b}\nrecipes: [mine.yaml]\n"), tmp_path)
    assert (entries[0].variant, entries[0].recipe.images.size) == ("mine", 48)


def test_the_definition_changes_with_the_recipe_and_with_how_images_are_read(tmp_path):
    def definition(text):
        suite = read(tmp_path, text)
        return plan_entries(suite, tmp_path)[0].definition(suite.tasks["a"], tmp_path)

    plain = definition("tasks: {a: b}\nrecipes: [fast]\n")
    assert definition("recipes: [fast]\ntasks: {a: {data: b}}\n") == plain
    assert definition("tasks: {a: {data: b, group_by: c}}\nrecipes: [fast]\n") != plain
    assert definition("tasks: {a: {data: b, settings: {images.size: 64}}}\nrecipes: [fast]\n") != plain
    assert definition("tasks: {a: b}\nrecipes: [fast]\nseeds: [1]\n") != plain


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("tasks: {a: b}\n", r"suite.yaml:1: recipes is missing"),
        ("tasks: {}\nrecipes: [fast]\n", r"suite.yaml:1: tasks is \{\}"),
        ("tasks: {a: b}\nrecipes: [fast]\nseedz: [1]\n", r"suite.yaml:3: unknown key seedz; did you mean seeds\?"),
        ("tasks: {a: {dat: b}}\nrecipes: [fast]\n", r"unknown key tasks.a.dat; did you mean data\?"),
        ("tasks: {a: b}\nrecipes:\n  - fast\n  - fast\n", r"suite.yaml:2: recipes .*fast is the name of 2 recipes"),
        ("tasks: {a: b}\nrecipes: [fast]\nseeds: [-1]\n", r"suite.yaml:3: seeds.0 is -1"),
        ("tasks: {a: b}\nrecipes: [fast]\nseeds: [1, 1]\n", r"suite.yaml:3: seeds .*expected each once"),
        ("tasks: {a: b}\nrecipes: [fast]\nmetric: loss\n", r"suite.yaml:3: metric is \"loss\""),
        ("tasks: {../a: b}\nrecipes: [fast]\n", r"suite.yaml:1: tasks.../a"),
        ("- a\n", r"holds a list"),
    ],
)
def test_mistakes_are_told_with_their_line(tmp_path, text, message):
    with pytest.raises(RecipeError, match=f"(?s){message}"):
        read(tmp_path, text)


def test_all_mistakes_are_told_at_once(tmp_path):
    with pytest.raises(RecipeError, match=r"(?s)2 mistake\(s\).*seeds.*metric|2 mistake\(s\).*metric.*seeds"):
        read(tmp_path, "tasks: {a: b}\nrecipes: [fast]\nseeds: [x]\nmetric: y\n")


def test_a_missing_file_is_told():
    with pytest.raises(UsageError, match=r"nowhere\.yaml is no file"):
        read_suite(Path("nowhere.yaml"))


def test_a_wrong_setting_names_the_recipe_and_the_task(tmp_path):
    suite = read(tmp_path, "tasks: {a: {data: b, settings: {images.sise: 64}}}\nrecipes: [fast]\n")
    with pytest.raises(RecipeError, match=r"(?s)recipe fast for task a: .*images.sise.*did you mean size"):
        plan_entries(suite, tmp_path)


def test_recipes_that_divide_the_images_differently_are_refused(tmp_path):
    recipes = "recipes: [fast, {name: other, recipe: fast, settings: {split.val_fraction: 0.3}}]\n"
    suite = read(tmp_path, "tasks: {a: b}\n" + recipes)
    with pytest.raises(RecipeError, match="recipes fast and other divide the images of a differently"):
        plan_entries(suite, tmp_path)
    plan_entries(read(tmp_path, "tasks: {a: {data: b, settings: {split.val_fraction: 0.3}}}\n" + recipes), tmp_path)
