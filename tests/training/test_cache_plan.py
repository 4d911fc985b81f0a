import shutil
from collections import namedtuple

import pytest
import torch

from fitwell.model.network import build_network, create_backbone
from fitwell.recipe.phase import Phase, Stages
from fitwell.recipe.schema import Head, Limits
from fitwell.training.cache_plan import freeze, open_store, plan_cache
from pictures import tiny_recipe


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return build_network(create_backbone("test_efficientnet"), 3, Head(dropout=0.0))


def plan(network, recipe, room_bytes=10**9):
    return plan_cache(network, recipe, num_train=20, num_val=16, room_bytes=room_bytes)


def test_as_many_views_are_kept_as_there_is_room_for(network):
    recipe = tiny_recipe()
    found = plan(network, recipe)
    with torch.inference_mode():
        values = network.prefix(found.boundary)(torch.zeros(1, 3, 32, 32)).numel()
    assert (found.views, found.asked_views, found.num_bytes) == (2, 2, (2 * 20 + 16) * (2 * values + 64))
    assert plan(network, recipe, found.num_bytes).views == 2
    assert plan(network, recipe, found.num_bytes - 1).views == 1
    nothing = plan(network, recipe, 0)
    assert (nothing.views, nothing.num_bytes) == (0, 0)


def test_the_boundary_is_the_lowest_of_all_phases_that_leave_blocks_frozen(network):
    whole = Phase(name="all", train="all", epochs=1, learning_rate=0.1)
    one, two = (Phase(name=f"{n}", train=Stages(stages=n), epochs=9, learning_rate=0.1) for n in (1, 2))
    boundaries = [
        plan(network, tiny_recipe(phases=phases)).boundary
        for phases in ((one,), (two,), (one, two), (two, whole), (whole,))
    ]
    assert boundaries[1] < boundaries[0]
    assert boundaries[2] == boundaries[3] == boundaries[1]
    assert boundaries[4] == 0


def test_nothing_is_kept_when_asked_so_or_when_every_block_trains(network):
    execution = tiny_recipe().execution.model_copy(update={"cache": "none"})
    assert plan(network, tiny_recipe(execution=execution)).views == 0
    whole = (Phase(name="all", train="all", epochs=1, learning_rate=0.1),)
    assert plan(network, tiny_recipe(phases=whole)).views == 0


def test_no_more_views_are_planned_than_the_longest_phase_has_epochs(network):
    phases = (Phase(name="head", train="head", epochs=1, learning_rate=0.1),)
    assert plan(network, tiny_recipe(phases=phases)).views == 1


def test_the_frozen_blocks_run_by_the_engine_of_the_recipe(network):
    recipe = tiny_recipe()
    recipe = recipe.model_copy(update={"execution": recipe.execution.model_copy(update={"engine": "onnxruntime"})})
    found = plan(network, recipe)
    frozen = freeze(network, recipe, found, open_store(Limits()), lambda done, total: None)
    images = torch.randn(3, 3, 32, 32)
    with torch.inference_mode():
        expected = network.eval().prefix(found.boundary)(images)
    torch.testing.assert_close(frozen.extract(images), expected, rtol=1e-3, atol=1e-4)
    assert (frozen.boundary, frozen.views) == (found.boundary, 2)


def test_the_cap_is_what_was_asked_or_a_part_of_what_the_disk_has_left(own_cache, monkeypatch):
    assert open_store(Limits(cache="3MB")).cap_bytes == 3_000_000
    Usage = namedtuple("Usage", "free")
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: Usage(10_000))
    assert open_store(Limits()).cap_bytes == 5_000
    own_cache.mkdir()
    (own_cache / "lock").touch()
    (own_cache / "kept").write_bytes(bytes(2_000))
    assert open_store(Limits()).cap_bytes == 6_000
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: Usage(10**13))
    assert open_store(Limits()).cap_bytes == 20_000_000_000
