"""Correction priority (Section 4.1, Eq. 1, Algorithm 1) and the selection of filters.

Algorithm 1 asks for one forward pass per filter; `swapping` says how less gives the same. `activation_distances` and
`borda_count` are the ranking of a neighbouring work, which needs no labels.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Sequence

import numpy as np
import torch
from scipy.stats import rankdata
from torch import nn

from dclib.errors import InputError, check_images, check_labels
from dclib.models import evaluation_mode, images_at_once, predicted_classes
from dclib.ranking.swap_network import SwapNetwork, trial_images

SCORES = ("priority", "relative_error")
#: Images whose swaps are done together, so that a part of Algorithm 1 takes less than a minute; fewer where they are large.
_PART, _LARGE_PART, _LARGE = 100, 20, 128

#: Which part of a ranking: the layer, the level, the first image.
Place = tuple[str, int, int]


def swap_accuracy(model: nn.Module, layers: Sequence[str], clean: torch.Tensor, distorted: torch.Tensor,
                  labels: torch.Tensor, *, batch_size: int | None = None) -> dict[str, np.ndarray]:
    """Algorithm 1: top-1 accuracy after each single filter's distorted output was swapped for its clean one.

    Arguments and errors are those of `correct_after_swaps`, whose mean over the images this is. Images that do not fit
    on the device at all levels together can come in parts: the mean of the parts' accuracies, weighted by their numbers
    of images, is the accuracy.

    Returns:
        {layer: float64 array [filters, levels]}, accuracies in 0..1.
    """
    correct = correct_after_swaps(model, layers, clean, distorted, labels, batch_size=batch_size)
    return {layer: bits.mean(axis=-1) for layer, bits in correct.items()}


def correct_after_swaps(model: nn.Module, layers: Sequence[str], clean: torch.Tensor, distorted: torch.Tensor,
                        labels: torch.Tensor, *, batch_size: int | None = None) -> dict[str, np.ndarray]:
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


def swaps_in_parts(model: nn.Module, layers: Sequence[str], clean: torch.Tensor, distorted: torch.Tensor,
                   labels: torch.Tensor, *, batch_size: int | None = None, known: Collection[Place] = ()
                   ) -> Iterator[tuple[Place, torch.Tensor]]:
    """`correct_after_swaps` part by part, for rankings that are stopped and go on.

    Args:
        known: places that are left out.

    Yields:
        ((layer, level, first image), bool tensor [filters, images]), with the images up to the next of `part_starts`.
    """
    _check_pairs(clean, distorted, labels, batch_size)
    layers = tuple(dict.fromkeys(layers))
    network = SwapNetwork(model, layers, trial_images(clean, distorted))
    check_labels(labels, len(labels), network.classes)

    def swap(layer: str, *values) -> torch.Tensor:
        return network.swap_each(layer, *values, batch_size)

    yield from _in_parts(network, layers, clean, distorted, labels, swap, known, network.images)


def part_starts(images: torch.Tensor, count: int) -> range:
    """Where the parts begin that `count` images like `images` [.., H, W] are cut into."""
    return range(0, count, _LARGE_PART if images.shape[-1] > _LARGE else _PART)


def joint_swap_accuracy(model: nn.Module, choices: dict[str, Sequence[Sequence[int]]], clean: torch.Tensor,
                        distorted: torch.Tensor, labels: torch.Tensor, *,
                        batch_size: int | None = None) -> dict[str, np.ndarray]:
    """Top-1 accuracy after swapping the outputs of several filters of one layer together (Figures 4 and 5).

    Arguments are those of `correct_after_joint_swaps`, whose mean over the images this is.

    Returns:
        {layer: float64 array [choices, levels]}, accuracies in 0..1.
    """
    correct = correct_after_joint_swaps(model, choices, clean, distorted, labels, batch_size=batch_size)
    return {layer: bits.mean(axis=-1) for layer, bits in correct.items()}


def correct_after_joint_swaps(model: nn.Module, choices: dict[str, Sequence[Sequence[int]]], clean: torch.Tensor,
                              distorted: torch.Tensor, labels: torch.Tensor, *,
                              batch_size: int | None = None) -> dict[str, np.ndarray]:
    """Which images are classified correctly after swapping the outputs of several filters of one layer together.

    Args:
        choices: {layer: choices of its filters}; each choice is a swap of its own.
        model, clean, distorted, labels, batch_size: as in `correct_after_swaps`; a batch is of images.

    Returns:
        {layer: bool array [choices, levels, M]}.
    """
    return _whole(joint_swaps_in_parts(model, choices, clean, distorted, labels, batch_size=batch_size), distorted)


def joint_swaps_in_parts(model: nn.Module, choices: dict[str, Sequence[Sequence[int]]], clean: torch.Tensor,
                         distorted: torch.Tensor, labels: torch.Tensor, *, batch_size: int | None = None,
                         known: Collection[Place] = ()) -> Iterator[tuple[Place, torch.Tensor]]:
    """`correct_after_joint_swaps` part by part, as `swaps_in_parts` has it."""
    _check_pairs(clean, distorted, labels, batch_size)
    network = SwapNetwork(model, tuple(choices), trial_images(clean, distorted))
    check_labels(labels, len(labels), network.classes)
    batch_size = batch_size or network.images
    indices = {layer: [_check_filters(filters, network.filters(layer)).to(clean.device) for filters in chosen]
               for layer, chosen in choices.items()}

    def swap(layer: str, undistorted: dict, activations: dict, those: torch.Tensor) -> torch.Tensor:
        predicted = [network.swap_together(layer, undistorted, activations, index) for index in indices[layer]]
        return torch.stack(predicted) == those if predicted else torch.empty(0, len(those), dtype=torch.bool)

    yield from _in_parts(network, tuple(choices), clean, distorted, labels, swap, known, batch_size)


@torch.inference_mode()
def _in_parts(network: SwapNetwork, layers: tuple[str, ...], clean: torch.Tensor, distorted: torch.Tensor,
              labels: torch.Tensor, swap: Callable[..., torch.Tensor], known: Collection[Place], most: int
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
        correct = whole.setdefault(layer, np.empty((len(bits), *distorted.shape[:2]), dtype=bool))
        correct[:, level, start:start + bits.shape[1]] = bits.cpu().numpy()
    return whole


def accuracy_per_level(model: nn.Module, images: torch.Tensor, labels: torch.Tensor, *,
                       batch_size: int | None = None) -> np.ndarray:
    """Top-1 accuracy [levels] of `model` on inputs [levels, M, C, H, W]: p_b of Algorithm 1 for each level.

    Raises `InputError` for shapes that do not fit, NaN, labels that are no classes of the network.
    """
    if not isinstance(images, torch.Tensor) or images.ndim != 5 or not len(images):
        raise InputError(f"images: expected a tensor [levels, M, C, H, W], got {list(getattr(images, 'shape', []))}; stack "
                         "one copy of the images per level.")
    _check_pairs(images[0], images, labels, batch_size)
    with evaluation_mode(model), torch.inference_mode():
        batch_size = batch_size or images_at_once(model, images[0], 500)
        counts = [sum((_predictions(model, batch, own) == own).sum().item() for batch, own in
                      zip(level.split(batch_size), labels.split(batch_size))) for level in images]
    return np.array(counts) / len(labels)


def _predictions(model: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    logits = model(images)
    predicted = predicted_classes(logits, len(images))
    check_labels(labels, len(labels), logits.shape[1])
    return predicted


def activation_distances(model: nn.Module, layers: Sequence[str], clean: torch.Tensor, distorted: torch.Tensor, *,
                         batch_size: int | None = None) -> dict[str, np.ndarray]:
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
    _check_pairs(clean, distorted, torch.zeros(len(clean), dtype=torch.int64), batch_size)
    layers = tuple(dict.fromkeys(layers))
    network = SwapNetwork(model, layers, trial_images(clean, distorted))
    batch_size = batch_size or network.images
    distances = {layer: [[] for _ in distorted] for layer in layers}
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
    return (rankdata(votes, axis=1) - 1).sum(axis=0)


def correction_priority(swap_accuracy: np.ndarray, baseline_accuracy: np.ndarray, *,
                        score: str = "priority") -> np.ndarray:
    """One score per filter, higher for more susceptible ones.

    Args:
        swap_accuracy: accuracy after each swap, [filters, levels].
        baseline_accuracy: accuracy without a swap, [levels].
        score: "priority" is Eq. 1, the gain in accuracy averaged over levels. "relative_error" is what the
            released code computes: ``|swapped error - baseline error| / baseline error``, averaged over levels, so
            that a filter whose swap hurts counts as susceptible too. A level without errors adds nothing to it.

    Returns:
        float64 array [filters].
    """
    swapped, before = (np.asarray(a, dtype=np.float64) for a in (swap_accuracy, baseline_accuracy))
    if swapped.ndim != 2 or before.shape != swapped.shape[1:] or not before.size:
        raise InputError(f"correction_priority: expected accuracies [filters, levels] and [levels], got "
                         f"{list(swapped.shape)} and {list(before.shape)}.")
    for values in (swapped, before):
        if not (np.isfinite(values).all() and values.min(initial=0) >= 0 and values.max(initial=0) <= 1):
            raise InputError("correction_priority: expected accuracies in 0..1, got values outside or NaN; divide "
                             "percentages by 100.")
    if score == "priority":
        return (swapped - before).mean(axis=1)
    if score == "relative_error":
        error = 1 - before
        change = np.abs(before - swapped)
        return np.divide(change, error, out=np.zeros_like(change), where=error > 0).mean(axis=1)
    raise InputError(f"score: expected one of {', '.join(SCORES)}, got {score!r}.")


def select_local(priorities: dict[str, np.ndarray], fractions: float | dict[str, float]) -> dict[str, np.ndarray]:
    """The most susceptible filters of each layer, ranked within the layer (beta_i N_i of Section 4.2).

    Args:
        priorities: {layer: scores [filters]}.
        fractions: beta in 0..1 per layer, or one for all; the count is rounded to the nearest filter.

    Returns:
        {layer: filter indices, most susceptible first}. Ties go to the lower index.
    """
    _check_priorities(priorities)
    per_layer = fractions if isinstance(fractions, dict) else dict.fromkeys(priorities, fractions)
    if set(per_layer) != set(priorities):
        raise InputError(f"fractions: expected one per layer ({', '.join(priorities)}), got {', '.join(per_layer)}.")
    if bad := [f for f in per_layer.values() if not 0 <= f <= 1]:
        raise InputError(f"fractions: expected values in 0..1, got {bad[0]}; divide percentages by 100.")
    return {layer: _descending(np.asarray(scores))[:round(per_layer[layer] * len(scores))]
            for layer, scores in priorities.items()}


def select_global(priorities: dict[str, np.ndarray], count: int) -> dict[str, np.ndarray]:
    """The `count` most susceptible filters of all layers together (Tables 5 and 9).

    Returns {layer: filter indices, most susceptible first}, with an empty array for a layer that has none among
    them. Ties go to the earlier layer, then to the lower index.
    """
    _check_priorities(priorities)
    total = sum(len(scores) for scores in priorities.values())
    if count != int(count) or not 0 <= count <= total:
        raise InputError(f"count: expected a whole number in 0..{total}, got {count}.")
    order = _descending(np.concatenate([np.asarray(scores) for scores in priorities.values()]))[:int(count)]
    chosen, start = {}, 0
    for layer, scores in priorities.items():
        inside = (order >= start) & (order < start + len(scores))
        chosen[layer] = order[inside] - start
        start += len(scores)
    return chosen


def _descending(scores: np.ndarray) -> np.ndarray:
    return np.argsort(-scores.astype(np.float64), kind="stable")


def _check_filters(chosen: Sequence[int], count: int) -> torch.Tensor:
    index = np.asarray(chosen)
    if index.ndim != 1 or (index.size and (index.dtype.kind not in "iu" or index.min() < 0 or index.max() >= count)):
        raise InputError(f"filters: expected indices in 0..{count - 1}, got {chosen!r}.")
    return torch.from_numpy(index.astype(np.int64))


def _check_pairs(clean: torch.Tensor, distorted: torch.Tensor, labels: torch.Tensor,
                 batch_size: int | None) -> None:
    if batch_size is not None and batch_size < 1:
        raise InputError(f"batch_size: expected a positive number, got {batch_size}.")
    check_images(clean, "clean")
    if not isinstance(distorted, torch.Tensor) or distorted.ndim != 5 or distorted.shape[1:] != clean.shape:
        raise InputError(f"distorted: expected a tensor [levels, {', '.join(map(str, clean.shape))}], got "
                         f"{list(getattr(distorted, 'shape', []))}; stack one copy of the images per level.")
    check_labels(labels, len(clean))
    for name, images in (("clean", clean), ("distorted", distorted)):
        if not bool(torch.isfinite(images).all()):
            raise InputError(f"{name}: expected finite values, got NaN or infinity; repair or drop those images.")


def _check_priorities(priorities: dict[str, np.ndarray]) -> None:
    if not priorities:
        raise InputError("priorities: expected scores of at least one layer, got none.")
    for layer, scores in priorities.items():
        values = np.asarray(scores)
        if values.ndim != 1 or values.dtype.kind not in "fiu" or not np.isfinite(values).all():
            raise InputError(f"priorities of {layer!r}: expected finite scores [filters], got {values.dtype} "
                             f"{list(values.shape)}.")
