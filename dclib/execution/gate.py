"""How the outcome of a gate is made: what it learns from a frozen network's errors, and how it scores other images."""

import time
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from torch import nn

from dclib.datasets import Split
from dclib.execution.checkpoint import Parts
from dclib.execution.inputs import Inputs, left_out
from dclib.experiments import Run
from dclib.neighbours import distil, natural_scene_statistics, suspicion, under
from dclib.results import pack_bits, pack_filters

#: A wrong answer is egregious where the true class is not among so many first ones.
AMONG = 5
#: Images that are changed and looked at together.
_AT_ONCE = 25


def make_gate(run: Run, inputs: Inputs, device: torch.device, parts: Parts) -> dict:
    """Scores of test images under every condition by each detector, high where an egregious error is likely.

    "quality" is a support vector machine on natural scene statistics, "student" the distilled network, "both" their sum in
    units of their spread over sharp images, "confidence" one minus the network's own largest probability.
    """
    from sklearn.pipeline import make_pipeline  # takes a second to import
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import SVC

    model, (learnt, calibrating, test) = inputs.network.to(device), thirds(inputs.data.test, run.fractions)
    parts.total = len(run.learned_from) + 1 + len(run.conditions)
    images, found = zip(*(_looked_at(run, model, learnt, name, parts, "learn") for name in run.learned_from))
    features, reliability, places = (np.concatenate([one[key] for one in found]) for key in ("features", "true", "places"))
    machine = make_pipeline(StandardScaler(), SVC(class_weight="balanced")).fit(features, places >= AMONG)
    schedule = run.schedule
    student = distil(
        torch.cat(images),
        torch.from_numpy(reliability),
        schedule.rate,
        schedule.iterations,
        schedule.batch_size,
        seed=run.seed,
    )
    scored = partial(_scores, machine=machine, student=student)
    seen, found = _looked_at(run, model, calibrating, "sharp", parts, "calibrate")
    sharp = scored(seen, found)
    tested = []
    for name in run.conditions:
        seen, found = _looked_at(run, model, test, name, parts, "test")
        tested.append(scored(seen, found) | {"places": found["places"]})
    if "seconds_per_image" not in parts.facts:
        parts.facts["seconds_per_image"] = _costs(model, machine, student, test)
    return _outcome(sharp, tested, test) | left_out(inputs.data)


def thirds(split: Split, shares: tuple[float, ...]) -> tuple[Split, Split, Split]:
    """Of each class's images the first share, the second, and the rest."""
    first, second = shares
    found: tuple[list, list, list] = ([], [], [])
    for label in split.labels.unique():
        rows = (split.labels == label).nonzero().flatten()
        ends = round(first * len(rows)), round((first + second) * len(rows))
        for group, part in zip(found, (rows[: ends[0]], rows[ends[0] : ends[1]], rows[ends[1] :])):
            group.append(part)
    return tuple(split.take(torch.cat(group)) for group in found)


def _looked_at(
    run: Run, model: nn.Module, split: Split, name: str, parts: Parts, use: str
) -> tuple[torch.Tensor, dict[str, np.ndarray]]:
    """The images under a condition, uint8 [N, 3, H, W], and what is known of each: statistics, answers, the true class."""
    device = next(model.parameters()).device
    generator = torch.Generator(device).manual_seed(run.seed)
    shown = []
    for start in range(0, len(split), _AT_ONCE):
        rows = split.take(torch.arange(start, min(start + _AT_ONCE, len(split))))
        changed = under(name, rows.images.to(device, torch.float32), generator, network=model, labels=rows.labels.to(device))
        shown.append(changed.byte().cpu())
    images = torch.cat(shown)
    known = parts.find(f"{use} {name}", lambda: _known(model, images, split.labels)).numpy()
    return images, {
        "features": known[:, :-3],
        "true": known[:, -3],
        "confidence": known[:, -2],
        "places": known[:, -1].astype(int),
    }


def _known(model: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Statistics, probability of the true class, largest probability, place of the true class: float64 [N, 39]."""
    device, rows = next(model.parameters()).device, []
    for part, truth in zip(images.split(_AT_ONCE), labels.split(_AT_ONCE)):
        seen = part.to(device, torch.float32)
        with torch.inference_mode():
            said = model(seen.contiguous(memory_format=torch.channels_last)).softmax(1)
        true = said.gather(1, truth[:, None].to(device))
        answers = torch.cat([true, said.amax(1, keepdim=True), (said > true).sum(1, keepdim=True).to(said.dtype)], 1)
        rows.append(torch.cat([torch.from_numpy(natural_scene_statistics(seen)), answers.double().cpu()], 1))
    return torch.cat(rows)


def _scores(images: torch.Tensor, known: dict[str, np.ndarray], *, machine: object, student: nn.Module) -> dict:
    """Each detector's scores [N]."""
    return {
        "quality": machine.decision_function(known["features"]),
        "student": suspicion(student, images).double().numpy(),
        "confidence": 1 - known["confidence"],
    }


def _outcome(sharp: dict, tested: list[dict], test: Split) -> dict:
    both = ("quality", "student")
    for scores in (*tested, sharp):  # the sharp ones last: they are the unit
        scores["both"] = sum((scores[name] - sharp[name].mean()) / sharp[name].std() for name in both)
    places = np.stack([scores["places"] for scores in tested])
    return {
        "egregious": pack_bits(places >= AMONG),
        "wrong": pack_bits(places >= 1),
        "images": len(test),
        "scores": {name: pack_filters(np.stack([scores[name] for scores in tested])) for name in sharp},
        "calibration": {name: pack_filters(scores) for name, scores in sharp.items()},
    }


def _costs(model: nn.Module, machine: object, student: nn.Module, test: Split) -> dict[str, float]:
    """Seconds that each part takes for one image, of images that come singly."""
    device, images = next(model.parameters()).device, test.images[:_AT_ONCE].float()
    said = {
        "network": lambda one: model(one.to(device)),
        "student": lambda one: suspicion(student, one),
        "quality": lambda one: machine.decision_function(natural_scene_statistics(one)),
    }
    with torch.inference_mode():
        return {name: _seconds(work, images) for name, work in said.items()}


def _seconds(work: Callable[[torch.Tensor], object], images: torch.Tensor) -> float:
    """The median over images."""
    taken = []
    for one in images.split(1):
        began = time.perf_counter()
        work(one)
        taken.append(time.perf_counter() - began)
    return float(np.median(taken))
