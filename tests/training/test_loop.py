import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from torch.optim import lr_scheduler

from fitwell.errors import ResourceError, RunError
from fitwell.evaluation.analysis.noise import area_error
from fitwell.model.compute import Compute
from fitwell.recipe.phase import Phase
from fitwell.recipe.schema import Augment, Execution, Head, Loss, Model, Recipe, Select
from fitwell.training.loop import PhaseWork, Progress, judge_epoch, train_phase
from fitwell.training.loss import Targets, batch_loss
from fitwell.training.mixing import draw_mix
from fitwell.training.observer import Action, EpochDone, StepDone
from fitwell.training.optimizer import build_optimizer
from fitwell.training.phase_data import PhaseData

INPUTS = torch.tensor([[2.0, 0.0], [0.0, 1.0], [1.0, 0.5], [0.0, 3.0], [4.0, -1.0]])
LABELS = torch.tensor([0, 1, 0, 1, 0])
BATCHES = (np.array([3, 0, 2, 1]), np.array([4]))


class LinearNetwork(nn.Module):
    """Stands where a Network stands: a head without a backbone."""

    def __init__(self):
        super().__init__()
        self.backbone = nn.Sequential()
        self.head = nn.Linear(2, 2)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, inputs):
        return self.head(inputs)


def work_on(network, phase, *, inputs=INPUTS, metric="log_loss", mixup=0.0, keep="best", keep_best=lambda record: None):
    def train_batches(epoch, skip):
        return iter([(inputs[indices], indices) for indices in BATCHES[skip:]])

    return PhaseWork(
        phase=phase,
        recipe=Recipe(
            loss=Loss(label_smoothing=0.0), augment=Augment(mixup=mixup), select=Select(metric=metric, keep=keep)
        ),
        network=network,
        data=PhaseData(network, train_batches, lambda: iter([(INPUTS, np.arange(5))])),
        compute=Compute(),
        classes=("cat", "dog"),
        labels=LABELS,
        weights=torch.ones(5),
        val_labels=LABELS.numpy(),
        steps_per_epoch=2,
        first_epoch=0,
        keep_best=keep_best,
    )


def train(phase, *, observers=(), progress=None, network=None, **changes):
    network = network or LinearNetwork()
    events = []
    work = work_on(network, phase, **changes)
    progress = progress or Progress()
    optimizer = build_optimizer(network, work.recipe.optimizer)
    everyone = (lambda event: events.append(event), *observers)
    reason = train_phase(work, progress, optimizer, observers=everyone, checkpoint=lambda now: None)
    return reason, events, progress, network


def phase(**changes):
    return Phase(**{"name": "p", "train": "all", "epochs": 2, "learning_rate": 0.1, "schedule": "constant", **changes})


def test_the_weights_after_an_epoch_are_those_of_a_hand_written_loop():
    _, _, _, network = train(phase(epochs=1))
    expected = LinearNetwork()
    optimizer = torch.optim.AdamW(
        [
            {"params": [expected.head.weight], "weight_decay": 0.05},
            {"params": [expected.head.bias], "weight_decay": 0.0},
        ],
        lr=0.1,
    )
    for indices in BATCHES:
        loss = nn.functional.cross_entropy(expected(INPUTS[indices]), LABELS[indices])
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(expected.parameters(), 1.0)
        optimizer.step()
    assert torch.equal(network.head.weight, expected.head.weight)
    assert torch.equal(network.head.bias, expected.head.bias)


def test_blended_batches_are_learnt_from_as_a_hand_written_loop_would():
    _, _, _, network = train(phase(epochs=1), mixup=0.5)
    expected = LinearNetwork()
    optimizer = torch.optim.AdamW(
        [
            {"params": [expected.head.weight], "weight_decay": 0.05},
            {"params": [expected.head.bias], "weight_decay": 0.0},
        ],
        lr=0.1,
    )
    for step, indices in enumerate(BATCHES):
        mix = draw_mix(Augment(mixup=0.5), INPUTS[indices], seed=0, step=step)
        targets = nn.functional.one_hot(LABELS[indices], 2).float()
        loss = nn.functional.cross_entropy(expected(mix.blend(INPUTS[indices])), mix.blend(targets))
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(expected.parameters(), 1.0)
        optimizer.step()
    torch.testing.assert_close(network.head.weight, expected.head.weight)
    torch.testing.assert_close(network.head.bias, expected.head.bias)


