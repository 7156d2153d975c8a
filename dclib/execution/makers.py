"""How the outcome of each kind of run is made: (outcome, cost) from a run, the store, a device and a deadline."""

import time
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from safetensors.torch import save
from torch import nn

from dclib import datasets, ranking, restoration, transfer
from dclib.correction import unit_shares
from dclib.datasets import Collection, Dataset, Split
from dclib.evaluation import correct_on, correct_predictions
from dclib.execution.parts import (
    check_fingerprint,
    data_for,
    filters_of,
    network,
    pairs,
    priorities_of,
    ranking_images,
    test_images,
    untrained,
    validation_images,
)
from dclib.models import count_parameters
from dclib.results import Store, pack_bits, pack_filters
from dclib.runs import Run
from dclib.statistics import own_neighbours
from dclib.training import Progress, train

#: Images that are distorted and ranked on at once, for 5,000 of ImageNet's take 24 GB at all levels. A multiple of the
#: evaluation's chunks of noise and of the batches that `ranking` works in, so that the outcome does not depend on it.
_AT_ONCE = 500
#: Clean images on which it is measured how much units add.
_LOOKED_AT = 50

Report = Callable[[int, float], None]


def _make_training(run: Run, store: Store, device: torch.device, deadline: float | None,
                   report: Report | None) -> tuple[dict, dict]:
    model, progress, data = trained(run, store, device, deadline, report)
    started = time.monotonic()
    test = test_images(run, data)
    correct = correct_predictions(model, test, run.distortion, run.sigmas, blur_of_bytes=run.blur_of_bytes)
    store.put_weights(run, save({k: v.contiguous() for k, v in model.state_dict().items()}))
    outcome = {"correct": pack_bits(correct.numpy()), "correct_count": correct.sum(1).tolist(),
               "accuracy": correct.double().mean(1).tolist(), "parameters_trained": count_parameters(model),
               "curve": progress.curve, "best_iteration": progress.best_iteration}
    if run.selection:
        outcome["filters"] = filters_of(run, store)
        shares = unit_shares(model, data.validation.images[:_LOOKED_AT].to(device, torch.float32))
        outcome["unit_share"] = {layer: round(share, 6) for layer, share in shares.items()}
    return outcome | _left_out(data, test), {"seconds": progress.seconds + time.monotonic() - started}


def trained(run: Run, store: Store, device: torch.device, deadline: float | None,
           report: Report | None) -> tuple[nn.Module, Progress, Dataset]:
    """The trained network in evaluation mode, how its training went, and the data that it was trained on."""
    data = data_for(run)
    model = untrained(run, store).to(device)
    progress = train(model, data.train, validation_images(run, data), run.schedule, seed=run.seed,
                     distortion=run.distortion, sigmas=run.sigmas, blur_of_bytes=run.blur_of_bytes,
                     precision=run.precision,
                     checkpoint=store.checkpoint(run), deadline=deadline, report=report)
    return model, progress, data


def _make_evaluation(run: Run, store: Store, device: torch.device, *_) -> tuple[dict, dict]:
    started = time.monotonic()
    model, data = network(run.base, store, device), data_for(run)
    test = test_images(run, data)
    restoring = 0.0

    def restore(images: torch.Tensor, sigma: float) -> torch.Tensor:
        nonlocal restoring
        began = time.monotonic()
        restored = restoration.WAYS[run.restoration](images, sigma)
        restoring += time.monotonic() - began
        return restored

    correct = correct_predictions(model, test, run.distortion, run.sigmas, blur_of_bytes=run.blur_of_bytes,
                                  restore=restore if run.restoration else None)
    per_image = {"restoration_seconds_per_image": restoring / (len(test) * len(run.sigmas))} if run.restoration else {}
    outcome = {"correct": pack_bits(correct.numpy()), "correct_count": correct.sum(1).tolist(),
               "accuracy": correct.double().mean(1).tolist(), "parameters_trained": count_parameters(model)}
    return outcome | _left_out(data, test), {"seconds": time.monotonic() - started} | per_image


def _make_ranking(run: Run, store: Store, device: torch.device, deadline: float | None,
                  report: Report | None) -> tuple[dict, dict]:
    started = time.monotonic()
    model = network(run.base, store, device)
    before, after, shared = _correct_around(partial(ranking.correct_after_swaps, model, run.layers), run, model)
    # Few swaps change an answer: written as changes, the bits need a third of the room.
    outcome = {"swap_accuracy": _accuracies(after),
               "changed": {layer: pack_bits(bits != before[1:]) for layer, bits in after.items()}} | shared
    if run.network == "AlexNet":  # large enough to be looked at (Figure 6)
        outcome["first_filters"] = pack_filters(model.conv1.weight.detach().cpu().numpy())
    return outcome, {"seconds": time.monotonic() - started}


