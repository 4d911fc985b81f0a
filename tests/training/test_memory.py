import resource
import sys

import pytest
import torch

from fitwell.errors import ResourceError
from fitwell.model.network import build_network, create_backbone
from fitwell.recipe.phase import Phase, Stages
from fitwell.recipe.schema import Averaging, Head, Limits
from fitwell.training import memory
from fitwell.training.memory import find_limit, free_bytes, held_bytes, plan_memory
from pictures import tiny_recipe

SEARCH = Phase(name="head", train="head", epochs=1, learning_rate="search")
HEAD = Phase(name="head", train="head", epochs=2, learning_rate=0.1)
TUNE = Phase(name="tune", train=Stages(stages=1), epochs=2, learning_rate=0.1)
WHOLE = Phase(name="all", train="all", epochs=1, learning_rate=0.1)
MANY = {"num_train": 200_000, "num_val": 10_000}


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return build_network(create_backbone("test_efficientnet"), 3, Head(dropout=0.0))


@pytest.fixture(autouse=True)
def small_process(monkeypatch):
    monkeypatch.setattr(memory, "held_bytes", lambda: 500_000_000)


def plan(network, *phases, limit="1TB", **sizes):
    recipe = tiny_recipe(phases=phases, limits=Limits(memory=limit))
    return plan_memory(network, recipe, **{"num_train": 100, "num_val": 20, **sizes})


def test_weights_count_with_their_copies_and_with_what_adamw_keeps_of_those_that_train(network):
    total = sum(parameter.numel() for parameter in network.parameters())
    head = sum(parameter.numel() for parameter in network.head.parameters())
    assert plan(network, HEAD).parts["weights"] == 4 * (6 * total + 3 * head)
    assert plan(network, HEAD, WHOLE).parts["weights"] == 4 * (6 * total + 3 * total)


def test_an_average_of_the_weights_counts_with_those_that_it_stands_in_for(network):
    recipe = tiny_recipe(phases=(WHOLE,), limits=Limits(memory="1TB"))
    plain, averaged = (
        plan_memory(network, recipe.model_copy(update={"averaging": Averaging(ema=ema)}), num_train=100, num_val=20)
        for ema in (0.0, 0.99)
    )
    total = sum(parameter.numel() for parameter in network.parameters())
    assert averaged.parts["weights"] - plain.parts["weights"] == 4 * 2 * total


def test_a_batch_counts_every_output_of_the_blocks_that_train(network):
    recipe = tiny_recipe(phases=(WHOLE,), limits=Limits(memory="1TB"))
    single = memory._Need(network, recipe, 100, 20)
    execution = recipe.execution.model_copy(update={"batch_size": 1000})
    many = memory._Need(network, recipe.model_copy(update={"execution": execution}), 100, 20)
    grown = many.of_phase(WHOLE, True)["batch"] - single.of_phase(WHOLE, True)["batch"]
    sizes = []
    hooks = [
        layer.register_forward_hook(lambda _layer, _inputs, output: sizes.append(output.numel()))
        for layer in network.backbone.modules()
        if isinstance(layer, torch.nn.Conv2d)
    ]
    network.eval()(torch.zeros(1, 3, 32, 32))
    for hook in hooks:
        hook.remove()
    assert 4 * 992 * sum(sizes) < grown < 3 * 4 * 992 * sum(sizes)  # besides convolutions: activations, squeezes


def test_features_of_a_search_grow_with_the_images_and_not_with_the_views(network):
    width = network.head[1].in_features
    small, large = plan(network, SEARCH, **MANY), plan(network, SEARCH, **{**MANY, "num_train": 300_000})
    per_image = 5 * 4 * width + 4 * 8 * 3 + 300
    assert large.parts["features"] - small.parts["features"] == 100_000 * per_image


def test_features_above_the_kept_activations_are_held_where_they_fit_and_computed_again_where_not(network):
    ample = plan(network, HEAD, TUNE, **MANY)
    width = network.head[1].in_features
    assert ample.holds_features
    assert ample.parts["features"] == (2 * 200_000 + 10_000) * (4 * width + 300)
    tight = plan(network, HEAD, TUNE, limit=ample.expected_bytes - 1, **MANY)
    assert not tight.holds_features
    assert tight.expected_bytes < ample.expected_bytes


