import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from fitwell.data.loader import epoch_batches
from fitwell.training.head_stack import HeadData, HeadSetting, loss_weights, train_heads
from fitwell.training.schedule import Schedule

SETTINGS = (
    HeadSetting(learning_rate=1e-2, weight_decay=0.0),
    HeadSetting(learning_rate=3e-3, weight_decay=10.0, label_smoothing=0.1),
    HeadSetting(learning_rate=1e-2, weight_decay=1.0, balanced=True),
    HeadSetting(learning_rate=1e-3, weight_decay=1.0, focal_gamma=2.0),
    HeadSetting(learning_rate=1e-2, weight_decay=0.1, label_smoothing=0.2, balanced=True, focal_gamma=1.0),
)


def problem(num_images=70, width=5, num_views=2):
    random = np.random.default_rng(0)
    labels = np.sort(random.choice(3, size=num_images, p=[0.6, 0.3, 0.1]))
    first = random.normal(size=(num_images, width)) + labels[:, None]
    views = [first + 0.1 * random.normal(size=first.shape) for _ in range(num_views)]
    weights = random.uniform(0.5, 1.5, size=num_images)
    return HeadData(
        train_views=[torch.tensor(view, dtype=torch.float32) for view in views],
        train_labels=torch.from_numpy(labels),
        image_weights=torch.tensor(weights / weights.mean(), dtype=torch.float32),
        val_features=torch.zeros((0, width)),
        val_labels=torch.zeros(0, dtype=torch.int64),
        num_classes=3,
    )


def written_out_loss(logits, labels, weights, setting):
    """The loss of one head with autograd, written without regard to speed."""
    if labels.ndim == 2:
        smoothed = labels * (1 - setting.label_smoothing) + setting.label_smoothing / 2
        losses = F.binary_cross_entropy_with_logits(logits, smoothed, reduction="none")
        right = torch.where(labels, logits.sigmoid(), 1 - logits.sigmoid())
        return (weights * (1 - right) ** setting.focal_gamma * losses).mean()
    right = logits.softmax(dim=1)[range(len(labels)), labels]
    losses = F.cross_entropy(logits, labels, reduction="none", label_smoothing=setting.label_smoothing)
    return (weights * (1 - right) ** setting.focal_gamma * losses).mean()


def train_one_head(data, setting, *, epochs, batch_size, seed):
    """Train one head with torch's own layer, optimizer and autograd."""
    head, labels, step = nn.Linear(data.train_views[0].shape[1], 3), data.train_labels, 0
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    optimizer = torch.optim.AdamW(
        [{"params": [head.weight], "weight_decay": setting.weight_decay}, {"params": [head.bias], "weight_decay": 0.0}]
    )
    num_steps = epochs * len(epoch_batches(len(labels), batch_size, seed=seed, epoch=0))
    schedule = Schedule(
        kind="cosine", peak=setting.learning_rate, num_ticks=num_steps, warmup_ticks=round(0.1 * num_steps)
    )
    weights = loss_weights(data, setting.balanced)
    for epoch in range(epochs):
        for indices in epoch_batches(len(labels), batch_size, seed=seed, epoch=epoch):
            logits = head(data.train_views[epoch % len(data.train_views)][indices])
            for group in optimizer.param_groups:
                group["lr"] = schedule.learning_rate(step)
            optimizer.zero_grad()
            written_out_loss(logits, labels[indices], weights[indices], setting).backward()
            optimizer.step()
            step += 1
        yield head.weight.detach().clone(), head.bias.detach().clone()


def problem_of_several(num_images=70):
    """The same features, and three targets that may hold together."""
    data = problem(num_images)
    targets = torch.rand(num_images, 3, generator=torch.Generator().manual_seed(0)) < torch.tensor([0.5, 0.3, 0.1])
    return HeadData(**{**vars(data), "train_labels": targets, "val_labels": torch.zeros((0, 3), dtype=torch.bool)})


@pytest.mark.parametrize("problem", [problem, problem_of_several])
def test_every_head_of_the_stack_is_the_head_that_torch_trains_alone(problem):
    data, plan = problem(), {"epochs": 5, "batch_size": 16, "seed": 3}
    alone = [list(train_one_head(data, setting, **plan)) for setting in SETTINGS]
    for epoch, heads in enumerate(train_heads(data, SETTINGS, **plan)):
        for head, history in enumerate(alone):
            np.testing.assert_allclose(heads.weight[head], history[epoch][0], atol=1e-5)
            np.testing.assert_allclose(heads.bias[head], history[epoch][1], atol=1e-5)
    assert epoch == 4


def test_a_focal_head_survives_an_answer_that_is_entirely_sure():
    data = problem()
    sure = data.train_views[0] * 1e4
    data = HeadData(**{**vars(data), "train_views": [sure]})
    heads = list(train_heads(data, SETTINGS, epochs=3, batch_size=16, seed=0))[-1]
    assert heads.weight.isfinite().all()


def test_a_head_does_not_depend_on_its_neighbours_and_the_seed_decides_all():
    data, plan = problem(), {"epochs": 2, "batch_size": 16}
    together = list(train_heads(data, SETTINGS, seed=0, **plan))[-1].weight
    again = list(train_heads(data, SETTINGS, seed=0, **plan))[-1].weight
    alone = list(train_heads(data, SETTINGS[:1], seed=0, **plan))[-1].weight
    other = list(train_heads(data, SETTINGS[:1], seed=1, **plan))[-1].weight
    assert torch.equal(together, again)
    np.testing.assert_allclose(alone[0], together[0], atol=1e-6)
    assert (other - alone).abs().max() > 1e-4


@pytest.mark.parametrize("balanced", [False, True])
def test_weights_have_mean_one_and_balanced_ones_give_classes_alike(balanced):
    data = problem()
    data = HeadData(**{**vars(data), "image_weights": torch.ones(len(data.train_labels))})
    weights = loss_weights(data, balanced)
    totals = torch.zeros(3).index_add(0, data.train_labels, weights)
    assert float(weights.mean()) == pytest.approx(1)
    if balanced:
        assert totals.tolist() == pytest.approx([70 / 3] * 3, rel=1e-5)
    else:
        assert totals.tolist() == pytest.approx(np.bincount(data.train_labels).tolist())


def test_balanced_weights_of_several_classes_give_both_sides_of_each_alike():
    data = problem_of_several()
    data = HeadData(**{**vars(data), "image_weights": torch.ones(70)})
    weights, targets = loss_weights(data, True), data.train_labels
    np.testing.assert_allclose((weights * targets).sum(dim=0), [35, 35, 35], rtol=1e-5)
    assert loss_weights(data, False).unique().tolist() == [1]
