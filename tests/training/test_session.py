import json
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from fitwell.classifier import evaluate
from fitwell.data.index import index_dataset
from fitwell.errors import CheckpointError, DataError, RunError, RunLockedError, RunStopped
from fitwell.files import read_json_lines, sha256_of_file
from fitwell.recipe.phase import Phase, Stages
from fitwell.recipe.resolve import plan_labelling
from fitwell.recipe.schema import (
    Augment,
    Averaging,
    Balance,
    Execution,
    Head,
    Hidden,
    Limits,
    Loss,
    Model,
    Optimizer,
    Select,
    Target,
)
from fitwell.run_folder import RunFolder
from fitwell.training.checkpoint import load_checkpoint
from fitwell.training.observer import (
    Action,
    EpochDone,
    Extracted,
    PhaseEnded,
    PhaseStarted,
    Searched,
    StepDone,
    Validated,
)
from fitwell.training.prepare import create_run, prepare_run
from fitwell.training.session import continue_run
from kill_driver import train_with_kills
from pictures import tiny_recipe, write_label_sets, write_pictures

FIXED = (
    Phase(name="head", train="head", epochs=3, learning_rate=1e-2),
    Phase(
        name="fine-tune",
        train=Stages(stages=1),
        epochs=3,
        learning_rate=3e-3,
        head_learning_rate=1e-2,
        head="fresh",
        batch_norm="fixed",
        depthwise="frozen",
    ),
)


@pytest.fixture
def new_run(pictures, tmp_path):
    def create(**changes) -> RunFolder:
        recipe = tiny_recipe(**changes)
        source = write_label_sets(tmp_path / "sets") if recipe.target.is_multi_label else pictures
        dataset = index_dataset(source, labelling=plan_labelling(recipe))
        return create_run(prepare_run(dataset, recipe), tmp_path / "runs", "tiny")

    return create


def weights(run):
    """The best weights, and those the last phase began its end with."""
    return load_file(run.best_weights), load_checkpoint(run)["network"]


def assert_equal_weights(first, second):
    for ours, theirs in zip(weights(first), weights(second), strict=True):
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(tensor, theirs[name]) for name, tensor in ours.items())


def stop_at(step, kind=StepDone):
    def observer(event):
        if isinstance(event, kind) and (kind is not StepDone or event.step == step):
            return Action.STOP
        return None

    return observer


def stop_in(phase):
    """Stop in the middle of the second epoch of `phase`."""
    seen = []

    def observer(event):
        if isinstance(event, StepDone) and event.phase.startswith(phase) and event.epoch == 2:
            seen.append(event.step)
            return Action.STOP if len(seen) == 2 else None
        return None

    return observer


def test_a_run_learns_and_leaves_the_folder_of_the_design(new_run):
    run = new_run()
    continue_run(run)
    record = run.read()
    assert record["state"] == "finished"
    assert record["exit"] == {"code": 0, "reason": "finished"}
    assert record["best_sha256"] == sha256_of_file(run.best_weights)
    assert record["plan"]["cache"]["views"] == 2
    epochs = [entry for entry in read_json_lines(run.history) if entry["kind"] == "epoch"]
    assert [(entry["phase"], entry["epoch"]) for entry in epochs] == [
        (phase, epoch) for phase in ("head", "fine-tune") for epoch in (1, 2, 3)
    ]
    assert epochs[-1]["step"] == 24
    assert epochs[-1]["train"]["loss"] < epochs[0]["train"]["loss"]
    best = max(epochs, key=lambda entry: entry["val"]["accuracy"])
    assert record["select"]["best"]["value"] == best["val"]["accuracy"]
    assert sorted(path.name for path in run.path.iterdir()) == [
        "augmentation.jpg",
        "checkpoints",
        "epochs.csv",
        "evaluation",
        "findings.jsonl",
        "history.jsonl",
        "machine.jsonl",
        "recipe.yaml",
        "run.json",
        "run.log",
        "split.csv",
        "tensorboard",
    ]
    assert sorted(path.name for path in (run.path / "tensorboard").iterdir()) == ["_machine", "fine-tune", "head"]


