"""300 recipes drawn at random train two steps of every phase; 300 broken ones each tell what is wrong, and where."""

import math

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as draw
from pydantic import ValidationError

from fitwell.data.check.inspection import look_at
from fitwell.data.index import index_dataset
from fitwell.errors import RecipeError
from fitwell.files import read_json_lines
from fitwell.recipe.document import to_yaml
from fitwell.recipe.read import parse_recipe
from fitwell.recipe.schema import Recipe
from fitwell.training.prepare import create_run, prepare_run
from fitwell.training.session import continue_run

SWEEP = settings(
    max_examples=300, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
)
SEVERAL_BACKBONES = ("test_efficientnet", "test_resnet", "test_vit", "small_squeezenet")


def one_of(*values):
    return draw.sampled_from(values)


def section(**strategies):
    """A section with any of its keys: an absent one takes its default."""
    return draw.fixed_dictionaries({}, optional=strategies)


def between(low, high):
    return draw.floats(low, high, allow_nan=False).map(lambda value: float(f"{value:.3g}"))


def pair(low, high):
    return draw.tuples(between(low, high), between(low, high)).map(lambda ends: sorted(ends))


HEAD = section(
    hidden=draw.lists(
        section(dropout=between(0, 0.9), batch_norm=draw.booleans()).map(lambda h: {"units": 8} | h), max_size=2
    ),
    dropout=between(0, 0.9),
    initialisation=one_of("small", "glorot"),
    bias=one_of("zero", "prior"),
    l2=between(0, 1e-2),
)
AUGMENT = section(
    rotate_degrees=between(0, 180),
    flip=one_of("none", "horizontal", "vertical", "both", "dihedral"),
    crop_area=pair(0.05, 1),
    scale=pair(0.5, 2),
    translate=between(0, 1),
    perspective=section(probability=between(0, 1), distortion=between(0, 0.6)),
    color=section(brightness=between(0, 1), contrast=between(0, 1), saturation=between(0, 1), hue=between(0, 0.5)),
    grey=between(0, 1),
    policy=one_of("none", "rand", "trivial"),
    erase=section(probability=between(0, 1), area=pair(0.01, 0.9)),
    mixup=one_of(0.0, 0.2, 1.0),
    cutmix=one_of(0.0, 1.0),
    views=one_of("auto", 1, 3),
)
PHASE = section(
    train=one_of("head", "all", {"last": 2}, {"stages": 2}, {"gradual": {"every": 1, "stages": 1}}),
    learning_rate=one_of(1e-4, 1e-2, "search"),
    image_size=one_of(None, 24),
    head_learning_rate=one_of(None, 1e-2),
    head=one_of("kept", "fresh"),
    batch_norm=one_of("updated", "fixed"),
    depthwise=one_of("trained", "frozen"),
    warmup_epochs=one_of(0, 0.5),
    warmup=one_of("linear", "cosine"),
    schedule=one_of("constant", "cosine", "warm_restarts", "one_cycle", "polynomial", "plateau"),
    rate_changes=one_of("step", "epoch"),
    min_learning_rate=one_of(0.0, 1e-5),
    patience=one_of(None, 1),
).map(lambda phase: {"train": "head", "epochs": 1, "learning_rate": 1e-3} | phase)
RECIPE = draw.fixed_dictionaries(
    {
        "model": draw.fixed_dictionaries(
            {"backbone": one_of(*SEVERAL_BACKBONES), "weights": draw.just("none")}, optional={"head": HEAD}
        ),
        "images": section(fit=one_of("crop", "pad", "squash"), crop_fraction=between(0.3, 1)).map(
            lambda i: i | {"size": 32}
        ),
        "phases": draw.lists(PHASE, min_size=1, max_size=2).map(
            lambda phases: [{"name": f"phase-{number}"} | phase for number, phase in enumerate(phases)]
        ),
        "execution": section(
            micro_batch=one_of(None, 2, 3), pictures=one_of("auto", "stream", "resident"), cache=one_of("auto", "none")
        ).map(lambda execution: execution | {"batch_size": 8, "workers": 0, "engine": "eager"}),
        "limits": draw.just({"steps_per_epoch": 2}),
    },
    optional={
        "augment": AUGMENT,
        "loss": section(
            kind=one_of("cross_entropy", "focal"), label_smoothing=between(0, 0.9), focal_gamma=between(0, 5)
        ),
        "balance": section(
            class_weights=one_of("auto", "balanced", "effective_number", "none", {"red": 1, "green": 2, "blue": 0.5}),
            sampler=one_of("none", "balanced", "effective_number"),
            twice=draw.booleans(),
        ),
        "optimizer": section(
            kind=one_of("adamw", "sgd", "lion", "muon"),
            weight_decay=between(0, 0.1),
            clip_norm=one_of(None, 1.0),
            clip_each=draw.booleans(),
            layer_decay=one_of(0.7, 1.0),
        ),
        "averaging": section(ema=one_of(0.0, 0.99)),
        "select": section(metric=one_of("auto", "accuracy", "balanced_accuracy", "macro_f1", "auc", "log_loss")),
        "seed": draw.integers(0, 2**32 - 1),
    },
)


