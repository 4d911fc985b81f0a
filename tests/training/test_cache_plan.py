import shutil
from collections import namedtuple

import pytest
import torch

from fitwell.data.loader import ImageSource
from fitwell.data.transforms import Preprocessing
from fitwell.model.network import build_network, create_backbone
from fitwell.recipe.schema import Limits, Phase, Stages
from fitwell.training.cache_plan import freeze, open_store, plan_cache
from fitwell.training.phase_data import RunData
from pictures import tiny_recipe

PREPROCESSING = Preprocessing(32, "crop", 1.0, (0.5,) * 3, (0.5,) * 3, "bilinear")


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return build_network(create_backbone("test_efficientnet"), num_classes=3, dropout=0.0)


@pytest.fixture
def data(tmp_path):
    def source(count):
        return ImageSource(tmp_path, ("",) * count, PREPROCESSING, None, seed=0)

    return RunData(source(20), source(16), batch_size=8, workers=0, seed=3)


def test_as_many_views_are_kept_as_there_is_room_for(network, data):
    recipe = tiny_recipe()
    plan = plan_cache(network, recipe, data, room_bytes=10**9)
    with torch.inference_mode():
        values = network.prefix(plan.boundary)(torch.zeros(1, 3, 32, 32)).numel()
    assert (plan.views, plan.asked_views, plan.bytes_per_image) == (2, 2, 2 * values)
    two_views = (2 * 20 + 16) * plan.bytes_per_image
    assert plan_cache(network, recipe, data, two_views).views == 2
    assert plan_cache(network, recipe, data, two_views - 1).views == 1
    assert plan_cache(network, recipe, data, 0).views == 0


def test_the_boundary_is_the_lowest_of_all_phases_that_leave_blocks_frozen(network, data):
    whole = Phase(name="all", train="all", epochs=1, learning_rate=0.1)
    one, two = (Phase(name=f"{n}", train=Stages(stages=n), epochs=9, learning_rate=0.1) for n in (1, 2))
    boundaries = [
        plan_cache(network, tiny_recipe(phases=phases), data, 10**9).boundary
        for phases in ((one,), (two,), (one, two), (two, whole), (whole,))
    ]
    assert boundaries[1] < boundaries[0]
    assert boundaries[2] == boundaries[3] == boundaries[1]
    assert boundaries[4] == 0


def test_nothing_is_kept_when_asked_so_or_when_every_block_trains(network, data):
    execution = tiny_recipe().execution.model_copy(update={"cache": "none"})
    assert plan_cache(network, tiny_recipe(execution=execution), data, 10**9).views == 0
    whole = (Phase(name="all", train="all", epochs=1, learning_rate=0.1),)
    assert plan_cache(network, tiny_recipe(phases=whole), data, 10**9).views == 0


def test_no_more_views_are_planned_than_the_longest_phase_has_epochs(network, data):
    phases = (Phase(name="head", train="head", epochs=1, learning_rate=0.1),)
    assert plan_cache(network, tiny_recipe(phases=phases), data, 10**9).views == 1


def test_the_frozen_blocks_run_by_the_engine_of_the_recipe(network, data, tmp_path):
    recipe = tiny_recipe()
    recipe = recipe.model_copy(update={"execution": recipe.execution.model_copy(update={"engine": "onnxruntime"})})
    plan = plan_cache(network, recipe, data, 10**9)
    frozen = freeze(network, recipe, plan, open_store(Limits()), lambda done, total: None)
    images = torch.randn(3, 3, 32, 32)
    with torch.inference_mode():
        expected = network.eval().prefix(plan.boundary)(images)
    torch.testing.assert_close(frozen.extract(images), expected, rtol=1e-3, atol=1e-4)
    assert (frozen.boundary, frozen.views) == (plan.boundary, 2)


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