def test_the_head_phase_leaves_the_backbone_as_it_was(new_run):
    run = new_run(phases=(Phase(name="head", train="head", epochs=2, learning_rate=0.1),))
    torch.manual_seed(0)
    from fitwell.model.network import build_network, create_backbone

    fresh = build_network(create_backbone("test_efficientnet"), 3, Head(dropout=0.2)).state_dict()
    continue_run(run)
    trained = load_file(run.best_weights)
    changed = {name for name, tensor in trained.items() if not torch.equal(tensor, fresh[name])}
    assert changed == {"head.1.weight", "head.1.bias"}


@pytest.mark.parametrize("step", [1, 11, 12, 17, 24])
def test_a_run_stopped_at_any_step_ends_with_the_same_weights(new_run, step, own_cache):
    whole, stopped = new_run(), new_run()
    continue_run(whole)
    shutil.rmtree(own_cache)
    with pytest.raises(RunStopped, match=r"(?s)stands checkpointed.*continue with: fitwell resume"):
        continue_run(stopped, observers=(stop_at(step),))
    assert stopped.read()["state"] == "interrupted"
    continue_run(stopped)
    assert_equal_weights(whole, stopped)

    def records(run):
        timeless = ("kind", "phase", "epoch", "step", "loss", "train", "val", "best")
        return [{key: entry.get(key) for key in timeless} for entry in read_json_lines(run.history)]

    assert records(whole) == records(stopped)


HIDDEN = Head(hidden=(Hidden(units=8, dropout=0.3, batch_norm=True),), initialisation="glorot", bias="prior", l2=5e-4)
VARIANTS = {
    "focal": {"loss": Loss(kind="focal", focal_gamma=1.5), "balance": Balance(class_weights="effective_number")},
    "sampler": {"balance": Balance(sampler="balanced")},
    "hidden": {"model": Model(backbone="test_efficientnet", weights="none", head=HIDDEN)},
    "sgd": {"optimizer": Optimizer(kind="sgd", layer_decay=0.7), "averaging": Averaging(ema=0.9)},
    "lion": {"optimizer": Optimizer(kind="lion"), "augment": Augment(views=2, mixup=0.2, cutmix=1.0)},
    "last": {"select": Select(metric="log_loss", keep="last")},
    "muon": {"optimizer": Optimizer(kind="muon", layer_decay=0.7)},
    "parts": {"execution": tiny_recipe().execution.model_copy(update={"micro_batch": 3})},
    "gradual": {
        "phases": (
            Phase.model_validate(
                {
                    "name": "head",
                    "train": {"gradual": {"every": 2}},
                    "epochs": 4,
                    "learning_rate": 1e-2,
                    "head": "fresh",
                }
            ),
            Phase(name="fine-tune", train="all", epochs=2, learning_rate=1e-3, schedule="one_cycle"),
        )
    },
    "ordinal": {"target": Target(order=("red", "blue", "green")), "loss": Loss(kind="ordinal")},
    "several classes": {"target": Target(kind="multi_label"), "augment": Augment(views=2, mixup=0.2, cutmix=1.0)},
    "several, focal": {
        "target": Target(kind="multi_label"),
        "loss": Loss(kind="focal"),
        "balance": Balance(class_weights="balanced"),
        "model": Model(backbone="test_efficientnet", weights="none", head=HIDDEN),
        "averaging": Averaging(ema=0.9),
        "execution": tiny_recipe().execution.model_copy(update={"micro_batch": 3}),
    },
    "own statistics": {"model": Model(backbone="test_efficientnet", weights="none", own_statistics=0.5)},
    "few steps": {"limits": Limits(steps_per_epoch=2, val_images=4)},
}