def _make_swaps(run: Run, store: Store, device: torch.device, *_) -> tuple[dict, dict]:
    started = time.monotonic()
    model = network(run.base, store, device)
    priorities = priorities_of(store.get(run.ranking), run.selection.score, run.layers)
    choices = {layer: [ranking.select_local({layer: priorities[layer]}, f)[layer] for f in run.fractions]
               for layer in run.layers}
    _, after, shared = _correct_around(partial(ranking.correct_after_joint_swaps, model, choices), run, model)
    outcome = {"accuracy": _accuracies(after), "correct_after": {layer: pack_bits(bits) for layer, bits in after.items()}}
    return outcome | shared, {"seconds": time.monotonic() - started}


def _accuracies(correct: dict[str, np.ndarray]) -> dict[str, list]:
    """{layer: accuracies [swaps, levels]} of bits [swaps, levels, images]."""
    return {layer: bits.mean(axis=-1).round(6).tolist() for layer, bits in correct.items()}


def _correct_around(swap: Callable[..., dict[str, np.ndarray]], run: Run, model: nn.Module
                    ) -> tuple[np.ndarray, dict[str, np.ndarray], dict]:
    """Which of the images that `run` ranks on are right before and after its swaps, and what is recorded of both kinds.

    Bits before the swaps [1 + levels, images], level 0 clean, and per layer after each of them [swaps, levels, images].
    """
    data = data_for(run)
    images = ranking_images(run, data)
    starts = range(0, len(images), _AT_ONCE)
    parts = [_correct_on_part(swap, run, model, images.take(torch.arange(first, min(first + _AT_ONCE, len(images)))), first)
             for first in starts]
    before = np.concatenate([bits for bits, _ in parts], axis=-1)
    after = {layer: np.concatenate([bits[layer] for _, bits in parts], axis=-1) for layer in run.layers}
    accuracy = before.mean(axis=-1)
    return before, after, {"correct_before": pack_bits(before), "clean_accuracy": accuracy[0].item(),
                           "distorted_accuracy": accuracy[1:].round(6).tolist(), "images": len(images)} | _left_out(data)


def _correct_on_part(swap: Callable[..., dict[str, np.ndarray]], run: Run, model: nn.Module, part: Split,
                     first: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Bits before and after each swap for one part of the images; the distorted ones are gone on return."""
    device = next(model.parameters()).device
    (clean, distorted), labels = pairs(run, part, device, first), part.labels.to(device)
    before = [correct_on(model, levels, labels).numpy() for levels in (clean[None], distorted)]
    return np.concatenate(before), swap(clean, distorted, labels)


def _make_transfer(run: Run, store: Store, device: torch.device, *_) -> tuple[dict, dict]:
    started = time.monotonic()
    collection = datasets.collection(run.dataset)
    check_fingerprint(run, collection)
    labels = collection.images.labels
    draws = [transfer.draw_split(labels, run.seed * transfer.SPLITS + number) for number in range(transfer.SPLITS)]
    model = network(run.base, store, device)
    features = transfer.features_per_level(model, collection.images.images, run.features, run.distortion or "blur",
                                           run.sigmas, seed=run.seed, blur_of_bytes=run.blur_of_bytes)
    found = transfer.transfer_accuracy(features, labels, draws, trained_on=run.trained_on, seed=run.seed)
    outcome = {"accuracy": found.accuracy.mean(0).round(6).tolist(), "splits": found.accuracy.round(6).tolist(),
               "costs": list(found.costs), "images": len(labels), "parameters_trained": None}
    return outcome | _left_out(collection), {"seconds": time.monotonic() - started}


def _make_embedding(run: Run, store: Store, device: torch.device, *_) -> tuple[dict, dict]:
    from sklearn.manifold import TSNE  # takes seconds to import

    started = time.monotonic()
    data = data_for(run)
    test = test_images(run, data)
    chosen = test.take(torch.isin(test.labels, torch.tensor(run.shown)).nonzero().flatten())
    features = transfer.features_per_level(network(run.base, store, device), chosen.images, run.features, run.distortion,
                                           run.sigmas, seed=run.seed, blur_of_bytes=run.blur_of_bytes).numpy()
    labels = chosen.labels.numpy()
    perplexity = min(30, (len(labels) - 1) / 4)
    points = [TSNE(random_state=run.seed, perplexity=perplexity).fit_transform(level) for level in features]
    outcome = {"labels": labels.tolist(), "points": np.round(points, 2).tolist(),
               "separation": [round(own_neighbours(level, labels), 6) for level in features], "images": len(labels)}
    return outcome | _left_out(data), {"seconds": time.monotonic() - started}


def _left_out(data: Dataset | Collection, test: Split | None = None) -> dict:
    """For the outcome: the damaged images of `data`, and how many `test` images each class has left; empty if intact."""
    if not data.skipped:
        return {}
    counts = {"images_per_class": test.labels.bincount(minlength=len(data.classes)).tolist()} if test is not None else {}
    return {"skipped_images": list(data.skipped)} | counts


#: The maker of each kind of run.
MAKERS = {"train": _make_training, "evaluate": _make_evaluation, "rank": _make_ranking, "swap": _make_swaps,
           "transfer": _make_transfer, "embed": _make_embedding}
