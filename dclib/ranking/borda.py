"""The ranking of a neighbouring work, which needs no labels: how far activation maps move, and Borda's election."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from dclib.errors import InputError
from dclib.ranking.swap_network import SwapNetwork, trial_images
from dclib.ranking.swaps import check_pairs


def activation_distances(
    model: nn.Module, layers: Sequence[str], clean: torch.Tensor, distorted: torch.Tensor, *, batch_size: int | None = None
) -> dict[str, np.ndarray]:
    """How far each filter's activation map moves under a distortion (Bianchi et al., 2019).

    The map is what the next layer sees: it is taken where Algorithm 1 swaps, behind the BatchNorm, ReLU and pooling that
    follow the convolution. So it does not depend on the size of a filter's weights where a BatchNorm takes that out.

    Args:
        model: any network that torch.fx can trace; used as in evaluation, not changed.
        layers: names of convolutions.
        clean: the network's input [M, C, H, W], undistorted.
        distorted: the same images at each level, [levels, M, C, H, W].

    Returns:
        {layer: float64 array [levels, M, filters]}: root mean square difference between the clean and the distorted map.

    Raises:
        InputError: shapes that do not fit, NaN, an unknown layer, a layer that is no convolution, a model that
            cannot be traced.
    """
    check_pairs(clean, distorted, torch.zeros(len(clean), dtype=torch.int64), batch_size)
    layers = tuple(dict.fromkeys(layers))
    network = SwapNetwork(model, layers, trial_images(clean, distorted))
    batch_size = batch_size or network.images
    distances: dict[str, list[list]] = {layer: [[] for _ in distorted] for layer in layers}
    with torch.inference_mode():
        for start in range(0, len(clean), batch_size):
            rows = slice(start, start + batch_size)
            undistorted = network.activations(clean[rows])
            for level, images in enumerate(distorted[:, rows]):
                activations = network.activations(images)
                for layer in layers:
                    swapped = network.cuts[layer].swapped
                    moved = (activations[swapped] - undistorted[swapped]).square().mean(dim=(2, 3)).sqrt()
                    distances[layer][level].append(moved.double().cpu())
    return {layer: torch.stack([torch.cat(parts) for parts in levels]).numpy() for layer, levels in distances.items()}


def borda_count(votes: np.ndarray) -> np.ndarray:
    """Borda's election: every voter gives each candidate a point for each one that it ranks lower, half for a tie.

    Args:
        votes: scores [voters, candidates], higher for those ranked higher; such as one voter per image and level, and
            the distances of its activation maps.

    Returns:
        float64 points [candidates].
    """
    votes = np.asarray(votes, dtype=np.float64)
    if votes.ndim != 2 or not votes.size or not np.isfinite(votes).all():
        raise InputError(f"votes: expected finite scores [voters, candidates], got {list(votes.shape)}.")
    return np.sum([_points(vote) for vote in votes], axis=0)


def _points(vote: np.ndarray) -> np.ndarray:
    """What one voter's scores [candidates] give to each of them."""
    _, place, count = np.unique(vote, return_inverse=True, return_counts=True)
    return (np.cumsum(count) - count + (count - 1) / 2)[place]