@pytest.mark.parametrize(
    ("phase", "sizes", "cure"),
    [
        (SEARCH, {"num_train": 10**7}, "give the phase a learning_rate instead of search, or raise limits.memory"),
        (HEAD, {"num_train": 10**4}, "lower execution.workers, or raise limits.memory"),
    ],
)
def test_what_does_not_fit_at_all_is_refused_with_the_cure_of_its_largest_part(network, phase, sizes, cure):
    execution = tiny_recipe().execution.model_copy(update={"workers": 7})
    recipe = tiny_recipe(phases=(phase,), limits=Limits(memory="1GB"), execution=execution)
    with pytest.raises(
        ResourceError, match=r"(?s)at its peak \(process 1.20 GB, weights .*limits.memory was given"
    ) as at:
        plan_memory(network, recipe, num_val=10, **sizes)
    assert at.value.fix == f"{cure}."


def test_the_record_is_plain_and_the_sentence_names_every_part(network):
    found = plan(network, SEARCH)
    assert found.record()["expected_bytes"] == sum(found.record()["parts"].values()) == found.expected_bytes
    assert found.sentence().startswith(f"{found.expected_bytes / 1e9:.2f} GB at its peak (process 1.20 GB, weights ")
    assert found.sentence().endswith(" of 1000.00 GB")


def test_a_given_limit_wins_and_auto_is_what_is_held_and_most_of_what_is_free(monkeypatch):
    assert find_limit(tiny_recipe(limits=Limits(memory="3GB"))) == (3 * 10**9, "limits.memory was given")
    monkeypatch.setattr(memory, "free_bytes", lambda: 10**10)
    limit, reason = find_limit(tiny_recipe())
    assert limit == 500_000_000 + 8 * 10**9
    assert reason == "0.50 GB that the process holds and 80% of 10.00 GB that are free"


def test_what_the_process_holds_is_below_its_peak(tmp_path):
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    assert 0.1 * peak < held_bytes() <= held_bytes(tmp_path / "none") * 1.1


def write_group(folder, limit, used, stat):
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in {**limit, **used, "memory.stat": stat}.items():
        (folder / name).write_text(f"{text}\n")


@pytest.fixture
def machine(tmp_path):
    (tmp_path / "proc" / "self").mkdir(parents=True)
    (tmp_path / "proc" / "meminfo").write_text("MemTotal: 900 kB\nMemAvailable: 800 kB\n")
    (tmp_path / "proc" / "self" / "cgroup").write_text("9:cpu:/x\n4:memory:/outer/inner\n0::/outer/inner\n")
    return tmp_path


def free_of(machine):
    return free_bytes(machine / "proc", machine / "cgroups")


def test_free_is_what_the_machine_has_where_no_group_limits_it(machine):
    assert free_of(machine) == 800 * 1024
    write_group(machine / "cgroups" / "outer", {"memory.max": "max"}, {"memory.current": 9}, "inactive_file 0")
    assert free_of(machine) == 800 * 1024


def test_free_is_less_in_a_group_of_either_version_whose_cached_files_count_as_free(machine):
    write_group(machine / "cgroups" / "outer", {"memory.max": 9000}, {"memory.current": 5000}, "inactive_file 1000")
    assert free_of(machine) == 5000
    write_group(
        machine / "cgroups" / "memory" / "outer" / "inner",
        {"memory.limit_in_bytes": 4000},
        {"memory.usage_in_bytes": 3000},
        "cache 7\ntotal_inactive_file 500",
    )
    assert free_of(machine) == 1500


def test_a_group_beyond_its_limit_has_nothing_free(machine):
    write_group(machine / "cgroups" / "outer", {"memory.max": 10}, {"memory.current": 50}, "inactive_file 0")
    assert free_of(machine) == 0


def test_a_system_without_proc_has_its_physical_memory(tmp_path):
    assert free_bytes(tmp_path / "none") >= free_bytes()


def test_a_batch_on_another_device_takes_none_of_this_memory(network, monkeypatch):
    monkeypatch.setattr(memory, "choose_device", lambda asked: ("cuda:0", "a reason"))
    assert plan(network, WHOLE).parts["batch"] == 0
