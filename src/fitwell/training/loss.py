"""What is minimised: cross-entropy with label smoothing, weighted by class and by image."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from fitwell.training.mixing import Mix


def balanced_class_weights(labels: NDArray[np.int64], num_classes: int) -> NDArray[np.float64]:
    """Return weights (C,) that give every class the same total: N / (C * n_c); their mean over the images is 1.

    Args:
        labels: (N,) in [0, C); every class occurs.

    Source: King & Zeng 2001, as in scikit-learn's `compute_class_weight("balanced")`.
    """
    counts = np.bincount(labels, minlength=num_classes)
    return np.asarray(len(labels) / (num_classes * counts), dtype=np.float64)


def mixed_loss(logits: Tensor, labels: Tensor, weights: Tensor, label_smoothing: float, mix: Mix | None) -> Tensor:
    """Return the loss of a batch that was blended as `mix` says: that of each image times its share, a scalar.

    Args:
        logits: (B, C). labels, weights: (B,), before they were blended.
    """
    own = weighted_cross_entropy(logits, labels, weights, label_smoothing)
    if mix is None:
        return own
    other = weighted_cross_entropy(logits, labels[mix.partners], weights[mix.partners], label_smoothing)
    return mix.share * own + (1 - mix.share) * other


def weighted_cross_entropy(logits: Tensor, labels: Tensor, weights: Tensor, label_smoothing: float) -> Tensor:
    """Return the mean over the batch of weight times smoothed cross-entropy, a scalar.

    The sum is divided by B and not by the batch's own sum of weights: so the expected gradient is that of the
    weighted loss over all images, whichever classes a batch happens to hold.

    Args:
        logits: (B, C). labels: (B,) in [0, C). weights: (B,), mean 1 over the training images.
        label_smoothing: share of the target spread evenly over the classes.
            Source: Szegedy et al. 2016, arXiv:1512.00567, section 7.
    """
    losses = F.cross_entropy(logits.float(), labels, reduction="none", label_smoothing=label_smoothing)
    return torch.dot(losses, weights) / len(losses)