@pytest.mark.parametrize("phase", ["head", "fine-tune"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_every_way_of_training_ends_with_the_same_weights_when_stopped_in_any_phase(new_run, variant, phase):
    whole, stopped = (new_run(**VARIANTS[variant]) for _ in range(2))
    continue_run(whole)
    with pytest.raises(RunStopped):
        continue_run(stopped, observers=(stop_in(phase),))
    continue_run(stopped)
    assert_equal_weights(whole, stopped)


def test_an_epoch_takes_no_more_steps_than_it_may_and_the_next_sees_other_images(new_run):
    run = new_run(limits=Limits(steps_per_epoch=2, val_images=4))
    continue_run(run)
    epochs = [entry for entry in read_json_lines(run.history) if entry["kind"] == "epoch"]
    assert [entry["step"] for entry in epochs] == [2, 4, 6, 8, 10, 12]
    assert {value * 4 % 1 for entry in epochs for value in [entry["val"]["accuracy"]]} == {0.0}  # of four images


@pytest.mark.parametrize("kind", [Extracted, Validated, EpochDone])
def test_a_stop_between_steps_is_heard_too(new_run, kind, own_cache):
    whole, stopped = new_run(), new_run()
    continue_run(whole)
    shutil.rmtree(own_cache)
    with pytest.raises(RunStopped):
        continue_run(stopped, observers=(stop_at(None, kind),))
    continue_run(stopped)
    assert_equal_weights(whole, stopped)


def test_uncached_training_resumes_to_the_same_weights_too(new_run):
    execution = tiny_recipe().execution.model_copy(update={"cache": "none"})
    whole, stopped = new_run(execution=execution), new_run(execution=execution)
    continue_run(whole)
    with pytest.raises(RunStopped):
        continue_run(stopped, observers=(stop_at(11),))
    continue_run(stopped)
    assert whole.read()["plan"]["cache"]["views"] == 0
    assert_equal_weights(whole, stopped)


def test_a_cache_that_holds_nothing_leaves_training_as_it_would_be_without(new_run):
    execution = tiny_recipe().execution.model_copy(update={"cache": "none"})
    without, full = new_run(execution=execution), new_run(limits=Limits(cache=1000))
    continue_run(without)
    continue_run(full)
    assert full.read()["plan"]["cache"]["views"] == 0
    assert_equal_weights(without, full)


def test_a_run_that_finds_its_activations_kept_ends_with_the_same_weights(new_run):
    first, second = new_run(), new_run()
    continue_run(first)
    told = []
    continue_run(second, observers=(told.append,))
    assert not [event for event in told if isinstance(event, Extracted)]
    assert_equal_weights(first, second)


def test_a_run_that_may_not_hold_its_features_learns_the_same(new_run):
    held, tight = new_run(), new_run()
    tight.update(memory={**tight.read()["memory"], "holds_features": False})
    continue_run(held)
    continue_run(tight)
    assert held.read()["memory"]["holds_features"]
    values = [run.read()["select"]["best"]["value"] for run in (held, tight)]
    assert values[0] == pytest.approx(values[1], abs=0.21)  # one of five val images


SEARCH = (
    Phase(name="head", train="head", epochs=2, learning_rate="search"),
    Phase(name="fine-tune", train=Stages(stages=1), epochs=2, learning_rate=3e-3),
)


@pytest.mark.parametrize("cache", ["auto", "none"])
def test_a_searched_head_has_the_val_number_that_the_history_tells(new_run, cache):
    execution = tiny_recipe().execution.model_copy(update={"cache": cache})
    run = new_run(phases=SEARCH[:1], execution=execution)
    continue_run(run)
    record = run.read()
    (epoch,) = [entry for entry in read_json_lines(run.history) if entry["kind"] == "epoch"]
    assert record["select"]["best"]["value"] == epoch["val"]["accuracy"]
    assert evaluate(run, "val")["metrics"]["accuracy"]["value"] == pytest.approx(epoch["val"]["accuracy"])
    assert len(record["heads"]) > 48


def test_a_run_stopped_while_heads_are_searched_ends_with_the_same_weights(new_run):
    whole, stopped = new_run(phases=SEARCH), new_run(phases=SEARCH)
    continue_run(whole)
    with pytest.raises(RunStopped):
        continue_run(stopped, observers=(stop_at(None, Searched),))
    continue_run(stopped)
    assert_equal_weights(whole, stopped)


@pytest.mark.parametrize("cache", ["auto", "none"])
@pytest.mark.parametrize("step", [12, 13, 20])
def test_a_phase_with_a_fresh_head_and_fixed_norms_resumes_to_the_same_weights(new_run, step, cache, own_cache):
    execution = tiny_recipe().execution.model_copy(update={"cache": cache})
    settings = {"phases": FIXED, "execution": execution}
    whole, stopped = new_run(**settings), new_run(**settings)
    continue_run(whole)
    shutil.rmtree(own_cache, ignore_errors=True)
    with pytest.raises(RunStopped):
        continue_run(stopped, observers=(stop_at(step),))
    continue_run(stopped)
    assert_equal_weights(whole, stopped)


GROWING = (
    Phase(name="small", train="all", epochs=2, learning_rate=3e-3, image_size=16),
    Phase(name="large", train=Stages(stages=1), epochs=2, learning_rate=3e-3),
)


@pytest.mark.parametrize("step", [3, 6])
def test_pictures_that_grow_from_phase_to_phase_resume_to_the_same_weights(new_run, step):
    whole, stopped = new_run(phases=GROWING), new_run(phases=GROWING)
    continue_run(whole)
    with pytest.raises(RunStopped):
        continue_run(stopped, observers=(stop_at(step),))
    continue_run(stopped)
    assert_equal_weights(whole, stopped)
    assert whole.read()["plan"]["cache"]["views"] == 2  # for the phase of the size that evaluation sees


def test_resident_pictures_resume_to_the_same_weights_and_teach_what_streamed_ones_do(new_run):
    held = tiny_recipe().execution.model_copy(update={"pictures": "resident"})
    streamed, whole, stopped = new_run(phases=GROWING), *(new_run(phases=GROWING, execution=held) for _ in range(2))
    continue_run(streamed)
    continue_run(whole)
    with pytest.raises(RunStopped):
        continue_run(stopped, observers=(stop_at(3),))
    continue_run(stopped)
    assert_equal_weights(whole, stopped)
    losses = [
        [entry["train"]["loss"] for entry in read_json_lines(run.history) if entry["kind"] == "epoch"][:2]
        for run in (streamed, whole)
    ]  # of the phase that sees pictures
    assert losses[0] == pytest.approx(losses[1], rel=0.2)  # the pictures are tiny, and differ by a few levels
    assert losses[0] != losses[1]


def test_a_phase_of_small_pictures_learns_from_them_alone(new_run):
    runs = [new_run(phases=(GROWING[0].model_copy(update={"image_size": size}),)) for size in (16, 32, None)]
    for run in runs:
        continue_run(run)
    assert_equal_weights(runs[1], runs[2])
    small, usual = (weights(run)[1]["head.1.weight"] for run in (runs[0], runs[2]))
    assert not torch.equal(small, usual)


def first_moments(run, phase):
    """How many of the head's and of the backbone's weights the optimizer remembers as `phase` begins."""
    found = []

    def observer(event):
        if isinstance(event, PhaseStarted) and event.phase == phase:
            names = list(load_checkpoint(run)["moments"])
            found.append([sum(name.startswith(part) for name in names) for part in ("head.", "backbone.")])

    continue_run(run, observers=(observer,))
    return found[0]


@pytest.mark.parametrize(
    ("second", "kept"),
    [
        ({}, (True, True)),
        ({"head": "fresh"}, (False, True)),
        ({"batch_norm": "fixed"}, (True, False)),  # the norms go into the convolutions, whose scale changes
        ({"head": "fresh", "batch_norm": "fixed"}, (False, False)),
    ],
)
def test_the_optimizer_remembers_what_trained_before_unless_it_is_drawn_or_scaled_anew(new_run, second, kept):
    first = Phase(name="first", train=Stages(stages=1), epochs=1, learning_rate=1e-3)
    then = Phase(name="then", train=Stages(stages=2), epochs=1, learning_rate=1e-3, **second)
    assert tuple(count > 0 for count in first_moments(new_run(phases=(first, then)), "then")) == kept


def test_an_average_is_what_val_judges_and_the_run_keeps(new_run):
    plain, averaged = new_run(), new_run(averaging=Averaging(ema=0.99))
    for run in (plain, averaged):
        continue_run(run)
    first, second = (
        [entry for entry in read_json_lines(run.history) if entry["kind"] == "epoch"] for run in (plain, averaged)
    )
    assert first[0]["train"] == second[0]["train"]  # the weights themselves go the same way
    assert first[0]["val"]["log_loss"] != second[0]["val"]["log_loss"]


def test_a_fresh_head_forgets_what_the_phase_before_learnt(new_run):
    starts = {}
    for head in ("kept", "fresh"):
        second = FIXED[1].model_copy(update={"head": head, "learning_rate": 1e-12, "head_learning_rate": None})
        run = new_run(phases=(FIXED[0].model_copy(update={"epochs": 12}), second))
        continue_run(run)
        epochs = [entry for entry in read_json_lines(run.history) if entry["kind"] == "epoch"]
        learnt = [entry["val"]["log_loss"] for entry in epochs if entry["phase"] == "head" and entry["best"]][-1]
        starts[head] = next(entry["val"]["log_loss"] for entry in epochs if entry["phase"] == "fine-tune")
    assert starts["kept"] == pytest.approx(learnt, abs=1e-4)
    assert starts["fresh"] == pytest.approx(np.log(3), abs=1e-3)  # all three classes equally likely
    assert abs(learnt - np.log(3)) > 0.01


@pytest.mark.parametrize("cache", ["auto", "none"])
def test_the_number_of_workers_changes_no_bit(new_run, cache):
    runs = []
    for workers in (0, 2):
        execution = tiny_recipe().execution.model_copy(update={"cache": cache, "workers": workers})
        runs.append(new_run(execution=execution))
        continue_run(runs[-1])
    first, second = (load_file(run.best_weights) for run in runs)
    assert all(torch.equal(tensor, second[name]) for name, tensor in first.items())


def kill_and_compare(new_run, num_kills, seed):
    phases = tuple(phase.model_copy(update={"epochs": 12}) for phase in tiny_recipe().phases)
    whole, killed = new_run(phases=phases), new_run(phases=phases)
    rng = np.random.default_rng(seed)
    steps = np.sort(rng.integers(1, 60, num_kills))  # of 96: a run that ends before its kill would prove nothing
    train_with_kills(whole, [])
    found = train_with_kills(killed, [[int(step), 0.03 * rng.random()] for step in steps])
    assert_equal_weights(whole, killed)
    return found


def test_a_run_killed_at_random_points_ends_with_the_same_weights(new_run):
    killed, _ = kill_and_compare(new_run, num_kills=4, seed=1)
    assert killed == 4


@pytest.mark.slow
def test_twenty_kills_some_of_them_while_a_checkpoint_is_written_change_no_bit(new_run):
    killed, torn = kill_and_compare(new_run, num_kills=20, seed=0)
    assert killed == 20
    assert torn > 0


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_leaves_a_checkpoint_and_the_right_exit_code(new_run, number, code):
    run = new_run(phases=(Phase(name="long", train="head", epochs=100_000, learning_rate=1e-3),))
    program = "import sys; from fitwell.__main__ import main; sys.argv[1:] = ['resume', sys.argv[1]]; sys.exit(main())"
    process = subprocess.Popen([sys.executable, "-c", program, str(run.path)], stderr=subprocess.PIPE, text=True)
    while not any(entry["step"] > 20 for entry in read_json_lines(run.history)):
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.05)
    asked = time.monotonic()
    process.send_signal(number)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == code
    assert time.monotonic() - asked < 10  # the promise of the run, not a benchmark
    assert f"fitwell resume {run.path}" in stderr
    assert load_checkpoint(run)["progress"]["step"] > 20
    assert run.read()["exit"]["code"] == code


def test_two_writers_do_not_share_a_run(new_run):
    run = new_run()
    with run.lock(), pytest.raises(RunLockedError, match="one writer per folder"):
        continue_run(run)


def test_a_resume_with_other_classes_is_refused_and_nothing_is_lost(new_run):
    run = new_run()
    with pytest.raises(RunStopped):
        continue_run(run, observers=(stop_at(5),))
    record = json.loads(run.run_json.read_text())
    record["data"]["classes"] = ["blue", "green", "purple"]
    run.run_json.write_text(json.dumps(record))
    checkpoint = sha256_of_file(run.checkpoints / "step-00000005.pt")
    with pytest.raises(
        CheckpointError, match=r"(?s)classes: checkpoint blue, green, red, run folder blue, green, purple"
    ):
        continue_run(run)
    assert sha256_of_file(run.checkpoints / "step-00000005.pt") == checkpoint


def test_a_resume_with_another_recipe_or_split_is_refused(new_run):
    run = new_run()
    with pytest.raises(RunStopped):
        continue_run(run, observers=(stop_at(5),))
    run.recipe.write_text(run.recipe.read_text().replace("label_smoothing: 0.1", "label_smoothing: 0.2"))
    run.split.write_text(run.split.read_text().replace(",val,", ",train,", 1))
    with pytest.raises(CheckpointError, match=r"(?s)recipe: checkpoint .*split: checkpoint"):
        continue_run(run)


def test_an_image_that_vanishes_stops_the_run_after_a_checkpoint(tmp_path):
    folder = write_pictures(tmp_path / "pictures")
    execution = Execution(
        device="cpu", precision="float32", memory_format="contiguous", batch_size=8, workers=0, cache="none"
    )
    run = create_run(prepare_run(index_dataset(folder), tiny_recipe(execution=execution)), tmp_path, "vanishing")

    def remove(event):
        if isinstance(event, StepDone) and event.step == 4:
            shutil.rmtree(folder / "red")

    with pytest.raises(DataError, match="red/"):
        continue_run(run, observers=(remove,))
    assert run.read()["state"] == "failed"
    assert run.read()["exit"]["code"] == 3
    assert load_checkpoint(run)["progress"]["step"] >= 4


def test_a_loss_that_is_not_finite_stops_the_run_and_names_the_steps(new_run):
    phases = (
        Phase(name="good", train="head", epochs=1, learning_rate=1e-3),
        Phase(name="wild", train="all", epochs=5, learning_rate=1e30, head_learning_rate=1e29, schedule="constant"),
    )
    run = new_run(phases=phases)
    with pytest.raises(
        RunError,
        match=r"(?s)within steps \[\d+, \d+\] of phase wild.*learning_rate 1e\+29 .*head_learning_rate 1e\+28",
    ):
        continue_run(run, checkpoint_seconds=0.0)
    assert all(torch.isfinite(tensor).all() for tensor in load_file(run.best_weights).values())
    assert run.read()["exit"]["code"] == 1


def test_patience_ends_a_phase_and_says_so(new_run):
    ended = []
    phase = Phase(name="head", train="head", epochs=50, learning_rate=1e-9, patience=2)
    continue_run(
        new_run(phases=(phase,)),
        observers=(lambda event: ended.append(event.reason) if isinstance(event, PhaseEnded) else None,),
    )
    assert ended == ["stopped after epoch 3: no better val accuracy for 2 epochs"]


def test_a_bug_is_recorded_as_one(new_run):
    run = new_run()

    def broken(event):
        raise ZeroDivisionError("a bug")

    with pytest.raises(ZeroDivisionError):
        continue_run(run, observers=(broken,))
    assert run.read()["exit"] == {"code": 70, "reason": "ZeroDivisionError('a bug')"}


def test_image_weights_of_the_table_count(pictures, tmp_path):
    """Weight zero for every red picture: then red is never learned."""
    dataset = index_dataset(pictures)
    dataset.images["weight"] = [0.0 if label == "red" else 1.0 for label in dataset.images["label"]]
    phase = Phase(name="all", train="all", epochs=6, learning_rate=3e-3)
    run = create_run(prepare_run(dataset, tiny_recipe(phases=(phase,))), tmp_path, "weighted")
    continue_run(run)
    last = [entry for entry in read_json_lines(run.history) if entry["kind"] == "epoch"][-1]
    assert last["val_per_class"]["red"] == 0.0
    assert last["val_per_class"]["blue"] == last["val_per_class"]["green"] == 1.0
