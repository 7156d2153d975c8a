"""What a run is made from: its data, its network, its filters."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import nn

from dclib import correction, datasets, ranking
from dclib.datasets import Collection, Dataset, Split
from dclib.errors import InputError
from dclib.evaluation import distorted_copies
from dclib.experiments import Run
from dclib.models import AlexNet, AllConvNet, ResNet8, load_trunk, named_conv, selected_copy, trainable_copy
from dclib.published import efficientnet_lite0
from dclib.results import Record, Store
from dclib.tensors import UNREADABLE, read, reason


@dataclass(frozen=True)
class Inputs:
    """All that a run is made from, read before it begins.

    Args:
        data: the images; a `Collection` for a transfer.
        network: on the CPU. For a training as it begins; else the trained one of the run that this one starts from.
        filters: which filters of which layers a Deepcorr run corrects.
        ranking: the record of Algorithm 1 that chose them, or whose best ones are swapped together.
        base: of a network that was brought in, the one that it was made from.
    """

    data: Dataset | Collection
    network: nn.Module
    filters: dict[str, list[int]]
    ranking: Record | None
    base: nn.Module | None = None


def gather(run: Run, store: Store) -> Inputs:
    """Read what `run` is made from. Raises `InputError` for data, weights or records that are not there or not whole."""
    data = collection_for(run) if run.kind == "transfer" else data_for(run)
    if run.kind == "import":
        return Inputs(data, network(run, store), {}, None, network(run.base, store) if run.base else None)
    model = untrained(run, store) if run.kind == "train" else _start(run, store)
    return Inputs(
        data,
        model,
        filters_of(run, store) if run.kind == "train" and run.selection else {},
        ranking_of(run, store) if run.ranking else None,
    )


def network(run: Run, store: Store, device: str | torch.device = "cpu") -> nn.Module:
    """The trained network of a run of kind "train" or "import", in evaluation mode."""
    model = untrained(run, store)
    path = store.weights(run)
    try:
        model.load_state_dict(read(path)[0])
    except UNREADABLE as error:
        advice = "bring them in with dclib authors" if run.kind == "import" else "make them with dclib run"
        raise InputError(f"{path}: expected the weights of {run}, got {reason(error)}; {advice}.") from error
    return model.to(device).eval()


def data_for(run: Run) -> Dataset:
    """The run's data set, checked against the fingerprint in its description."""
    data = _load(run.dataset, run.seed, run.photographs)
    check_fingerprint(run, data)
    return data


def collection_for(run: Run) -> Collection:
    """The images that a transfer's classifiers are trained and tested on, checked likewise."""
    collection = datasets.collection(run.dataset)
    check_fingerprint(run, collection)
    return collection


def check_fingerprint(run: Run, data: Dataset | Collection) -> None:
    """`InputError` unless the data that were found are those that `run` was described for."""
    if data.fingerprint != run.fingerprint:
        advice = f" Repair what is damaged there: {', '.join(data.skipped[:5])}." if data.skipped else ""
        raise InputError(
            f"{run.dataset}: expected fingerprint {run.fingerprint[:12]}.., got {data.fingerprint[:12]}..; the "
            f"run was described for other data.{advice}"
        )


def filters_of(run: Run, store: Store) -> dict[str, list[int]]:
    """Which filters a Deepcorr run corrects, from its selection and its ranking's record."""
    selection, counts = run.selection, dict(run.selection.counts)
    if run.kind == "import":  # the authors put the corrected filters of a layer first
        return {layer: list(range(count)) for layer, count in counts.items()}
    if selection.order == "random":
        rng = np.random.RandomState([run.seed, selection.draw, *counts.values()])
        sizes = {name: conv.out_channels for name, conv in _empty(run).named_modules() if name in counts}
        return {layer: rng.permutation(sizes[layer])[:count].tolist() for layer, count in counts.items()}
    if selection.order == "spaced":
        return {layer: spaced(named_conv(_empty(run), layer).out_channels, count) for layer, count in counts.items()}
    record = ranking_of(run, store)
    if selection.order == "joint":
        return {layer: record.outcome["order"][layer][:count] for layer, count in counts.items()}
    if selection.order in ("elected", "unelected"):
        sign = 1 if selection.order == "elected" else -1
        points = {layer: sign * np.array(record.outcome["points"][layer]) for layer in counts}
        return {
            layer: ranking.select_local({layer: points[layer]}, count / len(points[layer]))[layer].tolist()
            for layer, count in counts.items()
        }
    priorities = priorities_of(record, selection.score, tuple(counts))
    if selection.scope == "global":
        chosen = ranking.select_global(priorities, sum(counts.values()))
        return {layer: index.tolist() for layer, index in chosen.items() if len(index)}
    if selection.order == "least":
        priorities = {layer: -values for layer, values in priorities.items()}
    chosen = ranking.select_local(priorities, {n: c / len(priorities[n]) for n, c in counts.items()})
    return {layer: index.tolist() for layer, index in chosen.items()}