def head_network():
    network = LinearNetwork()
    network.head = nn.Sequential(nn.Linear(2, 2))
    nn.init.constant_(network.head[0].weight, 2.0)
    return network


@pytest.mark.parametrize("micro_batch", [None, 1])
def test_a_penalty_on_the_head_is_a_term_of_the_loss_once_a_batch(micro_batch):
    network, expected = head_network(), head_network()
    expected.load_state_dict(network.state_dict())
    work = work_on(network, phase(epochs=1))
    changed = {"model": Model(head=Head(l2=0.05)), "execution": Execution(micro_batch=micro_batch)}
    work = replace(work, recipe=work.recipe.model_copy(update=changed))
    optimizer = build_optimizer(network, work.recipe.optimizer)
    train_phase(work, Progress(), optimizer, observers=(), checkpoint=lambda now: None)
    layer = expected.head[0]
    reference = torch.optim.AdamW(
        [{"params": [layer.weight], "weight_decay": 0.05}, {"params": [layer.bias], "weight_decay": 0.0}], lr=0.1
    )
    for indices in BATCHES:
        loss = nn.functional.cross_entropy(expected(INPUTS[indices]), LABELS[indices]) + 0.05 * (layer.weight**2).sum()
        reference.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(expected.parameters(), 1.0)
        reference.step()
    torch.testing.assert_close(network.state_dict(), expected.state_dict())


def test_the_rate_changes_at_every_batch_as_torchs_scheduler_stepped_per_batch():
    restarts = phase(epochs=6, schedule="warm_restarts", restart_epochs=2, restart_factor=2, min_learning_rate=1e-3)
    _, events, _, _ = train(restarts)
    found = [event.learning_rate["head"] for event in events if isinstance(event, StepDone)]
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.1)
    reference = lr_scheduler.CosineAnnealingWarmRestarts(optimizer, T_0=4, T_mult=2, eta_min=1e-3)
    expected = []
    for _ in range(12):
        expected.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        reference.step()
    assert found == pytest.approx(expected)


def test_the_loss_of_an_epoch_is_averaged_over_images_not_batches():
    _, events, _, _ = train(phase(epochs=1))
    steps = [event for event in events if isinstance(event, StepDone)]
    record = next(event.record for event in events if isinstance(event, EpochDone))
    assert float(steps[0].loss) == pytest.approx(math.log(2))  # zero weights
    assert record["train"]["loss"] == pytest.approx((4 * float(steps[0].loss) + 1 * float(steps[1].loss)) / 5)


def test_the_val_numbers_are_those_of_the_weights_at_the_end_of_the_epoch():
    _, events, _, network = train(phase(epochs=1))
    record = next(event.record for event in events if isinstance(event, EpochDone))
    loss = batch_loss(network(INPUTS), Targets(LABELS, torch.ones(5)), Loss(label_smoothing=0.0), 5)
    assert record["val"]["log_loss"] == pytest.approx(float(loss.detach()), rel=1e-6)
    assert record["val_per_class"] == {"cat": 1.0, "dog": 1.0}
    assert record["learning_rate"] == {"head": 0.1}


class SmallMemory(LinearNetwork):
    """A network on an accelerator that holds at most `most` images at once."""

    def __init__(self, most):
        super().__init__()
        self.most, self.seen = most, []

    def forward(self, inputs):
        if self.training:
            self.seen.append(len(inputs))
            if len(inputs) > self.most:
                raise torch.OutOfMemoryError("CUDA out of memory")
        return super().forward(inputs)