@pytest.fixture(scope="module")
def opened(pictures):
    dataset = index_dataset(pictures)
    return dataset, look_at(dataset)


@pytest.mark.slow
@SWEEP
@given(values=RECIPE)
def test_a_valid_recipe_trains(opened, tmp_path_factory, values):
    try:
        Recipe.model_validate(values)
    except ValidationError:
        assume(False)
    is_transformer = values["model"]["backbone"] == "test_vit"
    assume(not (is_transformer and any(phase.get("image_size") for phase in values["phases"])))  # it takes one size
    recipe = parse_recipe(to_yaml(values, "drawn"), "drawn")
    dataset, look = opened
    run = create_run(prepare_run(dataset, recipe, look=look), tmp_path_factory.mktemp("sweep"), "drawn")
    continue_run(run)
    assert run.read()["state"] == "finished"
    assert run.best_weights.exists()
    epochs = [record for record in read_json_lines(run.history) if record["kind"] == "epoch"]
    assert {record["phase"] for record in epochs} >= {values["phases"][-1]["name"]} or "gradual" in str(
        values["phases"]
    )
    assert all(math.isfinite(record["train"]["loss"]) for record in epochs)


WRONG = one_of(-1, "no-such-word", [[1]])  # which no setting takes
SETTINGS = (
    *(("images", key) for key in ("size", "fit", "crop_fraction")),
    *(("augment", key) for key in ("rotate_degrees", "flip", "crop_area", "translate", "grey", "policy", "mixup")),
    *(("loss", key) for key in ("kind", "label_smoothing", "focal_gamma")),
    *(("balance", key) for key in ("class_weights", "sampler", "effective_beta", "twice")),
    *(("optimizer", key) for key in ("kind", "weight_decay", "momentum", "clip_norm", "clip_each", "layer_decay")),
    *(("averaging", key) for key in ("ema",)),
    *(("select", key) for key in ("metric",)),
    *(
        ("execution", key)
        for key in ("precision", "batch_size", "micro_batch", "engine", "pictures", "cache", "workers")
    ),
    *(("limits", key) for key in ("memory", "steps_per_epoch", "val_images")),
    *(
        ("phases", 0, key)
        for key in ("train", "epochs", "learning_rate", "schedule", "patience", "power", "batch_norm")
    ),
)


@pytest.mark.slow
@SWEEP
@given(values=RECIPE, place=one_of(*SETTINGS), wrong=WRONG, how=one_of("value", "key"))
def test_a_broken_recipe_says_which_key_and_on_which_line(values, place, wrong, how):
    *parents, key = place
    section_ = values
    for part in parents:
        section_ = section_[part] if isinstance(part, int) else section_.setdefault(part, {})
    if how == "key":
        key = key[:-1] + "qz"
        section_[key] = 1
    else:
        section_[key] = wrong
    text = to_yaml(values, "drawn")
    with pytest.raises(RecipeError) as raised:
        parse_recipe(text, "drawn.yaml")
    name = f"phases.{values['phases'][0]['name']}.{key}" if parents[0] == "phases" else f"{parents[0]}.{key}"
    lines = [number for number, line in enumerate(text.splitlines(), 1) if line.strip(" -").startswith(f"{key}:")]
    told = str(raised.value)
    assert name in told
    assert any(f"drawn.yaml:{line}: " in told for line in lines)
