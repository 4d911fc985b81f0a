import shlex
from pathlib import Path

import pytest

from fitwell.evaluation.analysis.fit import analyse
from fitwell.evaluation.analysis.proposals import propose
from fitwell.recipe.read import read_recipe
from training_records import losses, make_epochs, make_training

MANY = {"val_counts": {"cat": 5000, "dog": 5000}}  # a val number without noise worth a word


def proposals(*epochs, **changes):
    training = make_training(*epochs, **(MANY | changes))
    return {found["flags"]: found for found in propose(training, analyse(training))}


def test_a_healthy_run_has_nothing_to_test():
    assert proposals(*make_epochs(0.8, 0.9, 0.9)) == {}


def test_val_that_rose_to_the_end_asks_for_twice_the_epochs():
    found = proposals(*make_epochs(0.7, 0.8, 0.9))["--phases.tune.epochs 6"]
    assert found["question"] == "whether it had more to learn"
    assert found["evidence"] == "Val accuracy rose in each of the last two epochs of tune, to its best."
    assert proposals(*make_epochs(0.7, 0.9, 0.9)) == {}


def overconfident():
    train, val = losses((1.0, 0.6), (0.8, 0.5), (0.6, 0.6), accuracy=0.9)
    values = (0.89, 0.9, 0.9)
    records = [{"accuracy": value, "log_loss": loss} for value, loss in zip(values, val, strict=True)]
    return make_epochs(*values, train=train, val=records)


def test_overfitting_asks_for_more_dropout_up_to_a_bound():
    assert list(proposals(*overconfident())) == ["--model.head.dropout 0.4"]
    assert list(proposals(*overconfident(), recipe="model: {head: {dropout: 0.5}}")) == ["--model.head.dropout 0.6"]
    assert proposals(*overconfident(), recipe="model: {head: {dropout: 0.6}}") == {}


def test_nothing_learned_asks_for_a_larger_rate_unless_heads_were_searched():
    found = proposals(*make_epochs(0.5, 0.5, 0.5, val_per_class=[{"cat": 0.9, "dog": 0.1}] * 3))
    assert "--phases.tune.learning_rate 0.0003" in found
    searched = make_epochs(0.5, phase="head", learning_rate=[{}])
    recipe = "phases: [{name: head, train: head, epochs: 20, learning_rate: search}]"
    assert not [flags for flags in proposals(*searched, recipe=recipe) if "learning_rate" in flags]


def test_a_phase_with_half_of_its_epochs_after_its_best_asks_for_patience():
    found = proposals(*make_epochs(0.7, 0.8, 0.9, 0.8, 0.8, 0.8))["--phases.tune.patience 3"]
    assert found["evidence"] == "3 of the 6 epochs of tune came after its best."
    assert proposals(*make_epochs(0.7, 0.8, 0.85, 0.9, 0.8, 0.8)).keys() == {"--phases.tune.plateau_patience 2"}
    few = proposals(*make_epochs(0.7, 0.9, 0.8, 0.8, 0.8))
    assert "--phases.tune.patience 3" not in few


def test_a_phase_that_has_patience_and_converged_early_asks_for_half_of_its_epochs():
    recipe = "phases: [{name: tune, train: all, epochs: 6, learning_rate: 1e-4, patience: 5, warmup_epochs: %s}]"
    values = (0.7, 0.8, 0.9, 0.8, 0.8, 0.8)
    assert list(proposals(*make_epochs(*values), recipe=recipe % 2)) == ["--phases.tune.epochs 3"]
    assert proposals(*make_epochs(*values), recipe=recipe % 3) == {}  # a warmup does not fit into three epochs
    assert proposals(*make_epochs(0.7, 0.8, 0.8, 0.9, 0.8, 0.8), recipe=recipe % 2) == {}


def after_change(*val):
    head = make_epochs(0.9, phase="head")
    return *head, *make_epochs(*[0.9] * len(val), val=[{"accuracy": 0.9, "log_loss": loss} for loss in val])


