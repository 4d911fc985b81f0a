"""Linear heads on frozen features, many at once: one array, one product forward, one back, one update for all.

The gradient is written out, so nothing is kept for a backward pass. head_search.py chooses among the heads.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from fitwell.data.loader import epoch_batches
from fitwell.recipe.schema import Balance
from fitwell.training.balance import balanced_weights, positive_weights, target_weights
from fitwell.training.linear_paths import LinearHeads
from fitwell.training.schedule import Schedule

BETAS, EPS = (0.9, 0.999), 1e-8  # of AdamW
WARMUP_FRACTION = 0.1  # of all steps


@dataclass(frozen=True, kw_only=True)
class HeadSetting:
    """How one head is trained.

    Args:
        learning_rate: peak, on standardised features.
        weight_decay: decoupled, as in AdamW; not applied to the bias.
        label_smoothing: share of the target spread over the classes, in [0, 1).
        balanced: whether every class weighs the same.
        focal_gamma: 0, or at least 1: how much less a sure answer counts.
    """

    learning_rate: float
    weight_decay: float
    label_smoothing: float = 0.0
    balanced: bool = False
    focal_gamma: float = 0.0


@dataclass(frozen=True, kw_only=True)
class HeadData:
    """Frozen features, of any float type and on any one device, and their labels.

    Args:
        train_views: K tensors (N, D), views of the same images; epoch e of a head sees number e % K.
        train_labels: (N,) int64 in [0, C), or (N, C) bool of several classes an image.
        image_weights: (N,), mean 1, without class weights.
        val_features: (M, D). val_labels: (M,) int64, or (M, C) bool.
    """

    train_views: Sequence[Tensor]
    train_labels: Tensor
    image_weights: Tensor
    val_features: Tensor
    val_labels: Tensor
    num_classes: int


def train_heads(
    data: HeadData, settings: Sequence[HeadSetting], *, epochs: int, batch_size: int, seed: int
) -> Iterator[LinearHeads]:
    """Yield all heads after every epoch, one for each setting, from weights of zero; the next epoch changes them.

    The rate warms up for `WARMUP_FRACTION` of all steps, then falls to zero as a cosine.
    """
    num_images, device = len(data.train_labels), data.train_labels.device
    loss = _HeadLoss(settings, device)
    weights = [loss_weights(data, balanced) for balanced in (False, True)]  # each (N,) or (N, C)
    kinds = torch.tensor([int(setting.balanced) for setting in settings], device=device)
    rate = _column(settings, "learning_rate", device)
    shape = (len(settings), data.num_classes, data.train_views[0].shape[1])
    weight = _AdamW(torch.zeros(shape, device=device), rate, _column(settings, "weight_decay", device))
    bias = _AdamW(torch.zeros((*shape[:2], 1), device=device), rate, torch.zeros_like(rate))
    num_steps = epochs * len(epoch_batches(num_images, batch_size, seed=seed, epoch=0))
    schedule = Schedule(kind="cosine", peak=1.0, num_ticks=num_steps, warmup_ticks=round(WARMUP_FRACTION * num_steps))
    for epoch in range(epochs):
        view = data.train_views[epoch % len(data.train_views)]
        for indices in epoch_batches(num_images, batch_size, seed=seed, epoch=epoch):
            batch = torch.from_numpy(indices).to(device)
            features = view[batch]  # (B, D)
            logits = LinearHeads(weight.value, bias.value[:, :, 0]).logits(features)  # (H, C, B)
            batch_weights = torch.stack([each[batch] for each in weights])[kinds]  # (H, B) or (H, B, C)
            gradient = loss.gradient(logits, data.train_labels[batch], batch_weights)
            scale = schedule.learning_rate(weight.num_steps)
            weight.step((gradient.flatten(0, 1) @ features).view(shape), scale)
            bias.step(gradient.sum(dim=2, keepdim=True), scale)
        yield LinearHeads(weight.value, bias.value[:, :, 0])


def loss_weights(data: HeadData, balanced: bool) -> Tensor:
    """Return the weights of the training images in the shape of their labels, with class weights when `balanced`."""
    weights = data.image_weights.float()
    if data.train_labels.ndim == 2:
        targets = data.train_labels.cpu().numpy()
        positive = positive_weights(Balance(class_weights="balanced" if balanced else "none"), targets, classes=())
        weights = weights[:, None] * torch.from_numpy(target_weights(positive, targets)).to(weights)
    elif balanced:
        class_weights = balanced_weights(np.bincount(data.train_labels.cpu().numpy(), minlength=data.num_classes))
        weights = weights * torch.from_numpy(class_weights).to(weights)[data.train_labels]
    return weights / weights.mean()


class _HeadLoss:
    """Cross-entropy to smoothed targets, made less for sure answers by the factor (1 - p) ** gamma.

    Source: Lin et al. 2017, arXiv:1708.02002, eq. 4.
    """

    def __init__(self, settings: Sequence[HeadSetting], device: torch.device) -> None:
        self.smoothing = _column(settings, "label_smoothing", device)
        self.gamma = _column(settings, "focal_gamma", device)

    def gradient(self, logits: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
        """Return the gradient (H, C, B) of the mean over the batch, from logits (H, C, B).

        Args:
            labels: (B,) with weights (H, B), or (B, C) bool with weights (H, B, C) of several classes an image.
        """
        if labels.ndim == 2:
            return self._of_each_class(logits, labels.T) * (weights.mT / labels.numel())
        return self._of_one_class(logits, labels) * (weights[:, None] / len(labels))

    def _of_each_class(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return the gradient (H, C, B) of each class by itself, as `loss.class_losses` defines it.

        With p the probability of what is so, s its sign in the logit, t the smoothed target and c the cross-entropy:
        the gradient of (1 - p)^g c is (1 - p)^g (sigmoid - t - g c s p).
        """
        plain = targets.to(logits)  # (C, B)
        smoothed = (1 - self.smoothing) * plain + self.smoothing / 2  # (H, C, B)
        gradient = logits.sigmoid() - smoothed
        if self.gamma.any():
            sign = 2 * plain - 1
            right = (sign * logits).sigmoid()
            doubt = (1 - right).clamp_min(torch.finfo(right.dtype).eps)
            cross_entropy = F.binary_cross_entropy_with_logits(logits, smoothed, reduction="none")
            gradient = doubt**self.gamma * (gradient - self.gamma * cross_entropy * sign * right)
        return gradient

    def _of_one_class(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the gradient (H, C, B) of each image.

        With p the probabilities, p_y that of the label, t the smoothed and o the plain targets, c = -t log p:
        the gradient of (1 - p_y)^g c is (1 - p_y)^g (p - t) + c g (1 - p_y)^(g-1) p_y (p - o).
        """
        num_classes = logits.shape[1]
        plain = F.one_hot(labels, num_classes).T.to(logits)  # (C, B)
        smoothed = (1 - self.smoothing) * plain + self.smoothing / num_classes  # (H, C, B)
        log_probs = logits.log_softmax(dim=1)
        probs = log_probs.exp()
        gradient = probs - smoothed
        if self.gamma.any():
            right = (probs * plain).sum(dim=1, keepdim=True)  # (H, 1, B)
            doubt = (1 - right).clamp_min(torch.finfo(right.dtype).eps)  # 0 ** -1 would be infinite
            cross_entropy = -(smoothed * log_probs).sum(dim=1, keepdim=True)
            slope = cross_entropy * self.gamma * doubt ** (self.gamma - 1) * right
            gradient = doubt**self.gamma * gradient + slope * (probs - plain)
        return gradient


class _AdamW:
    """One array of all heads (H, ...) with a rate and a decay for each.

    torch's own AdamW takes one group of parameters for each head: 6.2 ms a step of 48 heads where this takes 2.1.
    Source: Loshchilov & Hutter 2019, arXiv:1711.05101, algorithm 2.
    """

    def __init__(self, value: Tensor, learning_rate: Tensor, weight_decay: Tensor) -> None:
        self.value, self.learning_rate, self.weight_decay = value, learning_rate, weight_decay
        self.mean, self.square, self.denominator = (torch.zeros_like(value) for _ in range(3))
        self.num_steps = 0

    def step(self, gradient: Tensor, scale: float) -> None:
        """Update the value in place with `scale` times the learning rate."""
        self.num_steps += 1
        rate, correction = self.learning_rate * scale, math.sqrt(1 - BETAS[1] ** self.num_steps)
        self.mean.lerp_(gradient, 1 - BETAS[0])
        self.square.mul_(BETAS[1]).addcmul_(gradient, gradient, value=1 - BETAS[1])
        torch.sqrt(self.square, out=self.denominator).add_(EPS * correction)
        self.value.mul_(1 - rate * self.weight_decay)
        update = torch.div(self.mean, self.denominator, out=self.denominator)
        self.value.addcmul_(update, rate, value=-correction / (1 - BETAS[0] ** self.num_steps))


def _column(settings: Sequence[HeadSetting], name: str, device: torch.device) -> Tensor:
    """Return one value of every setting as (H, 1, 1)."""
    return torch.tensor([getattr(setting, name) for setting in settings], device=device)[:, None, None]
