"""How the outcomes of Algorithm 1 and of Figures 4 and 5 are made: filters swapped on a part of the images at a time."""

from collections.abc import Callable, Iterator
from functools import partial
from itertools import product

import numpy as np
import torch
from torch import nn

from dclib import ranking
from dclib.datasets import Split
from dclib.evaluation import hits_on
from dclib.execution.checkpoint import Parts
from dclib.execution.inputs import Inputs, left_out, pairs, priorities_of, ranking_images, spaced
from dclib.experiments import Run
from dclib.models import named_conv
from dclib.results import Record, pack_bits, pack_filters

#: Images that are distorted at once, for 5,000 of ImageNet's take 24 GB at all levels. A multiple of the evaluation's
#: chunks of noise, so that the outcome does not depend on it.
_AT_ONCE = 500

#: Called with (clean, distorted, labels, known places): what `ranking.swaps_in_parts` yields.
Swaps = Callable[..., Iterator[tuple[ranking.Place, torch.Tensor]]]


def make_ranking(run: Run, inputs: Inputs, device: torch.device, parts: Parts) -> dict:
    """Algorithm 1: the accuracy after each filter's swap, and which answers each swap changes."""
    model = inputs.network.to(device)
    before, after, shared = _ranked_around(partial(ranking.swaps_in_parts, model, run.layers), run, inputs, parts)
    # Few swaps change an answer: written as changes, the bits need less room.
    outcome = {
        "swap_accuracy": _accuracies(after),
        "changed": {layer: pack_bits(bits != before[1:]) for layer, bits in after.items()},
    } | shared
    if run.network == "AlexNet":  # large enough to be looked at (Figure 6)
        outcome["first_filters"] = pack_filters(model.conv1.weight.detach().cpu().numpy())
    return outcome


def make_swaps(run: Run, inputs: Inputs, device: torch.device, parts: Parts) -> dict:
    """Figures 4 and 5: which images are right after the top fractions of a layer's filters were swapped together."""
    model = inputs.network.to(device)
    choices = _spaced(run, inputs.network) if inputs.ranking is None else _ranked(run, inputs.ranking)
    _, after, shared = _ranked_around(partial(ranking.joint_swaps_in_parts, model, choices), run, inputs, parts)
    outcome = {"accuracy": _accuracies(after), "correct_after": {layer: pack_bits(bits) for layer, bits in after.items()}}
    return outcome | shared


def _ranked(run: Run, record: Record) -> dict[str, list]:
    """Of each layer the top fractions of its filters, by the record of their ranking."""
    priorities = priorities_of(record, run.selection.score, run.layers)
    return {
        layer: [ranking.select_local({layer: priorities[layer]}, f)[layer] for f in run.fractions] for layer in run.layers
    }


def _spaced(run: Run, model: nn.Module) -> dict[str, list]:
    """Of each layer as many filters, equally far from each other: what tells layers apart where filters have no ranking."""
    counts = {layer: named_conv(model, layer).out_channels for layer in run.layers}
    return {layer: [spaced(n, round(f * n)) for f in run.fractions] for layer, n in counts.items()}


def _accuracies(hits: dict[str, np.ndarray]) -> dict[str, list]:
    """{layer: accuracies [swaps, levels]} of bits [swaps, levels, images]."""
    return {layer: bits.mean(axis=-1).round(6).tolist() for layer, bits in hits.items()}


def _ranked_around(swaps: Swaps, run: Run, inputs: Inputs, parts: Parts) -> tuple[np.ndarray, dict[str, np.ndarray], dict]:
    """`hits_around` of the images that `run` ranks on, and what is recorded of both kinds of swaps."""
    images = ranking_images(run, inputs.data)
    before, after, accuracy = hits_around(swaps, run, inputs.network, parts, images)
    return (
        before,
        after,
        {
            "correct_before": pack_bits(before),
            "clean_accuracy": accuracy[0].item(),
            "distorted_accuracy": accuracy[1:].round(6).tolist(),
            "images": len(images),
        }
        | left_out(inputs.data),
    )


def hits_around(
    swaps: Swaps, run: Run, model: nn.Module, parts: Parts, images: Split
) -> tuple[np.ndarray, dict[str, np.ndarray], np.ndarray]:
    """Which of the images are right before and after swaps.

    Bits before the swaps [1 + levels, images], level 0 clean, and per layer after each of them [swaps, levels, images]; the
    accuracy [1 + levels] before.
    """
    levels = range(len(run.sigmas))
    starts = range(0, len(images), _AT_ONCE)
    begins = [
        first + start
        for first in starts
        for start in ranking.part_starts(images.images[:1], min(_AT_ONCE, len(images) - first))
    ]
    parts.total += len(starts) * (1 + len(levels)) + len(begins) * len(levels) * len(run.layers)
    for first in starts:
        _find_on(swaps, run, model, images.take(torch.arange(first, min(first + _AT_ONCE, len(images)))), first, parts)
    before = np.stack([np.concatenate([parts[_before(first, level)] for first in starts]) for level in (-1, *levels)])
    after = {
        layer: np.stack(
            [np.concatenate([parts[_after(layer, level, begin)] for begin in begins], axis=-1) for level in levels], axis=1
        )
        for layer in run.layers
    }
    return before, after, before.mean(axis=-1)


def _find_on(swaps: Swaps, run: Run, model: nn.Module, images: Split, first: int, parts: Parts) -> None:
    """All parts on `images`, of which the first is number `first`; the distorted ones are gone on return."""
    levels = range(len(run.sigmas))
    places = set(product(run.layers, levels, ranking.part_starts(images.images[:1], len(images))))
    known = {place for place in places if _after(place[0], place[1], first + place[2]) in parts}
    if known == places and all(_before(first, level) in parts for level in (-1, *levels)):
        return
    device = next(model.parameters()).device
    (clean, distorted), labels = pairs(run, images, device, first), images.labels.to(device)
    for level, those in ((-1, clean), *enumerate(distorted)):
        parts.find(_before(first, level), lambda those=those: hits_on(model, those[None], labels)[0])
    for (layer, level, start), bits in swaps(clean, distorted, labels, known=known):
        parts.keep(_after(layer, level, first + start), bits)


def _before(first: int, level: int) -> str:
    return f"before {first} {level}"


def _after(layer: str, level: int, begin: int) -> str:
    return f"after {layer} {level} {begin}"
