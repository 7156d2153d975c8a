"""Algorithm 1 whole: one call from images to the correction priority of every filter (Section 4.1)."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from dclib.distortions import Distort, distorted_levels
from dclib.errors import InputError
from dclib.ranking.priority import correction_priority
from dclib.ranking.swaps import accuracy_per_level, swap_accuracy


def rank_filters(
    network: nn.Module,
    layers: Sequence[str],
    images: torch.Tensor,
    labels: torch.Tensor,
    *,
    distort: str | Distort,
    sigmas: Sequence[float],
    score: str = "priority",
    seed: int = 0,
    batch_size: int | None = None,
) -> dict[str, np.ndarray]:
    """Algorithm 1: how much accuracy returns when one filter's distorted output is replaced by its clean one.

    The baseline's accuracy p_b at each level, the accuracy after the swap of each filter, and from both the score.

    Args:
        network: any network that torch.fx can trace, images [N, C, H, W] in 0..255 to logits [N, K]; not changed.
        layers: names of its convolutions.
        images: uint8, or float in 0..255, [N, C, H, W], undistorted, on the network's device; a few hundred that it was not
            tested on.
        labels: int64 [N].
        distort: "blur", "awgn", or a function of (images, sigma) to images of the same shape.
        sigmas: the levels; the paper takes six.
        score: "priority" (Eq. 1) or "relative_error" (the released code), as in `correction_priority`.
        seed: of the noise.
        batch_size: as in `swap_accuracy`.

    Returns:
        {layer: float64 [filters]}, higher for filters that the distortion hurts more: for `select_local` and `select_global`.

    Raises:
        InputError: an unknown layer, distortion or score; no level; images and labels that do not fit.

    >>> import torch
    >>> from dclib import gaussian_blur, rank_filters, select_local
    >>> _ = torch.manual_seed(0)
    >>> network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.LazyLinear(2))
    >>> images, labels = 255 * torch.rand(50, 3, 8, 8), torch.arange(50) % 2
    >>> _ = network(images)
    >>> priorities = rank_filters(network, ["0"], images, labels, distort=gaussian_blur, sigmas=(1.0, 2.0))
    >>> priorities["0"].shape, len(select_local(priorities, fractions=0.5)["0"])
    ((4,), 2)
    """
    if not len(sigmas):
        raise InputError("sigmas: expected at least one level to rank at, got none.")
    if isinstance(images, torch.Tensor) and images.dtype == torch.uint8:
        images = images.float()
    distorted = distorted_levels(images, distort, sigmas, seed=seed)
    before = accuracy_per_level(network, distorted, labels)
    after = swap_accuracy(network, layers, images, distorted, labels, batch_size=batch_size)
    return {layer: correction_priority(values, before, score=score) for layer, values in after.items()}
