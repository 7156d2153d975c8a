"""Algorithm 1 (Section 4.1): accuracy after each single filter's swap, and after swaps of several filters together.

It asks for one forward pass per filter; `swap_network` says how less gives the same.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Sequence

import numpy as np
import torch
from torch import nn

from dclib.errors import InputError, check_images, check_labels
from dclib.models import evaluation_mode, images_at_once, predicted_classes
from dclib.ranking.swap_network import SwapNetwork, trial_images

#: Images whose swaps are done together, so that a part of Algorithm 1 takes less than a minute; fewer where they are large.
_PART, _LARGE_PART, _LARGE = 100, 20, 128

#: Which part of a ranking: the layer, the level, the first image.
Place = tuple[str, int, int]


def swap_accuracy(
    model: nn.Module,
    layers: Sequence[str],
    clean: torch.Tensor,
    distorted: torch.Tensor,
    labels: torch.Tensor,
    *,
    batch_size: int | None = None,
) -> dict[str, np.ndarray]:
    """Algorithm 1: top-1 accuracy after each single filter's distorted output was swapped for its clean one.

    Arguments and errors are those of `hits_after_swaps`, whose mean over the images this is. Images that do not fit
    on the device at all levels together can come in parts: the mean of the parts' accuracies, weighted by their numbers
    of images, is the accuracy.

    Returns:
        {layer: float64 array [filters, levels]}, accuracies in 0..1.
    """
    hits = hits_after_swaps(model, layers, clean, distorted, labels, batch_size=batch_size)
    return {layer: bits.mean(axis=-1) for layer, bits in hits.items()}


def hits_after_swaps(
    model: nn.Module,
    layers: Sequence[str],
    clean: torch.Tensor,
    distorted: torch.Tensor,
    labels: torch.Tensor,
    *,
    batch_size: int | None = None,
) -> dict[str, np.ndarray]:
    """Which images are classified correctly after each single filter's distorted output was swapped for its clean one.

    Args:
        model: any network that torch.fx can trace; used as in evaluation, not changed.
        layers: names of convolutions.
        clean: the network's input [M, C, H, W], undistorted.
        distorted: the same images at each level, [levels, M, C, H, W].
        labels: int64 [M].
        batch_size: how many (image, filter) pairs run through the later layers at once; 500, or as many as fit into
            2 GiB, when None.

    Returns:
        {layer: bool array [filters, levels, M]}. Swapping before or behind BatchNorm, ReLU and pooling is the same, for
        they act on each channel by itself.

    Raises:
        InputError: shapes that do not fit, NaN, an unknown layer, a layer that is no convolution, a model that
            cannot be traced.
    """
    return _whole(swaps_in_parts(model, layers, clean, distorted, labels, batch_size=batch_size), distorted)


def swaps_in_parts(
    model: nn.Module,
    layers: Sequence[str],
    clean: torch.Tensor,
    distorted: torch.Tensor,
    labels: torch.Tensor,
    *,
    batch_size: int | None = None,
    known: Collection[Place] = (),
) -> Iterator[tuple[Place, torch.Tensor]]:
    """`hits_after_swaps` part by part, for rankings that are stopped and go on.

    Args:
        known: places that are left out.

    Yields:
        ((layer, level, first image), bool tensor [filters, images]), with the images up to the next of `part_starts`.
    """
    check_pairs(clean, distorted, labels, batch_size)
    layers = tuple(dict.fromkeys(layers))
    network = SwapNetwork(model, layers, trial_images(clean, distorted))
    check_labels(labels, len(labels), network.classes)

    def swap(layer: str, clean: dict, distorted: dict, labels: torch.Tensor) -> torch.Tensor:
        return network.swap_each(layer, clean, distorted, labels, batch_size)

    yield from _in_parts(network, layers, clean, distorted, labels, swap, known, network.images)


def part_starts(images: torch.Tensor, count: int) -> range:
    """Where the parts begin that `count` images like `images` [.., H, W] are cut into."""
    return range(0, count, _LARGE_PART if images.shape[-1] > _LARGE else _PART)


def joint_swap_accuracy(
    model: nn.Module,
    choices: dict[str, Sequence[Sequence[int]]],
    clean: torch.Tensor,
    distorted: torch.Tensor,
    labels: torch.Tensor,
    *,
    batch_size: int | None = None,
) -> dict[str, np.ndarray]:
    """Top-1 accuracy after swapping the outputs of several filters of one layer together (Figures 4 and 5).

    Arguments are those of `hits_after_joint_swaps`, whose mean over the images this is.

    Returns:
        {layer: float64 array [choices, levels]}, accuracies in 0..1.
    """
    hits = hits_after_joint_swaps(model, choices, clean, distorted, labels, batch_size=batch_size)
    return {layer: bits.mean(axis=-1) for layer, bits in hits.items()}


def hits_after_joint_swaps(
    model: nn.Module,
    choices: dict[str, Sequence[Sequence[int]]],
    clean: torch.Tensor,
    distorted: torch.Tensor,
    labels: torch.Tensor,
    *,
    batch_size: int | None = None,
) -> dict[str, np.ndarray]:
    """Which images are classified correctly after swapping the outputs of several filters of one layer together.

    Args:
        choices: {layer: choices of its filters}; each choice is a swap of its own.
        model, clean, distorted, labels, batch_size: as in `hits_after_swaps`; a batch is of images.

    Returns:
        {layer: bool array [choices, levels, M]}.
    """
    return _whole(joint_swaps_in_parts(model, choices, clean, distorted, labels, batch_size=batch_size), distorted)


def joint_swaps_in_parts(
    model: nn.Module,
    choices: dict[str, Sequence[Sequence[int]]],
    clean: torch.Tensor,
    distorted: torch.Tensor,
    labels: torch.Tensor,
    *,
    batch_size: int | None = None,
    known: Collection[Place] = (),
) -> Iterator[tuple[Place, torch.Tensor]]:
    """`hits_after_joint_swaps` part by part, as `swaps_in_parts` has it."""
    check_pairs(clean, distorted, labels, batch_size)
    network = SwapNetwork(model, tuple(choices), trial_images(clean, distorted))
    check_labels(labels, len(labels), network.classes)
    batch_size = batch_size or network.images
    indices = {
        layer: [check_filters(filters, network.filters(layer)).to(clean.device) for filters in chosen]
        for layer, chosen in choices.items()
    }

    def swap(layer: str, undistorted: dict, activations: dict, those: torch.Tensor) -> torch.Tensor:
        predicted = [network.swap_together(layer, undistorted, activations, index) for index in indices[layer]]
        return torch.stack(predicted) == those if predicted else torch.empty(0, len(those), dtype=torch.bool)

    yield from _in_parts(network, tuple(choices), clean, distorted, labels, swap, known, batch_size)


@torch.inference_mode()
def _in_parts(
    network: SwapNetwork,
    layers: tuple[str, ...],
    clean: torch.Tensor,
    distorted: torch.Tensor,
    labels: torch.Tensor,
    swap: Callable[..., torch.Tensor],
    known: Collection[Place],
    most: int,
) -> Iterator[tuple[Place, torch.Tensor]]:
    """Activations once for all swaps of a part, or of `most` images of it; none for parts that are all known."""
    starts = part_starts(clean, len(clean))
    for start in starts:
        stop = min(start + starts.step, len(clean))
        found: dict[Place, list[torch.Tensor]] = defaultdict(list)
        for first in range(start, stop, most):
            rows, undistorted = slice(first, min(first + most, stop)), None
            for level, images in enumerate(distorted[:, rows]):
                left = [(layer, level, start) for layer in layers if (layer, level, start) not in known]
                if not left:
                    continue
                undistorted = undistorted or network.activations(clean[rows])
                activations = network.activations(images)
                for place in left:
                    found[place].append(swap(place[0], undistorted, activations, labels[rows]))
                    if rows.stop == stop:
                        yield place, torch.cat(found.pop(place), dim=-1)


def _whole(parts: Iterator[tuple[Place, torch.Tensor]], distorted: torch.Tensor) -> dict[str, np.ndarray]:
    """{layer: bool array [swaps, levels, M]} of parts."""
    whole: dict[str, np.ndarray] = {}
    for (layer, level, start), bits in parts:
        hits = whole.setdefault(layer, np.empty((len(bits), *distorted.shape[:2]), dtype=bool))
        hits[:, level, start : start + bits.shape[1]] = bits.cpu().numpy()
    return whole


def accuracy_per_level(
    model: nn.Module, images: torch.Tensor, labels: torch.Tensor, *, batch_size: int | None = None
) -> np.ndarray:
    """Top-1 accuracy [levels] of `model` on inputs [levels, M, C, H, W]: p_b of Algorithm 1 for each level.

    Raises `InputError` for shapes that do not fit, NaN, labels that are no classes of the network.

    >>> import torch
    >>> from dclib import accuracy_per_level
    >>> brightness = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 8 * 8, 2, bias=False))
    >>> _ = brightness[1].weight.data.copy_(torch.tensor([[-1.0], [1.0]]))  # class 1 where it is light, class 0 where it is not
    >>> images = torch.tensor([-50.0, 200.0]).view(2, 1, 1, 1).expand(2, 3, 8, 8)
    >>> accuracy_per_level(brightness, torch.stack([images, -images]), torch.tensor([0, 1]))
    array([1., 0.])
    """
    if not isinstance(images, torch.Tensor) or images.ndim != 5 or not len(images):
        raise InputError(
            f"images: expected a tensor [levels, M, C, H, W], got {list(getattr(images, 'shape', []))}; stack "
            "one copy of the images per level."
        )
    check_pairs(images[0], images, labels, batch_size)
    with evaluation_mode(model), torch.inference_mode():
        batch_size = batch_size or images_at_once(model, images[0], 500)
        counts = [
            sum(
                (_predictions(model, batch, own) == own).sum().item()
                for batch, own in zip(level.split(batch_size), labels.split(batch_size))
            )
            for level in images
        ]
    return np.array(counts) / len(labels)


def _predictions(model: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    logits = model(images)
    predicted = predicted_classes(logits, len(images))
    check_labels(labels, len(labels), logits.shape[1])
    return predicted


def check_filters(chosen: Sequence[int], count: int) -> torch.Tensor:
    """The indices `chosen` as int64 [chosen]; `InputError` unless a layer of `count` filters has them."""
    index = np.asarray(chosen)
    if index.ndim != 1 or (index.size and (index.dtype.kind not in "iu" or index.min() < 0 or index.max() >= count)):
        raise InputError(f"filters: expected indices in 0..{count - 1}, got {chosen!r}.")
    return torch.from_numpy(index.astype(np.int64))


def check_pairs(clean: torch.Tensor, distorted: torch.Tensor, labels: torch.Tensor, batch_size: int | None) -> None:
    """`InputError` unless clean and distorted images, labels and the batch size fit together."""
    if batch_size is not None and batch_size < 1:
        raise InputError(f"batch_size: expected a positive number, got {batch_size}.")
    check_images(clean, "clean")
    if not isinstance(distorted, torch.Tensor) or distorted.ndim != 5 or distorted.shape[1:] != clean.shape:
        raise InputError(
            f"distorted: expected a tensor [levels, {', '.join(map(str, clean.shape))}], got "
            f"{list(getattr(distorted, 'shape', []))}; stack one copy of the images per level."
        )
    check_labels(labels, len(clean))
    for name, images in (("clean", clean), ("distorted", distorted)):
        if not bool(torch.isfinite(images).all()):
            raise InputError(f"{name}: expected finite values, got NaN or infinity; repair or drop those images.")