def test_a_loss_that_rose_by_a_tenth_with_a_phase_and_never_came_back_asks_for_a_smaller_rate():
    found = proposals(*after_change(1.1, 1.05))["--phases.tune.learning_rate 3.3e-05"]
    assert found["evidence"] == "Val loss rose from 1.000 to 1.100 when tune began, and no epoch of it came back."
    assert not [flags for flags in proposals(*after_change(1.09, 1.05)) if "learning_rate" in flags]
    assert not [flags for flags in proposals(*after_change(1.5, 1.0)) if "learning_rate" in flags]


def test_a_plateau_rule_that_never_fired_asks_for_less_patience():
    found = proposals(*make_epochs(0.8, 0.9, 0.85, 0.85))["--phases.tune.plateau_patience 2"]
    assert "tune ended with 2 epochs in a row without a better val number" in found["evidence"]
    cut = [{"head": 1e-3}, {"head": 1e-3}, {"head": 5e-4}, {"head": 5e-4}]
    assert proposals(*make_epochs(0.8, 0.9, 0.85, 0.85, learning_rate=cut)) == {}
    assert proposals(*make_epochs(0.8, 0.9, 0.85)) == {}


def test_a_class_that_was_never_learned_asks_for_weights_and_then_for_a_sampler():
    epochs = make_epochs(0.8, 0.9, 0.9, val_per_class=[{"cat": 0.5, "dog": 1.0}] * 3)
    weights = "--balance.class_weights balanced"
    found = proposals(*epochs, recipe="balance: {class_weights: none}")
    assert found[weights]["evidence"] == "No epoch found more of “cat” than guessing would."
    sampler = "--balance.class_weights none --balance.sampler balanced"
    assert list(proposals(*epochs, recipe="balance: {class_weights: balanced}")) == [sampler]
    assert proposals(*epochs, recipe="balance: {class_weights: none, sampler: balanced}") == {}


def test_a_val_number_with_a_large_error_asks_for_folds():
    # 0.9 of n images: the error is 0.02 between 235 (0.01997) and 234 (0.02001).
    small = {"val_counts": {"cat": 117, "dog": 117}}
    found = proposals(*make_epochs(0.9), **small)["--split.folds 5"]
    assert "One standard error of val accuracy is 0.020 with 234 images" in found["evidence"]
    assert proposals(*make_epochs(0.9), val_counts={"cat": 118, "dog": 117}) == {}
    assert proposals(*make_epochs(0.9), recipe="split: {folds: 4}", **small) == {}


@pytest.mark.parametrize(
    "epochs",
    [
        make_epochs(0.7, 0.8, 0.9),
        overconfident(),
        make_epochs(0.5, 0.5, 0.5),
        make_epochs(0.7, 0.8, 0.9, 0.8, 0.8, 0.8),
        after_change(1.5, 1.2),
        make_epochs(0.8, 0.9, 0.85, 0.85),
    ],
)
@pytest.mark.parametrize("weights", ["none", "balanced"])
def test_every_proposal_is_a_recipe_that_can_be_run(epochs, weights, tmp_path):
    recipe = tmp_path / "used.yaml"
    phases = "phases:\n" + "".join(
        f"  - {{name: {name}, train: {trains}, epochs: 6, learning_rate: {rate}}}\n"
        for name, trains, rate in (("head", "head", 1e-3), ("tune", "all", 1e-4))
    )
    recipe.write_text(f"version: 1\nbalance: {{class_weights: {weights}}}\n{phases}")
    found = proposals(*epochs, val_counts={"cat": 20, "dog": 20}, recipe=f"balance: {{class_weights: {weights}}}")
    assert found
    for flags in found:
        words = shlex.split(flags)
        overrides = {key.removeprefix("--"): value for key, value in zip(words[::2], words[1::2], strict=True)}
        read_recipe(str(recipe), overrides, environment={}, folder=Path(tmp_path))
