import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, balanced_accuracy_score, log_loss
from torch import nn

from fitwell.model.compute import Compute
from fitwell.recipe.phase import Phase
from fitwell.recipe.schema import Execution, Recipe, Select
from fitwell.training.head_search import NUM_AVERAGED
from fitwell.training.loop import PhaseWork, Progress
from fitwell.training.observer import Action, EpochDone, Searched, StopAsked
from fitwell.training.phase_data import PhaseData
from fitwell.training.search_phase import search_phase

CENTRES = torch.tensor([[3.0, 0.0, 1.0, 0.0], [0.0, 3.0, 0.0, 1.0], [-2.0, -2.0, 0.0, 0.0]])
LABELS = torch.arange(60) % 3
VAL_LABELS = torch.arange(30) % 3


class HeadOnly(nn.Module):
    """Stands where a Network stands: features in, logits out."""

    def __init__(self):
        super().__init__()
        self.head = nn.Sequential(nn.Dropout(0.2), nn.Linear(4, 3))

    def forward(self, features):
        return self.head(features)


def features_of(labels, seed):
    return CENTRES[labels] + torch.randn(len(labels), 4, generator=torch.Generator().manual_seed(seed))


TRAIN, VAL = features_of(LABELS, 0), features_of(VAL_LABELS, 1)


def work_on(network, keep_best=lambda record: None):
    shuffled = np.random.default_rng(0).permutation(60)

    def train_batches(epoch, skip):
        return iter([(TRAIN[part].half(), part) for part in np.split(shuffled, 4)])

    return PhaseWork(
        phase=Phase(name="head", train="head", epochs=5, learning_rate="search"),
        recipe=Recipe(select=Select(metric="accuracy", keep="best"), execution=Execution(batch_size=16)),
        network=network,
        data=PhaseData(network, train_batches, lambda: iter([(VAL.half(), np.arange(30))])),
        compute=Compute(),
        classes=("ant", "bee", "cat"),
        labels=LABELS,
        weights=torch.ones(60),
        val_labels=VAL_LABELS.numpy(),
        steps_per_epoch=4,
        first_epoch=0,
        keep_best=keep_best,
    )


def search(observers=(), progress=None):
    network, events, kept = HeadOnly(), [], []
    progress = progress or Progress()
    work = work_on(network, lambda record: kept.append(network.head[1].weight.clone()))
    reason, heads = search_phase(work, progress, torch.ones(60), observers=(events.append, *observers))
    return network.eval(), events, progress, reason, heads, kept


def test_the_network_gets_a_head_that_knows_the_classes():
    network, events, _, reason, heads, kept = search()
    with torch.inference_mode():
        probs = network(VAL.half().float()).softmax(dim=1).numpy()
    (record,) = [event.record for event in events if isinstance(event, EpochDone)]
    assert accuracy_score(VAL_LABELS, probs.argmax(axis=1)) > 0.9
    assert record["val"]["accuracy"] == pytest.approx(accuracy_score(VAL_LABELS, probs.argmax(axis=1)))
    assert record["val"]["balanced_accuracy"] == pytest.approx(
        balanced_accuracy_score(VAL_LABELS, probs.argmax(axis=1))
    )
    assert record["val"]["log_loss"] == pytest.approx(log_loss(VAL_LABELS, probs), rel=1e-4)
    assert record["train"]["accuracy"] > 0.9
    assert reason == f"took the mean of the best {NUM_AVERAGED} of {len(heads)} heads"
    assert torch.equal(kept[0], network.head[1].weight)


def test_the_progress_moves_on_by_the_epochs_of_the_phase():
    _, events, progress, *_ = search(progress=Progress(step=7))
    (record,) = [event.record for event in events if isinstance(event, EpochDone)]
    assert progress.step == record["step"] == 7 + 5 * 4
    assert (record["phase"], record["epoch"], record["best"]) == ("head", 5, True)
    assert progress.best == {
        "phase": "head", "epoch": 5, "step": 27, "value": record["val"]["accuracy"], "metric": "accuracy"
    }  # fmt: skip


def test_a_head_that_is_worse_than_the_best_so_far_is_not_kept():
    before = {"phase": "earlier", "epoch": 1, "step": 3, "value": 1.1, "metric": "accuracy"}
    _, _, progress, _, _, kept = search(progress=Progress(best=before))
    assert kept == []
    assert progress.best == before


def test_every_epoch_of_the_search_can_be_the_last():
    with pytest.raises(StopAsked):
        search(observers=(lambda event: Action.STOP if isinstance(event, Searched) and event.epoch == 2 else None,))


def test_the_same_search_gives_the_same_head():
    first, second = search()[0], search()[0]
    assert torch.equal(first.head[1].weight, second.head[1].weight)
    assert torch.equal(first.head[1].bias, second.head[1].bias)
