"""Recipes in and out."""

import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fitwell.errors import RecipeError
from fitwell.recipe.phase import Gradual, Last, Phase, Stages, Steps
from fitwell.recipe.read import builtin_recipes, parse_recipe, read_recipe, recipe_hash, recipe_to_yaml, write_recipe
from fitwell.recipe.resolve import is_augmented
from fitwell.recipe.schema import Augment, Color, Hidden, Optimizer, Recipe, Resolution

NAMES = [
    "auto",
    "fast",
    "glaucoma-screening",
    "logos",
    "plants-densenet121",
    "plants-mobilenet",
    "plants-resnet50",
    "plants-vgg19",
    "rear-view-mobilenet",
    "rear-view-resnet",
    "rear-view-squeezenet",
    "two-phase",
]


def test_each_layer_wins_over_the_one_before(tmp_path: Path):
    (tmp_path / "mine.yaml").write_text(
        "seed: 1\noptimizer: {weight_decay: 0.1, clip_norm: 2}\nloss: {label_smoothing: 0}\n"
    )
    (tmp_path / "fitwell.yaml").write_text("seed: 2\noptimizer: {weight_decay: 0.2}\n")
    recipe, origins = read_recipe(
        "mine.yaml",
        {"seed": "4"},
        environment={"FITWELL_SEED": "3", "FITWELL_OPTIMIZER__WEIGHT_DECAY": "3e-1", "HOME": "/"},
        folder=tmp_path,
    )
    assert (recipe.seed, recipe.optimizer.weight_decay, recipe.optimizer.clip_norm) == (4, 0.3, 2.0)
    assert origins["seed"] == "flag --seed"
    assert origins["optimizer.weight_decay"] == "environment FITWELL_OPTIMIZER__WEIGHT_DECAY"
    assert origins["optimizer.clip_norm"] == "recipe mine.yaml"
    assert origins["optimizer.kind"] == "default"
    assert origins["phases.head.epochs"] == "default"


def test_the_project_file_lies_over_a_builtin_recipe(tmp_path: Path):
    (tmp_path / "fitwell.yaml").write_text("images: {size: 96}\n")
    recipe, origins = read_recipe("two-phase", environment={}, folder=tmp_path)
    assert recipe.images.size == 96
    assert origins["images.size"] == "file fitwell.yaml"
    assert origins["phases.fine-tune.train"] == "recipe two-phase"


def test_the_project_file_as_the_recipe_itself_is_read_once(tmp_path: Path):
    (tmp_path / "fitwell.yaml").write_text("seed: 9\n")
    _, origins = read_recipe("fitwell.yaml", environment={}, folder=tmp_path)
    assert origins["seed"] == "recipe fitwell.yaml"


def test_every_setting_has_an_origin(tmp_path: Path):
    recipe, origins = read_recipe("auto", environment={}, folder=tmp_path)
    leaves = {"version", "description", "seed", "model.head.dropout", "augment.color.hue", "phases.head.train"}
    assert leaves <= set(origins)
    assert not any(key.startswith("resolved") for key in origins)
    assert {key.split(".")[0] for key in origins} == set(Recipe.model_fields) - {"resolved"}
    assert len([key for key in origins if key.startswith("phases.")]) == len(recipe.phases) * len(Phase.model_fields)


def test_all_mistakes_of_all_layers_are_told_at_once(tmp_path: Path):
    (tmp_path / "mine.yaml").write_text(
        "optimizer:\n  weight_decy: 1\nphases:\n  - {name: head, train: head, epochs: 0, learning_rte: 1}\n"
    )
    (tmp_path / "fitwell.yaml").write_text("images: {size: 3}\n")
    with pytest.raises(RecipeError) as caught:
        read_recipe("mine.yaml", {"sed": "1"}, environment={"FITWELL_SPLIT__SEED": "1"}, folder=tmp_path)
    error = caught.value
    assert error.exit_code == 2
    assert error.found.splitlines() == [
        "7 mistakes in the recipe.",
        "  --sed: unknown key sed; did you mean seed?",
        "  FITWELL_SPLIT__SEED: unknown key split.seed; expected one of fold, folds, test_fraction, val_fraction.",
        "  fitwell.yaml:1: images.size is 3; expected a whole number from 16 to 2048, or auto.",
        "  mine.yaml:2: unknown key optimizer.weight_decy; did you mean weight_decay?",
        "  mine.yaml:4: phases.head.epochs is 0; expected a whole number, at least 1, or auto.",
        "  mine.yaml:4: phases.head.learning_rate is missing; expected a number, above 0, or search.",
        "  mine.yaml:4: unknown key phases.head.learning_rte; did you mean learning_rate?",
    ]