@pytest.mark.parametrize("most", [1, 2, 3])
def test_where_memory_runs_out_parts_of_the_batch_teach_the_same(most, caplog):
    _, _, roomy, whole = train(phase(epochs=2))
    _, _, narrow, parts = train(phase(epochs=2), network=SmallMemory(most))
    torch.testing.assert_close(parts.head.weight, whole.head.weight)
    torch.testing.assert_close(narrow.loss_sum, roomy.loss_sum)
    assert (roomy.micro_batch, narrow.micro_batch) == (None, 1 if most == 1 else 2)
    assert "Memory ran out for 4 images at once: 2 go at once from now on, in batches of 4." in caplog.text
    assert max(parts.seen[3:]) <= most  # tried once with 4, and for most = 1 once with 2


def test_a_lone_last_image_goes_with_the_part_before_it():
    # BatchNorm refuses to train on one image; of a batch of four in parts of three, one would be left.
    network = SmallMemory(4)
    work = work_on(network, phase(epochs=1))
    execution = work.recipe.execution.model_copy(update={"micro_batch": 3})
    work = replace(work, recipe=work.recipe.model_copy(update={"execution": execution}))
    optimizer = build_optimizer(network, work.recipe.optimizer)
    train_phase(work, Progress(), optimizer, observers=(), checkpoint=lambda now: None)
    assert network.seen == [4, 1]  # the second batch is of one image


def test_memory_for_less_than_one_image_ends_the_run_with_what_can_be_done():
    with pytest.raises(ResourceError, match=r"(?s)too small for one image.*lower images\.size"):
        train(phase(epochs=1), network=SmallMemory(0))


def test_a_head_with_a_rate_of_its_own_learns_at_it():
    _, events, _, _ = train(phase(epochs=2, head_learning_rate=0.3))
    rates = [event.record["learning_rate"] for event in events if isinstance(event, EpochDone)]
    assert rates == [{"head": pytest.approx(0.3)}] * 2


def test_best_is_kept_when_the_val_metric_gets_better_and_only_then():
    kept = []
    _, events, progress, _ = train(phase(epochs=3), keep_best=lambda record: kept.append(1))
    assert [event.record["best"] for event in events if isinstance(event, EpochDone)] == [True, True, True]
    assert len(kept) == 3
    assert progress.best["epoch"] == 3
    _, events, _, _ = train(phase(epochs=3), metric="accuracy")
    assert [event.record["best"] for event in events if isinstance(event, EpochDone)] == [True, False, False]


def test_the_last_epoch_is_kept_whatever_val_says_where_the_recipe_asks_for_it():
    kept = []
    _, events, progress, _ = train(
        phase(epochs=3), metric="accuracy", keep="last", keep_best=lambda record: kept.append(len(kept))
    )
    assert [event.record["best"] for event in events if isinstance(event, EpochDone)] == [True, True, True]
    assert (kept, progress.best["epoch"], progress.waited) == ([0, 1, 2], 3, 2)


def judged(epochs, *, counts=(276, 126)):
    """Return which of `epochs`, pairs of val AUC and balanced accuracy, are kept when they come."""
    labels = np.repeat([0, 1], counts)
    work, progress = replace(work_on(LinearNetwork(), phase(), metric="auc"), val_labels=labels), Progress()
    return [judge_epoch({"auc": area, "balanced_accuracy": named}, work, progress) for area, named in epochs]


def test_an_epoch_that_names_one_class_is_not_kept_for_an_auc_within_noise():
    cells = [(0.8398, 0.7388), (0.8475, 0.5480), (0.8429, 0.7478), (0.8282, 0.7817), (0.8414, 0.7900), (0.8463, 0.7889)]
    assert judged(cells) == [True, False, True, True, True, False]


def test_a_higher_auc_beyond_noise_is_kept_whatever_it_names():
    assert area_error(0.93, 126, 276) == pytest.approx(0.0163, abs=5e-5)
    assert judged([(0.90, 0.8), (0.93, 0.5)]) == [True, True]
    assert judged([(0.92, 0.8), (0.93, 0.5)]) == [True, False]
    assert judged([(0.93, 0.5), (0.90, 0.8)]) == [True, False]


def test_noise_counts_from_the_highest_auc_not_from_that_of_the_epoch_kept():
    assert judged([(0.915, 0.8), (0.925, 0.7), (0.905, 0.9)]) == [True, False, False]
    assert judged([(0.915, 0.8), (0.925, 0.7), (0.940, 0.6)]) == [True, False, True]


