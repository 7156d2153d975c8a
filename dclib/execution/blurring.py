"""How outcomes of the blur study are made: networks under each kernel, and images restored with the true kernel."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from dclib import kernels, ranking
from dclib.datasets import Split
from dclib.evaluation import hits_on
from dclib.execution.checkpoint import Parts
from dclib.execution.inputs import Inputs, left_out, test_images, validation_images
from dclib.experiments import Run
from dclib.neighbours import STRENGTHS, deblur, under
from dclib.results import pack_bits

#: Images that are looked at together, and on which distances of activations are measured.
_AT_ONCE, _MEASURED = 250, 200


def make_blurred(run: Run, inputs: Inputs, device: torch.device, parts: Parts) -> dict:
    """Under each condition: which images are right, also among five, the mean confidence and entropy of the answers.

    Where the run names layers, also how far a blur moves the activations of each: their root mean square difference from
    those of the sharp image, over that between two sharp images of different places in the test set.
    """
    model, test = inputs.network.to(device), test_images(run, inputs.data)
    parts.total = len(run.conditions) + bool(run.layers)
    found = [parts.find(name, lambda name=name: _answered(run, model, test, name)) for name in run.conditions]
    outcome = {
        "correct": pack_bits(np.stack([one[:, 0] == 0 for one in found])),
        "images": len(test),
        "among_five": pack_bits(np.stack([one[:, 0] < 5 for one in found])),
        "confidence": [round(one[:, 1].mean().item(), 6) for one in found],
        "entropy": [round(one[:, 2].mean().item(), 6) for one in found],
    }
    if run.layers:
        moved = parts.find("moved", lambda: _moved(run, model, test))
        outcome["moved"] = {layer: [round(x, 6) for x in row] for layer, row in zip(run.layers, moved.tolist())}
    return outcome | left_out(inputs.data)


def _shown(run: Run, split: Split, name: str, device: torch.device) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Images under a condition, in parts, as large as the run asks for; and their labels."""
    for start in range(0, len(split), _AT_ONCE):
        part = split.take(torch.arange(start, min(start + _AT_ONCE, len(split))))
        images = under(name, part.images.to(device, torch.float32))
        if run.side:
            images = F.interpolate(images, (run.side, run.side), mode="bilinear", antialias=True).round().clamp(0, 255)
        yield images, part.labels.to(device)


def _answered(run: Run, model: nn.Module, split: Split, name: str) -> torch.Tensor:
    """The place of the true class, the confidence and the entropy (in nats) of each answer: float64 [N, 3]."""
    rows, at_once = [], 25 if run.side else _AT_ONCE
    with torch.inference_mode():
        for images, labels in _shown(run, split, name, next(model.parameters()).device):
            for part, truth in zip(images.split(at_once), labels.split(at_once)):
                said = model(part.contiguous(memory_format=torch.channels_last)).double().softmax(1)
                place = (said > said.gather(1, truth[:, None])).sum(1)
                rows.append(torch.stack([place.double(), said.amax(1), torch.special.entr(said).sum(1)], 1).cpu())
    return torch.cat(rows)


def _moved(run: Run, model: nn.Module, split: Split) -> torch.Tensor:
    """How far the activations of each layer move: float64 [layers, conditions]."""
    device = next(model.parameters()).device
    chosen = split.take(torch.linspace(0, len(split) - 1, min(_MEASURED, len(split))).long())
    sharp = chosen.images.to(device, torch.float32)
    blurred = torch.stack([torch.cat([seen for seen, _ in _shown(run, chosen, name, device)]) for name in run.conditions])
    other = sharp.roll(len(sharp) // 2, 0)  # sorted by class: an image of another one
    found = ranking.activation_distances(model, run.layers, sharp, torch.cat([blurred, other[None]]))
    size = torch.stack([torch.from_numpy(found[layer]).square().mean((1, 2)).sqrt() for layer in run.layers])
    return size[:, :-1] / size[:, -1:]


def make_deblurred(run: Run, inputs: Inputs, device: torch.device, parts: Parts) -> dict:
    """Which images are right as they are and restored in each way; and seconds per image.

    The strength of each way is the one with which most validation images are right, over all kernels.
    """
    model, test = inputs.network.to(device), test_images(run, inputs.data)
    held_out = validation_images(run, inputs.data)
    parts.total = len(run.conditions) * (1 + len(STRENGTHS)) + sum(map(len, STRENGTHS.values()))
    strengths, tried = {}, {}
    for way, several in STRENGTHS.items():
        tried[way] = [
            round(
                parts.find(
                    f"{way} {strength}",
                    lambda way=way, strength=strength: torch.stack(
                        [_restored(model, held_out, name, way, strength, None) for name in run.conditions]
                    ),
                )
                .double()
                .mean()
                .item(),
                6,
            )
            for strength in several
        ]
        strengths[way] = several[int(np.argmax(tried[way]))]
    bits = {
        way: [
            parts.find(
                f"{name} {way}", lambda name=name, way=way: _restored(model, test, name, way, strengths.get(way), parts)
            )
            for name in run.conditions
        ]
        for way in ("blurred", *STRENGTHS)
    }
    count = len(test) * len(run.conditions)
    parts.facts["seconds_per_image"] = {way: parts.facts[way] / count for way in ("network", *STRENGTHS)}
    return {
        "correct": {way: pack_bits(np.stack(found)) for way, found in bits.items()},
        "strengths": strengths,
        "tried": tried,
        "images": len(test),
    } | left_out(inputs.data)


def _restored(
    model: nn.Module, split: Split, name: str, way: str, strength: float | None, parts: Parts | None
) -> torch.Tensor:
    """Which images under a kernel are right, restored unless `way` is "blurred": bool [N]. The test's time is kept."""
    images = under(name, split.images.to(next(model.parameters()).device, torch.float32))
    if way != "blurred":

        def restore() -> torch.Tensor:
            return deblur(images, kernels.named(name), way, strength)

        return hits_on(model, (parts.timed(way, restore) if parts else restore())[None], split.labels)[0]
    return parts.timed("network", lambda: hits_on(model, images[None], split.labels)[0])
