"""The filters of a layer that help most together: the paper's future work (Section 4.1), by greedy joint swaps.

Eq. 1 scores each filter by itself, as if what two of them give added up; two alike rank high both, although either alone
would do. Here each step takes the filter that helps most beside those already chosen.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from dclib.errors import InputError, check_labels
from dclib.ranking.swap_network import SwapNetwork, trial_images
from dclib.ranking.swaps import check_filters, check_pairs


@dataclass(frozen=True)
class Step:
    """One step: which filter was chosen, and from what.

    `accuracy` [filters, levels] is the top-1 accuracy after swapping each filter together with all that were chosen before;
    of those themselves it is the accuracy without another one.
    """

    chosen: int
    accuracy: np.ndarray


def select_jointly(
    model: nn.Module,
    layer: str,
    clean: torch.Tensor,
    distorted: torch.Tensor,
    labels: torch.Tensor,
    *,
    count: int | None = None,
    begun: Sequence[int] = (),
    batch_size: int | None = None,
) -> Iterator[Step]:
    """Choose filters of one layer one after another, each so that the mean accuracy over levels becomes the highest.

    That takes about n²/2 joint swaps of n filters, at every level. What they share is computed once: each step is
    Algorithm 1 in the network in which the chosen filters are swapped already, so that a trial changes one channel of it.

    Args:
        model, clean, distorted, labels, batch_size: as in `swaps.hits_after_swaps`.
        layer: the name of a convolution.
        count: how many filters to choose; all when None.
        begun: filters that were chosen before, first to last, for a selection that goes on.

    Yields:
        A `Step` for each filter from then on. Ties go to the lower index. The first step's `accuracy` is what
        `swaps.swap_accuracy` gives for the layer.

    Raises:
        InputError: as in `swaps.hits_after_swaps`; a `count` that the layer does not have, filters that were begun with
            twice.
    """
    check_pairs(clean, distorted, labels, batch_size)
    network = SwapNetwork(model, (layer,), trial_images(clean, distorted))
    check_labels(labels, len(labels), network.classes)
    filters = network.filters(layer)
    count = filters if count is None else count
    chosen = check_filters(begun, filters).tolist()
    if not 0 <= count <= filters or len(set(chosen)) < len(chosen):
        raise InputError(f"count: expected at most {filters} filters, each once, got {count} and {chosen}.")
    parts = _Parts(network, layer, clean, distorted, labels, chosen)
    while len(chosen) < count:
        accuracy = parts.try_each(batch_size)
        means = accuracy.mean(axis=1)
        means[chosen] = -1
        chosen.append(int(means.argmax()))
        yield Step(chosen[-1], accuracy)
        if len(chosen) < count:
            parts.swap(chosen[-1])


class _Parts:
    """The images, in parts that the network takes at once, with the activations that swaps in one layer need."""

    @torch.inference_mode()
    def __init__(
        self,
        network: SwapNetwork,
        layer: str,
        clean: torch.Tensor,
        distorted: torch.Tensor,
        labels: torch.Tensor,
        chosen: list[int],
    ) -> None:
        self.network, self.layer, self.labels = network, layer, labels
        self.rows = [slice(first, first + network.images) for first in range(0, len(clean), network.images)]
        self.clean = [network.undistorted(layer, clean[rows]) for rows in self.rows]
        self.levels = [[network.activations(level[rows]) for rows in self.rows] for level in distorted]
        if chosen:
            self.swap(*chosen)

    @torch.inference_mode()
    def try_each(self, batch_size: int | None) -> np.ndarray:
        """Accuracy [filters, levels] after one more filter's swap."""
        hits = [
            torch.cat(
                [
                    self.network.swap_each(self.layer, clean, current, self.labels[rows], batch_size)
                    for clean, current, rows in zip(self.clean, parts, self.rows)
                ],
                dim=1,
            )
            for parts in self.levels
        ]
        return torch.stack([bits.double().mean(dim=1) for bits in hits], dim=1).numpy()

    @torch.inference_mode()
    def swap(self, *filters: int) -> None:
        """Let these filters give their clean output from now on."""
        index = torch.tensor(filters, device=self.labels.device)
        for parts in self.levels:
            parts[:] = [self.network.swapped(self.layer, clean, current, index) for clean, current in zip(self.clean, parts)]