def spaced(filters: int, count: int) -> list[int]:
    """`count` of `filters` filters, equally far from each other: every second one where it is half of them."""
    return [number * filters // count for number in range(count)]


def ranking_of(run: Run, store: Store) -> Record:
    """The record of Algorithm 1 that `run` names."""
    record = store.get(run.ranking)
    if record is None:
        raise InputError(f"{run}: expected the record of its ranking, got none; make it with dclib run.")
    return record


def priorities_of(record: Record, score: str, layers: tuple[str, ...]) -> dict[str, np.ndarray]:
    """Correction priorities per layer [filters], from a record of Algorithm 1."""
    baseline = np.array(record.outcome["distorted_accuracy"])
    return {
        layer: ranking.correction_priority(np.array(record.outcome["swap_accuracy"][layer]), baseline, score=score)
        for layer in layers
    }


def ranking_images(run: Run, data: Dataset) -> Split:
    """The images that filters are ranked on: so many of every class, drawn by the run's seed."""
    split = {"train": data.train, "validation": data.validation}[run.ranking_split]
    return split.take(datasets.per_class_sample(split.labels, run.ranking_images, run.seed))


def validation_images(run: Run, data: Dataset) -> Split:
    """The validation images, or the first `run.validation_images`, or so many of every class where they are sorted."""
    if run.validation_images is None:
        return data.validation
    if run.network != "AllConvNet":
        return data.validation.take(datasets.per_class_sample(data.validation.labels, run.validation_images, 0))
    return data.validation.take(torch.arange(run.validation_images))


def training_images(run: Run, data: Dataset) -> Split:
    """The training images, or `run.training_images` of every class, drawn by the run's seed."""
    if run.training_images is None:
        return data.train
    return data.train.take(datasets.per_class_sample(data.train.labels, run.training_images, run.seed))


def test_images(run: Run, data: Dataset) -> Split:
    """The test images, or `run.test_images` of every class: always the same ones, whatever the seed."""
    if run.test_images is None:
        return data.test
    return data.test.take(datasets.per_class_sample(data.test.labels, run.test_images, 0))


def pairs(run: Run, images: Split, device: torch.device, first: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Clean images [N, C, H, W] and their distorted copies [levels, N, C, H, W], in 0..255.

    `first` is as in `distorted_copies`: where `images` begin among all those that are ranked on.
    """
    return (
        images.images.to(device, torch.float32),
        distorted_copies(images, run.distortion, run.sigmas, device=device, first=first, blur_of_bytes=run.blur_of_bytes),
    )


def left_out(data: Dataset | Collection, test: Split | None = None) -> dict:
    """For the outcome: the damaged images of `data`, and how many `test` images each class has left; empty if intact."""
    if not data.skipped:
        return {}
    counts = {"images_per_class": test.labels.bincount(minlength=len(data.classes)).tolist()} if test is not None else {}
    return {"skipped_images": list(data.skipped)} | counts


@lru_cache(maxsize=2)
def _load(dataset: str, seed: int, photographs: tuple[int, ...]) -> Dataset:
    return datasets.photographs(*photographs) if photographs else datasets.load(dataset, seed)


def _empty(run: Run) -> nn.Module:
    """The network of `run` as it begins: fresh, or as others published it."""
    if run.network == "EfficientNet-Lite0":
        return efficientnet_lite0()
    torch.manual_seed(run.seed)
    if run.network == "AlexNet":
        return AlexNet(run.classes, run.layout)
    if run.network == "ResNet-8":
        return ResNet8(run.classes, run.width)
    return AllConvNet(run.classes, run.width, batchnorm_momentum=run.batchnorm_momentum)


def untrained(run: Run, store: Store) -> nn.Module:
    """The network of `run` before its training: the baseline's weights with what the method adds."""
    start = _start(run, store)
    if run.base is None and not run.layers:
        return start
    return with_method(run, start, filters_of(run, store) if run.selection else {})


def _start(run: Run, store: Store) -> nn.Module:
    """The network that `run` begins with, before anything is added to it or trained."""
    if run.base is not None:
        return network(run.base, store)
    model = _empty(run)
    if run.trunk and not run.from_published:
        load_trunk(model, datasets.data_folder() / "weights" / "alexnet_conv_trunk.safetensors")
    return model


def with_method(run: Run, base: nn.Module, filters: dict[str, list[int]]) -> nn.Module:
    """A copy of `base` with what the method of `run` adds to it: layers to train, or units behind `filters`."""
    if run.selection is None:
        return trainable_copy(base, run.layers, batch_statistics=run.batch_statistics)
    design = dict(run.designs) or run.design
    if design is None:
        return selected_copy(base, filters)
    return correction.correct(
        base,
        filters,
        design,
        also_train=run.also_train,
        batch_statistics=run.batch_statistics,
        train_batchnorm=run.trains_batchnorm,
        seed=run.seed,
    )
