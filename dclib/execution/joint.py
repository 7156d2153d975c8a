"""How the outcome of a selection by joint swaps is made: filters chosen one by one, and both orders tried on other images."""

from functools import partial

import numpy as np
import torch
from torch import nn

from dclib import ranking
from dclib.datasets import Split
from dclib.evaluation import hits_on
from dclib.execution.checkpoint import Parts
from dclib.execution.inputs import Inputs, left_out, pairs, ranking_images, validation_images
from dclib.execution.swaps import hits_around
from dclib.experiments import Run
from dclib.results import pack_bits


def make_selection(run: Run, inputs: Inputs, device: torch.device, parts: Parts) -> dict:
    """The filters of one layer in the order of greedy joint swaps, beside that of Eq. 1 on the same images.

    Top fractions in both orders are then swapped on the validation images, which had no part in choosing.
    """
    model, (layer,) = inputs.network.to(device), run.layers
    images = ranking_images(run, inputs.data)
    parts.total = model.get_submodule(layer).out_channels
    before, order, accuracy = _chosen(run, model, layer, images, parts)
    single = ranking.correction_priority(accuracy[0], before[1:])
    orders = {"joint": order, "single": ranking.select_local({layer: single}, 1.0)[layer].tolist()}
    held_out = _held_out(run, model, layer, orders, validation_images(run, inputs.data), parts)
    outcome = {
        "order": {layer: order},
        "swap_accuracy": {layer: accuracy[0].round(6).tolist()},
        "joint_accuracy": {layer: [after[f].round(6).tolist() for after, f in zip(accuracy, order)]},
        "clean_accuracy": round(before[0], 6),
        "distorted_accuracy": before[1:].round(6).tolist(),
        "images": len(images),
        "held_out": held_out,
    }
    return outcome | left_out(inputs.data)


def _chosen(
    run: Run, model: nn.Module, layer: str, images: Split, parts: Parts
) -> tuple[np.ndarray, list[int], list[np.ndarray]]:
    """Accuracy [1 + levels] without a swap, the filters in order, and the accuracies [filters, levels] of each step."""
    device = next(model.parameters()).device
    names = [f"step {number}" for number in range(model.get_submodule(layer).out_channels)]
    steps = [parts[name] for name in names if name in parts]  # each with the chosen filter in a last row
    if "without a swap" not in parts or len(steps) < len(names):
        (clean, distorted), labels = pairs(run, images, device), images.labels.to(device)
        parts.find(
            "without a swap",
            lambda: torch.stack([hits_on(model, level[None], labels)[0].double().mean() for level in (clean, *distorted)]),
        )
        begun = [int(step[-1, 0]) for step in steps]
        for step in ranking.select_jointly(model, layer, clean, distorted, labels, begun=begun):
            found = np.vstack([step.accuracy, np.full(step.accuracy.shape[1], step.chosen)])
            steps.append(torch.from_numpy(found))
            parts.keep(names[len(steps) - 1], steps[-1])
    return (parts["without a swap"].numpy(), [int(step[-1, 0]) for step in steps], [step[:-1].numpy() for step in steps])


def _held_out(run: Run, model: nn.Module, layer: str, orders: dict[str, list[int]], images: Split, parts: Parts) -> dict:
    """What top fractions of the layer give in each order, on images that had no part in choosing."""
    counts = [round(fraction * len(orders["joint"])) for fraction in run.fractions]
    choices = {layer: [order[:count] for order in orders.values() for count in counts]}
    before, after, accuracy = hits_around(partial(ranking.joint_swaps_in_parts, model, choices), run, model, parts, images)
    bits = dict(zip(orders, np.split(after[layer], len(orders))))
    return {
        "images": len(images),
        "clean_accuracy": round(float(accuracy[0]), 6),
        "distorted_accuracy": accuracy[1:].round(6).tolist(),
        "counts": counts,
        "correct_before": pack_bits(before),
        "accuracy": {name: those.mean(axis=-1).round(6).tolist() for name, those in bits.items()},
        "correct_after": {name: pack_bits(those) for name, those in bits.items()},
    }