def test_an_unknown_name_names_the_nearest_builtin(tmp_path: Path):
    with pytest.raises(RecipeError, match="two-fase is neither a built-in recipe nor a file") as caught:
        read_recipe("two-fase", environment={}, folder=tmp_path)
    assert caught.value.expected == f"one of {', '.join(NAMES)}, or the path of a YAML file."
    assert caught.value.fix == "did you mean two-phase?"


def test_a_missing_file_far_from_any_name_points_to_the_list(tmp_path: Path):
    with pytest.raises(RecipeError, match=r"recipes/zzz\.yaml is neither") as caught:
        read_recipe("recipes/zzz.yaml", environment={}, folder=tmp_path)
    assert "fitwell recipes list" in caught.value.fix


def test_a_file_that_is_not_utf_8_says_which_byte(tmp_path: Path):
    (tmp_path / "mine.yaml").write_bytes(b"description: caf\xe9\n")
    with pytest.raises(RecipeError, match=r"mine\.yaml is not UTF-8: byte 16 is 0xe9") as caught:
        read_recipe("mine.yaml", environment={}, folder=tmp_path)
    assert "UTF-8" in caught.value.expected


def test_a_byte_order_mark_is_no_mistake(tmp_path: Path):
    (tmp_path / "mine.yaml").write_bytes(b"\xef\xbb\xbfseed: 5\n")
    assert read_recipe("mine.yaml", environment={}, folder=tmp_path)[0].seed == 5


def test_a_file_that_vanishes_or_is_forbidden_is_a_recipe_error(tmp_path: Path):
    from fitwell.recipe.read import _read_text

    with pytest.raises(RecipeError, match=r"gone\.yaml cannot be read: No such file") as caught:
        _read_text(tmp_path / "gone.yaml", "gone.yaml")
    assert "chmod" in caught.value.fix


def test_a_resolved_recipe_can_start_another_run_without_its_reasons(tmp_path: Path):
    reason = Resolution(key="images.size", asked="auto", used=224, reason="Because.")
    write_recipe(tmp_path / "old.yaml", Recipe(seed=8, resolved=(reason,)))
    recipe, origins = read_recipe("old.yaml", environment={}, folder=tmp_path)
    assert recipe == Recipe(seed=8)
    assert origins["seed"] == "recipe old.yaml"


def test_parse_keeps_the_reasons_of_a_run():
    recipe = Recipe(resolved=(Resolution(key="a", asked="auto", used=1.5, reason="No: because # 1."),))
    text = recipe_to_yaml(recipe)
    assert parse_recipe(text, "recipe.yaml") == recipe
    assert text.startswith("# A fitwell recipe")
    assert "resolved:\n  - key: a\n    asked: auto\n    used: 1.5\n" in text


def test_parse_names_the_line_of_a_mistake():
    with pytest.raises(RecipeError, match=r"recipe\.yaml:2: unknown key sed"):
        parse_recipe("version: 1\nsed: 3\n", "recipe.yaml")


@settings(deadline=None, max_examples=50, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.builds(
        Recipe,
        description=st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs", "Zl", "Zp"))),
        seed=st.integers(0, 2**32 - 1),
        optimizer=st.builds(Optimizer, weight_decay=st.floats(0, 1e6), clip_norm=st.none() | st.floats(1e-300, 1e300)),
        augment=st.builds(
            Augment, crop_area=st.tuples(st.floats(0, 1), st.floats(0, 1)), rotate_degrees=st.floats(0, 9)
        ),
        phases=st.just((Phase(name="1e-3", train=Stages(stages=2), epochs=2, learning_rate=5e-324),)),
        resolved=st.lists(
            st.builds(
                Resolution,
                key=st.sampled_from(["a.b", "no"]),
                asked=st.just("auto"),
                used=st.none() | st.integers(-5, 5) | st.sampled_from(["on", "1e-3", "null", "007"]),
                reason=st.text(st.characters(codec="ascii", exclude_categories=("Cc",)), max_size=200),
            ),
            max_size=2,
        ).map(tuple),
    )
)
def test_every_recipe_survives_yaml(recipe: Recipe):
    assert parse_recipe(recipe_to_yaml(recipe), "x.yaml") == recipe


