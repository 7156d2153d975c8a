"""Adversarial images: changed by a few grey values so that a network errs (the image-quality gate's other enemy).

FGSM is Goodfellow et al. (2015), PGD Madry et al. (2018). Both know the network, and change no value by more than a budget.
"""

import torch
from torch import nn
from torch.nn import functional as F

from dclib.errors import InputError, check_images, check_labels
from dclib.models import evaluation_mode

#: Steps of PGD, and how far all of them together could lead, in budgets.
STEPS, _REACH = 7, 2.5


def fgsm(network: nn.Module, images: torch.Tensor, labels: torch.Tensor, budget: float) -> torch.Tensor:
    """One step of `budget` grey values along the sign of the loss's gradient.

    Args:
        network: images [N, C, H, W] in 0..255 to logits [N, K]; left as it is.
        images: float, in 0..255.
        labels: the true classes, int64 [N].
        budget: by how many grey values a value may change.

    Returns:
        A new tensor [N, C, H, W] in 0..255.

    Raises:
        InputError: shapes that do not fit, a budget that is not above 0.
    """
    _check(images, labels, budget)
    return (images + budget * _gradient(network, images, labels).sign()).clamp(0, 255)


def pgd(
    network: nn.Module,
    images: torch.Tensor,
    labels: torch.Tensor,
    budget: float,
    *,
    steps: int = STEPS,
    generator: torch.Generator | None = None,
) -> torch.Tensor:
    """`steps` smaller steps of that kind from a random place, each brought back to within `budget` of the images.

    Arguments as for `fgsm`; `generator` draws the places, on the device of the images.
    """
    _check(images, labels, budget)
    if steps < 1:
        raise InputError(f"steps: expected at least one, got {steps}.")
    start = torch.rand(images.shape, generator=generator, device=images.device, dtype=images.dtype) * 2 - 1
    found = (images + budget * start).clamp(0, 255)
    for _ in range(steps):
        found = found + _REACH * budget / steps * _gradient(network, found, labels).sign()
        found = torch.minimum(torch.maximum(found, images - budget), images + budget).clamp(0, 255)
    return found


def _gradient(network: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """The gradient of the cross-entropy by the images: a network in evaluation mode takes each image for itself."""
    asked = images.detach().contiguous(memory_format=torch.channels_last).requires_grad_()
    with evaluation_mode(network), torch.enable_grad():
        loss = F.cross_entropy(network(asked), labels, reduction="sum")
        return torch.autograd.grad(loss, asked)[0]


def _check(images: torch.Tensor, labels: torch.Tensor, budget: float) -> None:
    check_images(images)
    check_labels(labels, len(images))
    if not 0 < budget <= 255:
        raise InputError(f"budget: expected grey values above 0 and up to 255, got {budget!r}.")