def test_of_perfect_aucs_the_one_with_more_right_is_kept_and_of_equals_the_first():
    assert judged([(1.0, 0.8), (1.0, 0.9), (1.0, 0.9), (0.99, 1.0)]) == [True, True, False, False]


def test_an_epoch_without_auc_is_not_kept():
    assert judged([(None, 0.8), (0.7, 0.6), (None, 0.9)]) == [False, True, False]


def test_what_was_kept_in_an_earlier_phase_is_compared_in_the_same_way():
    work, progress = work_on(LinearNetwork(), phase(), metric="auc"), Progress()
    work = replace(work, val_labels=np.repeat([0, 1], (276, 126)))
    assert judge_epoch({"auc": 0.84, "balanced_accuracy": 0.74}, work, progress)
    progress = Progress(**progress.record())
    progress.start_phase(1)
    assert not judge_epoch({"auc": 0.85, "balanced_accuracy": 0.55}, work, progress)
    assert judge_epoch({"auc": 0.83, "balanced_accuracy": 0.79}, work, progress)


def test_a_plateau_lowers_the_rate():
    _, events, progress, _ = train(
        phase(epochs=6, schedule="plateau", plateau_patience=2, plateau_factor=0.1), metric="accuracy"
    )
    rates = [event.record["learning_rate"]["head"] for event in events if isinstance(event, EpochDone)]
    assert rates == pytest.approx([0.1, 0.1, 0.1, 0.01, 0.01, 0.001])
    assert progress.plateau_scale == pytest.approx(0.01)


@pytest.mark.parametrize(("metric", "mode"), [("accuracy", "max"), ("log_loss", "min")])
@pytest.mark.parametrize(("factor", "patience"), [(0.5, 5), (0.2, 3)])  # the plants team's first and second phase
def test_a_plateau_is_torchs_whose_patience_counts_one_less(metric, mode, factor, patience):
    settings = phase(epochs=60, schedule="plateau", plateau_factor=factor, plateau_patience=patience)
    work, progress = work_on(LinearNetwork(), settings, metric=metric), Progress()
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    reference = lr_scheduler.ReduceLROnPlateau(optimizer, mode, factor, patience - 1, threshold=0, eps=0)
    found, expected = [], []
    for value in np.random.default_rng(0).normal(size=60).round(1):
        judge_epoch({metric: value, "balanced_accuracy": 0.5}, work, progress)
        reference.step(value)
        found.append(progress.plateau_scale)
        expected.append(optimizer.param_groups[0]["lr"])
    assert found == pytest.approx(expected)
    assert found[-1] <= factor**5


def test_patience_counts_from_the_phases_own_best():
    reason, _, progress, _ = train(phase(epochs=9, patience=3), metric="accuracy")
    assert reason == "stopped after epoch 4: no better val accuracy for 3 epochs"
    assert progress.epoch == 9


def test_a_stop_returns_nothing_and_says_where_it_stands():
    def stop_at_three(event):
        return Action.STOP if isinstance(event, StepDone) and event.step == 3 else None

    reason, _, progress, _ = train(phase(), observers=(stop_at_three,))
    assert reason is None
    assert (progress.epoch, progress.batch, progress.step, progress.num_seen) == (1, 1, 3, 4)


def test_progress_survives_being_written_down():
    _, _, progress, _ = train(phase(epochs=1))
    assert Progress(**progress.record()).record() == progress.record()
    progress.start_phase(1)
    assert (progress.phase, progress.epoch, progress.step) == (1, 0, 2)
    assert progress.best["value"] is not None


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_is_told_with_its_steps_before_anything_is_kept(value):
    inputs = INPUTS.clone()
    inputs[4] = value
    kept = []
    with pytest.raises(RunError, match=r"(?s)nan somewhere within steps \[0, 2\] of phase p, at learning rate 0.1"):
        train(phase(), inputs=inputs, keep_best=lambda record: kept.append(1))
    assert kept == []
