"""What is minimised: cross-entropy or focal loss, with label smoothing, weighted by image and class."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from fitwell.recipe.schema import Loss
from fitwell.training.mixing import Mix


def batch_loss(logits: Tensor, labels: Tensor, weights: Tensor, settings: Loss, mix: Mix | None) -> Tensor:
    """Return the mean over the batch of weight times loss, a scalar; of a blend, that of each image times its share.

    The sum is divided by B and not by the batch's own sum of weights: so the expected gradient is that of the
    weighted loss over all images, whichever classes a batch happens to hold.

    Args:
        logits: (B, C). labels: (B,) in [0, C). weights: (B,), mean 1 over the training images. The labels and the
            weights are those before `mix` blended the images.
    """
    own = torch.dot(image_losses(logits, labels, settings), weights) / len(labels)
    if mix is None:
        return own
    other = image_losses(logits, labels[mix.partners], settings)
    return mix.share * own + (1 - mix.share) * torch.dot(other, weights[mix.partners]) / len(labels)


def image_losses(logits: Tensor, labels: Tensor, settings: Loss) -> Tensor:
    """Return the loss of each image (B,), float32.

    Label smoothing spreads a share of the target evenly over the classes: Szegedy et al. 2016, arXiv:1512.00567,
    section 7. The focal loss is cross-entropy times (1 - p) ** gamma, with p the probability of the label: Lin et al.
    2017, arXiv:1708.02002, eq. 4; the alpha of eq. 5 is a class weight.

    Args:
        logits: (B, C). labels: (B,) in [0, C).
    """
    losses = F.cross_entropy(logits.float(), labels, reduction="none", label_smoothing=settings.label_smoothing)
    if settings.kind == "focal":
        doubt = 1 - logits.float().softmax(dim=1).gather(1, labels[:, None])[:, 0]
        # A power below 1 has an infinite slope at 0, where float32 puts every sure answer.
        losses = losses * doubt.clamp_min(torch.finfo(doubt.dtype).eps) ** settings.focal_gamma
    return losses