def test_the_hash_counts_settings_and_not_their_reasons():
    plain = Recipe()
    explained = Recipe(resolved=(Resolution(key="a", asked="auto", used=1, reason="Because."),))
    assert recipe_hash(plain) == recipe_hash(explained)
    assert recipe_hash(plain) != recipe_hash(Recipe(seed=1))
    assert len(recipe_hash(plain)) == 64


def test_builtin_recipes_validate_and_describe_themselves(tmp_path: Path):
    described = builtin_recipes()
    assert list(described) == NAMES
    for name, description in described.items():
        recipe, _ = read_recipe(name, environment={}, folder=tmp_path)
        assert recipe.description == description
        assert description.endswith(".")


@pytest.mark.parametrize("name", NAMES[1:])
def test_a_builtin_recipe_begins_with_what_it_is_for_and_its_command(name: str):
    text = (files("fitwell.recipe") / "builtin" / f"{name}.yaml").read_text(encoding="utf-8")
    first, _, command, *_ = text.splitlines()
    assert first.startswith(f"# {name}: ")
    assert command.startswith(f"#   fitwell train DATA --recipe {name}")
    assert any(line.startswith(("# Measured", "# Not measured")) for line in text.splitlines())


@pytest.mark.parametrize(
    ("name", "backbone", "batch", "epochs", "last", "rate"),
    [
        ("vgg19", "vgg19", 20, (40, 20), 4, 1e-4),
        ("resnet50", "resnet50", 40, (35, 15), 10, 5e-5),
        ("densenet121", "densenet121", 32, (35, 15), 12, 5e-5),
        ("mobilenet", "mobilenetv1_100", 48, (30, 10), 8, 5e-5),
    ],
)
def test_the_plants_teams_table_is_a_recipe_for_each_backbone(
    tmp_path: Path, name: str, backbone: str, batch: int, epochs: tuple[int, int], last: int, rate: float
):
    recipe, _ = read_recipe(f"plants-{name}", environment={}, folder=tmp_path)
    head, tune = recipe.phases
    assert recipe.model.backbone.partition(".")[0] == backbone
    assert (recipe.execution.batch_size, (head.epochs, tune.epochs)) == (batch, epochs)
    assert (tune.train, tune.learning_rate) == (Last(last=last), rate)
    assert (head.learning_rate, head.warmup_epochs, head.patience, tune.patience) == (1e-3, 5, 12, 8)
    assert (head.warmup, head.rate_changes) == ("linear", "epoch")
    assert (recipe.balance.class_weights, recipe.optimizer.clip_norm) == ("balanced", 1.0)
    assert recipe.optimizer.clip_each  # Keras' clipnorm
    assert (recipe.optimizer.kind, recipe.optimizer.weight_decay) == ("adamw", 0)  # Adam
    assert (head.schedule, tune.schedule) == ("plateau", "plateau")
    assert tune.plateau_factor < head.plateau_factor
    assert tune.plateau_patience < head.plateau_patience < head.patience


@pytest.mark.parametrize(("name", "dropout"), [("mobilenet", 0.4), ("squeezenet", 0.5), ("resnet", 0.5)])
def test_the_rear_view_teams_second_column_is_a_recipe_for_each_net(tmp_path: Path, name: str, dropout: float):
    recipe, _ = read_recipe(f"rear-view-{name}", environment={}, folder=tmp_path)
    (phase,) = recipe.phases
    assert (recipe.model.backbone, recipe.model.weights, recipe.model.head.dropout) == (
        f"small_{name}",
        "none",
        dropout,
    )
    assert (recipe.execution.batch_size, phase.epochs, phase.patience, recipe.select.metric) == (
        128,
        100,
        15,
        "accuracy",
    )
    assert (phase.schedule, phase.restart_epochs, phase.restart_factor) == ("warm_restarts", 10, 2)
    assert (phase.learning_rate, phase.min_learning_rate, recipe.optimizer.weight_decay) == (1e-3, 1e-6, 1e-4)
    augment, color = recipe.augment, recipe.augment.color
    assert (color.brightness, color.contrast, color.saturation, color.hue) == (0.4, 0.4, 0.3, 0.15)
    assert (augment.rotate_degrees, augment.translate, augment.scale, augment.grey) == (20, 0.15, (0.85, 1.15), 0.1)
    assert (augment.perspective.distortion, augment.perspective.probability) == (0.2, 0.3)
    assert (augment.erase.probability, augment.erase.area) == (0.3, (0.02, 0.15))
    assert (recipe.loss.kind, recipe.loss.label_smoothing) == ("cross_entropy", 0.1)
    assert (recipe.optimizer.kind, recipe.optimizer.clip_norm) == ("adamw", 1.0)


