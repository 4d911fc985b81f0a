"""Every built-in recipe, on a tiny backbone and tiny pictures: it trains, and a stop in any phase changes nothing."""

import pytest
import torch

from fitwell.data.check.inspection import look_at
from fitwell.data.index import index_dataset
from fitwell.errors import RunStopped
from fitwell.model.saved_weights import load_best
from fitwell.recipe.read import builtin_recipes, read_recipe
from fitwell.training.observer import Action, Searched, StepDone
from fitwell.training.prepare import create_run, prepare_run
from fitwell.training.session import continue_run
from kill_driver import train_with_kills

SMALL = {"images.size": 32, "execution.batch_size": 8, "execution.workers": 0, "execution.engine": "eager"}


@pytest.fixture(scope="module")
def opened(pictures):
    dataset = index_dataset(pictures)
    return dataset, look_at(dataset)


def shrunk(name, folder):
    """Return the built-in recipe with a tiny backbone, unless it has a small net, and two epochs a phase or step."""
    whole = read_recipe(name, environment={}, folder=folder)[0]
    changes = dict(SMALL)
    if not whole.model.backbone.startswith("small_"):
        changes |= {"model.backbone": "test_efficientnet", "model.weights": "none"}
    for phase in whole.phases:
        key = f"phases.{phase.name}"
        gradual = hasattr(phase.train, "gradual")
        changes[f"{key}.epochs"] = 4 if gradual else 2
        if gradual:
            changes[f"{key}.train"] = {"gradual": {"every": 2, "stages": phase.train.gradual.stages}}
        if hasattr(phase.train, "last"):
            changes[f"{key}.train"] = {"last": min(phase.train.last, 8)}
        if phase.warmup_epochs >= 1:
            changes[f"{key}.warmup_epochs"] = 1
    return read_recipe(name, changes, environment={}, folder=folder)[0]


def asking_to_stop_in(phase):
    """An observer that stops the run after two steps, or the first epoch of a search, of `phase`."""
    seen = 0

    def observer(event):
        nonlocal seen
        if isinstance(event, StepDone | Searched) and event.phase == phase:
            seen += 1
            if seen == (2 if isinstance(event, StepDone) else 1):
                return Action.STOP
        return None

    return observer


def assert_equal_weights(first, second):
    ours, theirs = (load_best(run, run.read()["best_sha256"]) for run in (first, second))
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(value, theirs[key]) for key, value in ours.items())


@pytest.mark.parametrize("name", sorted(builtin_recipes()))
def test_a_stop_in_every_phase_leaves_the_same_weights(opened, tmp_path, name):
    dataset, look = opened
    recipe = shrunk(name, tmp_path)
    whole, stopped = (create_run(prepare_run(dataset, recipe, look=look), tmp_path, name) for _ in range(2))
    phases = [phase.name for phase in prepare_run(dataset, recipe, look=look).recipe.phases]
    continue_run(whole)
    for phase in phases:
        with pytest.raises(RunStopped):
            continue_run(stopped, observers=(asking_to_stop_in(phase),))
    continue_run(stopped)
    assert_equal_weights(whole, stopped)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(builtin_recipes()))
def test_a_kill_in_every_phase_leaves_the_same_weights(opened, tmp_path, name):
    dataset, look = opened
    prepared = prepare_run(dataset, shrunk(name, tmp_path), look=look)
    whole, killed = (create_run(prepared, tmp_path, name) for _ in range(2))
    phases = [phase.name for phase in prepared.recipe.phases]
    train_with_kills(whole, [])
    assert train_with_kills(killed, [[phase, 0] for phase in phases])[0] == len(phases)
    assert_equal_weights(whole, killed)
