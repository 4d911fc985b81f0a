"""What is minimised: cross-entropy, focal or ordinal loss, with label smoothing, weighted by image and class.

Of images that show any number of classes, each class is a question of its own: (B, C) stands where (B,) does else.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from fitwell.recipe.schema import Loss
from fitwell.training.mixing import Mix


@dataclass(frozen=True)
class Targets:
    """What the images of a batch should be recognised as.

    Args:
        labels: (B,) in [0, C), or (B, C) bool. weights: of the same shape, mean 1 over the training images.
        share: of the image itself in what it became. others, other_weights: of what it was joined with.
    """

    labels: Tensor
    weights: Tensor
    share: float = 1.0
    others: Tensor | None = None
    other_weights: Tensor | None = None

    def part(self, start: int, end: int) -> Targets:
        """Return those of the images from `start` up to, not including, `end`."""
        parts = (None if values is None else values[start:end] for values in (self.others, self.other_weights))
        return Targets(self.labels[start:end], self.weights[start:end], self.share, *parts)


def targets_of(labels: Tensor, weights: Tensor, mix: Mix | None) -> Targets:
    """Return the targets of a batch that was joined as `mix` says."""
    if mix is None:
        return Targets(labels, weights)
    return Targets(labels, weights, mix.share, labels[mix.partners], weights[mix.partners])


def batch_loss(logits: Tensor, targets: Targets, settings: Loss, batch_size: int) -> Tensor:
    """Return the sum of weight times loss over `batch_size`, a scalar; of a blend, that of each image by its share.

    The sum is divided by the batch and not by its own sum of weights: so the expected gradient is that of the weighted
    loss over all images, whichever classes a batch happens to hold.

    Args:
        logits: (B, C) of a batch, or of a part of it: the parts' losses add up to that of the batch.
    """
    own = _weighted_sum(logits, targets.labels, targets.weights / batch_size, settings)
    if targets.others is None or targets.other_weights is None:
        return own
    other = _weighted_sum(logits, targets.others, targets.other_weights / batch_size, settings)
    return targets.share * own + (1 - targets.share) * other


def count_right(logits: Tensor, labels: Tensor) -> Tensor:
    """Return how many images are recognised, a scalar: the likeliest class is right, or every class, from 0.5 on."""
    if labels.ndim == 2:
        return ((logits > 0) == labels).all(dim=1).sum()
    return (logits.argmax(dim=1) == labels).sum()


def _weighted_sum(logits: Tensor, labels: Tensor, weights: Tensor, settings: Loss) -> Tensor:
    losses = class_losses if labels.ndim == 2 else image_losses
    return torch.dot(losses(logits, labels, settings).flatten(), weights.flatten())


def image_losses(logits: Tensor, labels: Tensor, settings: Loss) -> Tensor:
    """Return the loss of each image (B,), float32.

    Label smoothing spreads a share of the target evenly over the classes: Szegedy et al. 2016, arXiv:1512.00567,
    section 7. The focal loss is cross-entropy times (1 - p) ** gamma, with p the probability of the label: Lin et al.
    2017, arXiv:1708.02002, eq. 4; the alpha of eq. 5 is a class weight. The ordinal loss is cross-entropy to targets
    that fall off with the squared distance to the label: Diaz & Marathe 2019, "Soft Labels for Ordinal Regression".

    Args:
        logits: (B, C). labels: (B,) in [0, C).
    """
    if settings.kind == "ordinal":
        steps = torch.arange(logits.shape[1], device=labels.device) - labels[:, None]
        expected = (-settings.ordinal_sharpness * steps.square()).float().softmax(dim=1)
        return F.cross_entropy(logits.float(), expected, reduction="none", label_smoothing=settings.label_smoothing)
    losses = F.cross_entropy(logits.float(), labels, reduction="none", label_smoothing=settings.label_smoothing)
    if settings.kind == "focal":
        doubt = 1 - logits.float().softmax(dim=1).gather(1, labels[:, None])[:, 0]
        # A power below 1 has an infinite slope at 0, where float32 puts every sure answer.
        losses = losses * doubt.clamp_min(torch.finfo(doubt.dtype).eps) ** settings.focal_gamma
    return losses


def class_losses(logits: Tensor, labels: Tensor, settings: Loss) -> Tensor:
    """Return what each class adds to the loss of each image (B, C), float32: their sum is the mean over the classes.

    Binary cross-entropy of every class by itself; label smoothing s makes 1 - s / 2 and s / 2 of its targets. The focal
    loss is that times (1 - p) ** gamma, with p the probability of what is so: Lin et al. 2017, arXiv:1708.02002, eq. 4.

    Args:
        logits: (B, C). labels: (B, C) whether the image shows the class.
    """
    logits, plain = logits.float(), labels.float()
    smoothed = plain * (1 - settings.label_smoothing) + settings.label_smoothing / 2
    losses = F.binary_cross_entropy_with_logits(logits, smoothed, reduction="none")
    if settings.kind == "focal":
        doubt = torch.sigmoid(torch.where(labels, -logits, logits))
        losses = losses * doubt.clamp_min(torch.finfo(doubt.dtype).eps) ** settings.focal_gamma
    return losses / logits.shape[1]