def test_the_logos_recipe_is_the_logo_teams(tmp_path: Path):
    recipe, _ = read_recipe("logos", environment={}, folder=tmp_path)
    (phase,) = recipe.phases
    augment, color = recipe.augment, recipe.augment.color
    assert (augment.rotate_degrees, augment.flip, augment.crop_area, augment.grey) == (15, "horizontal", (0.8, 1), 0.1)
    assert (color.brightness, color.contrast, color.saturation, color.hue) == (0.3, 0.3, 0.2, 0)
    assert (recipe.balance.class_weights, recipe.optimizer.clip_norm) == ("balanced", 1.0)
    head = recipe.model.head
    assert head.hidden == (Hidden(units=128, dropout=0.2, batch_norm=True),)
    assert head.dropout == 0.1
    assert (phase.train, phase.patience) == (Gradual(gradual=Steps(every=5, stages=1)), 10)
    assert phase.head_learning_rate > phase.learning_rate
    assert 50 <= phase.epochs <= 100
    ideas = {"loss.kind": "focal", "augment.cutmix": 1.0, "phases.tune.epochs": 100}
    changed, _ = read_recipe("logos", ideas, environment={}, folder=tmp_path)
    assert (changed.loss.kind, changed.augment.cutmix, changed.phases[0].epochs) == ("focal", 1.0, 100)


def test_the_fast_recipe_does_no_more_than_the_x_ray_team(tmp_path: Path):
    recipe, _ = read_recipe("fast", environment={}, folder=tmp_path)
    (phase,) = recipe.phases
    assert (recipe.images.size, recipe.execution.batch_size, recipe.split.val_fraction) == (128, 64, 0.15)
    assert (phase.train, phase.epochs, phase.learning_rate) == ("head", 3, 2e-3)
    assert (recipe.limits.steps_per_epoch, recipe.limits.val_images) == (50, 10 * 64)
    assert not is_augmented(recipe.augment)
    assert (phase.schedule, phase.warmup_epochs) == ("constant", 0)


def test_the_screening_recipe_is_the_glaucoma_teams_second_plan(tmp_path: Path):
    recipe, _ = read_recipe("glaucoma-screening", environment={}, folder=tmp_path)
    head, tune = recipe.phases
    assert (recipe.loss.kind, recipe.loss.focal_gamma, recipe.select.metric) == ("focal", 1.5, "auc")
    assert (head.epochs, head.warmup_epochs, head.learning_rate) == (5, 2, 1e-4)
    assert (tune.train, tune.learning_rate, head.epochs + tune.epochs) == (Last(last=50), 1e-5, 15)
    layers = recipe.model.head
    assert [*(hidden.dropout for hidden in layers.hidden), layers.dropout] == [0.3, 0.3, 0.2]
    assert all(hidden.batch_norm for hidden in layers.hidden)
    assert (layers.initialisation, layers.l2) == ("glorot", 5e-4)
    assert (head.schedule, tune.schedule) == ("plateau", "plateau")
    augment = recipe.augment
    assert (augment.rotate_degrees, augment.translate, augment.color) == (15, 0.1, Color(brightness=0.2))


def test_auto_is_the_defaults(tmp_path: Path):
    recipe, _ = read_recipe(environment={}, folder=tmp_path)
    assert recipe.model_copy(update={"description": ""}) == Recipe()


def test_two_phase_is_the_classical_schedule(tmp_path: Path):
    recipe, _ = read_recipe("two-phase", environment={}, folder=tmp_path)
    head, tune = recipe.phases
    assert (head.train, head.epochs, head.learning_rate, head.warmup_epochs, head.patience) == ("head", 35, 1e-3, 5, 12)
    assert (tune.epochs, tune.learning_rate, tune.schedule, tune.patience) == (15, 5e-5, "plateau", 8)


def test_reading_and_resolving_a_recipe_loads_no_torch():
    code = (
        "import sys, pathlib, fitwell.recipe.read as r, fitwell.recipe.resolve, fitwell.device\n"
        "r.read_recipe('auto', environment={}, folder=pathlib.Path('.'))\n"
        "print(sorted({'torch', 'timm', 'pandas', 'sklearn', 'matplotlib', 'scipy'} & set(sys.modules)))"
    )
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert output.stdout.strip() == "[]"
