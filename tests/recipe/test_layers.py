"""Values laid over one another."""

from fitwell.recipe.document import read_document
from fitwell.recipe.layers import Layers
from fitwell.recipe.mistakes import Mistake


def layers_of(*texts: str) -> Layers:
    layers = Layers()
    for number, text in enumerate(texts):
        layers.add_document(read_document(text, f"{number}.yaml"), origin=f"file {number}", where=f"{number}.yaml")
    return layers


def test_sections_merge_key_by_key_and_lists_are_replaced_whole():
    layers = layers_of(
        "a: {x: 1}\noptimizer: {weight_decay: 1, clip_norm: 2}\nphases: [1, 2]\n",
        "optimizer: {clip_norm: 3}\nphases: [4]\n",
    )
    assert layers.values == {"a": {"x": 1}, "optimizer": {"weight_decay": 1, "clip_norm": 3}, "phases": [4]}


def test_a_replaced_list_forgets_the_places_of_the_old_one():
    layers = layers_of("phases:\n  - {name: a}\n  - {name: b}\n", "seed: 1\nphases:\n  - {name: c}\n")
    assert layers.place_of(("phases", 0, "name")) == "1.yaml:3"
    assert layers.place_of(("phases", 1, "name")) == "1.yaml:2"


def test_a_value_where_a_section_belongs_stays_visible_under_later_layers():
    layers = layers_of("model: 3\n", "model: {backbone: x}\n")
    layers.set_flag("model.weights", "none")
    assert layers.values == {"model": 3}
    assert layers.place_of(("model",)) == "0.yaml:1"


def test_what_nobody_wrote_has_no_place():
    assert Layers().place_of(("seed",)) == "recipe"


def test_a_flag_reads_yaml_but_leaves_words_alone_where_words_are_asked_for():
    layers = Layers()
    layers.set_flag("optimizer.weight_decay", "1e-3")
    layers.set_flag("optimizer.clip_norm", "null")
    layers.set_flag("model.backbone", "007")
    layers.set_flag("seed", 4)
    assert layers.values == {
        "optimizer": {"weight_decay": 0.001, "clip_norm": None},
        "model": {"backbone": "007"},
        "seed": 4,
    }


def test_one_phase_is_addressed_by_its_name_even_with_dots_and_dashes():
    layers = layers_of("phases:\n  - {name: fine, epochs: 1}\n  - {name: fine.tune-2, epochs: 1}\n")
    layers.set_flag("phases.fine.tune-2.epochs", "5")
    layers.set_variable("FITWELL_PHASES__FINE__EPOCHS", "FITWELL_", "6")
    layers.set_variable("FITWELL_PHASES__FINE.TUNE_2__LEARNING_RATE", "FITWELL_", "1e-4")
    assert layers.values["phases"] == [
        {"name": "fine", "epochs": 6},
        {"name": "fine.tune-2", "epochs": 5, "learning_rate": 1e-4},
    ]
    assert layers.mistakes == []


def test_what_trains_is_replaced_whole_by_a_flag_that_reaches_into_it():
    layers = layers_of("phases:\n  - {name: head, train: {stages: 2}}\n")
    layers.set_flag("phases.head.train.last", "4")
    assert layers.values["phases"] == [{"name": "head", "train": {"last": 4}}]


def test_phases_of_the_defaults_can_be_addressed_too():
    layers = Layers()
    layers.set_flag("phases.fine-tune.epochs", "2")
    assert [phase["epochs"] for phase in layers.values["phases"]][1:] == [2]


def test_unknown_keys_phases_and_bad_yaml_are_noted_and_laid_nowhere():
    layers = Layers()
    layers.set_flag("optimizer.weight_dcay", "1")
    layers.set_flag("phases.heaad.epochs", "1")
    layers.set_flag("seed.x", "1")
    layers.set_flag("resolved", "[]")
    layers.set_flag("seed", "[1")
    layers.set_variable("FITWELL_SED", "FITWELL_", "1")
    assert [(each.place, each.found, each.nearest) for each in layers.mistakes] == [
        ("--optimizer.weight_dcay", "unknown key optimizer.weight_dcay", "weight_decay"),
        ("--phases.heaad.epochs", "no phase is named heaad", "head"),
        ("--seed.x", "unknown key seed.x", None),
        ("--resolved", "unknown key resolved", None),
        ("--seed", "'[1' is not YAML", None),
        ("FITWELL_SED", "unknown key sed", "seed"),
    ]
    assert layers.mistakes[2] == Mistake("--seed.x", "unknown key seed.x", "a single value at seed")
    assert set(layers.values) <= {"phases"}


def test_a_phase_flag_over_phases_that_are_no_list_is_left_to_validation():
    layers = layers_of("phases: 3\n")
    layers.set_flag("phases.head.epochs", "1")
    assert layers.values == {"phases": 3}
    assert layers.mistakes == []
